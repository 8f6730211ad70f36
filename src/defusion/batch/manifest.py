"""Manifests: CSV files or JSON lines that list scenes with their sources and options."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from defusion.batch.places import is_url, joined, local_copies, telling_trouble
from defusion.batch.scenes import BatchScene, OwnOptions
from defusion.errors import BatchError

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson")

_COLUMNS = ("scene", "sources", "options")

#: Options that a scene may set for itself.
OPTION_NAMES = ("task", "infrared_palette", "align", "deghost", "weights", "precision")


def of_manifest(file: str) -> list[BatchScene]:
    """Returns the scenes of a manifest.

    A CSV file has the columns `scene`, `sources` (separated by `;`) and optionally `options`, such as
    `task=focus;weights=paper`. A line of JSON has the same names, with a text, a list of texts and an object. Sources
    are relative to the folder of the manifest.

    Args:
        file: Path or URL that ends in one of `MANIFEST_SUFFIXES`.

    Raises:
        BatchError: The file cannot be read, has unknown columns or options, or a line lacks its scene or sources.
    """
    with telling_trouble(file), local_copies([file]) as (copy,):
        text = copy.read_text("utf-8-sig")
    folder = file.rpartition("/")[0] if is_url(file) else str(copy.parent)
    rows = _csv(file, text) if file.lower().endswith(".csv") else _json(file, text)
    scenes = []
    for where, row in rows:
        name, sources = row.get("scene"), row.get("sources")
        if not isinstance(name, str) or not name or not sources or not all(map(_is_place, sources)):
            raise BatchError(f"{where}: expected the name of a scene and its sources; complete the line")
        placed = tuple(each if is_url(each) else joined(folder, each) for each in sources)
        scenes.append(BatchScene(name, placed, _options(where, row.get("options") or {})))
    return scenes


def _csv(file: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="a column without a name", strict=True)
    for row in _rows(file, reader):
        where = f"{file}, line {reader.line_num}"
        _check_columns(where, row)
        options: dict[str, str] = {}
        for choice in _parted(row.get("options")):
            name, _, value = choice.partition("=")
            options[name.strip()] = value.strip()
        yield where, {"scene": row.get("scene"), "sources": _parted(row.get("sources")), "options": options}


def _rows(file: str, reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    try:
        names = reader.fieldnames or ()
        _check_columns(file, names)
        if twice := [name for name in _COLUMNS if list(names).count(name) > 1]:
            raise BatchError(f"{file}: the column {twice[0]} is there twice; name each once")
        yield from reader
    except csv.Error as error:
        raise BatchError(
            f"{file}, line {reader.line_num} is not CSV ({error}); close all quotes, or use JSON lines"
        ) from error


def _json(file: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BatchError(f"{where} is not JSON ({error}); expected one object for each line") from None
        if not isinstance(row, dict):
            raise BatchError(f"{where} is not an object; expected {', '.join(_COLUMNS)}")
        _check_columns(where, row)
        sources = row.get("sources")
        yield where, row | {"sources": sources if isinstance(sources, list) else None}


def _is_place(source: object) -> bool:
    return isinstance(source, str) and bool(source) and "\0" not in source


def _parted(cell: str | None) -> list[str]:
    return [part.strip() for part in (cell or "").split(";") if part.strip()]


def _check_columns(where: str, names: Any) -> None:
    if unknown := [str(name) for name in names if name not in _COLUMNS]:
        raise BatchError(f"{where}: unknown {', '.join(unknown)}; expected {', '.join(_COLUMNS)}")


def _options(where: str, options: Any) -> OwnOptions:
    if not isinstance(options, Mapping):
        raise BatchError(f"{where}: options came as {type(options).__name__}; expected names and values")
    for name, value in options.items():
        if name not in OPTION_NAMES or not isinstance(value, str) or not value:
            raise BatchError(
                f"{where}: {name}={value} is not an option; expected {', '.join(OPTION_NAMES)}, each with a value"
            )
    return tuple(sorted(options.items()))
