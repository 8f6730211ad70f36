"""The options of a request: query parameters named as on the command line, and the format of the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from defusion.api import options as choices
from defusion.serve.problem import bad_request


class Option(NamedTuple):
    """An option of fusing that clients may set."""

    argument: str
    """Its name in `Options`."""
    says: str
    values: tuple[str, ...] = ()
    """Allowed values; empty for a device, which has too many."""


#: File formats of results, and their suffixes.
FORMATS = {"png": ".png", "tiff": ".tif", "jpeg": ".jpg"}
MEDIA_TYPES = {".png": "image/png", ".tif": "image/tiff", ".jpg": "image/jpeg"}

#: Fields of `Options`, in the order in which the page shows them.
_OPTIONS = ("task", "infrared_palette", "align", "deghost", "weights", "precision", "engine", "device")

DEVICE = "(cpu|mps|(cuda|xpu)(:[0-9]{1,2})?)"


@cache
def options() -> Mapping[str, Option]:
    """Returns the options by their names in a query."""
    from defusion.weights import bundled

    # clients must not name files
    values = {name: choices.values(name) for name in _OPTIONS} | {"weights": tuple(bundled())}
    return {name.replace("_", "-"): Option(name, choices.says(name), values[name]) for name in _OPTIONS}


class RequestOptions(NamedTuple):
    """What a request asks for."""

    arguments: dict[str, str]
    """Options by their names in `Options`."""
    suffix: str | None
    """Suffix of the result; None for that of the first source."""
    maps: bool = False
    """Make maps that explain the result, too."""


def names(work: str) -> tuple[str, ...]:
    """Returns the names of the parameters for a kind of work."""
    if work == "align":
        return ("align",)
    return ("format", *(("maps",) if work == "fuse" else ()), *options())


def wanted(query: Mapping[str, str], work: str) -> RequestOptions:
    """Reads the query for a kind of work.

    Raises:
        Problem: A parameter or its value is unknown.
    """
    arguments: dict[str, str] = {}
    suffix, maps = None, False
    for name, value in query.items():
        if name not in (known := names(work)):
            raise bad_request(f"the parameter {_shown(name)} is unknown; expected {_either(known)}")
        if name == "format":
            suffix = FORMATS.get(value)
            if suffix is None:
                raise bad_request(f"format came as {_shown(value)}; expected {_either(FORMATS)}")
            continue
        if name == "maps":
            if value not in ("true", "false"):
                raise bad_request(f"maps came as {_shown(value)}; expected true or false")
            maps = value == "true"
            continue
        option = options()[name]
        if value not in option.values if option.values else not re.fullmatch(DEVICE, value):
            expected = _either(option.values) if option.values else "a name such as cpu or cuda:0"
            raise bad_request(f"{name} came as {_shown(value)}; expected {expected}")
        arguments[option.argument] = value
    return RequestOptions(arguments, suffix, maps)


def suffix_like(source: Path) -> str:
    """Returns the suffix for a result in the format of a source; TIFF if a result cannot have that format.

    The first bytes decide, as in `imaging.read`.
    """
    with source.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if start.startswith((b"\x89PNG", b"BM", b"RIFF")):
        return ".png"
    return ".tif"


def facts() -> list[dict[str, Any]]:
    """Returns the options for a page that shows them: name and values."""
    return [{"name": name, "values": list(option.values)} for name, option in options().items()]


def _either(names: Any) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else str(last)


def _shown(text: str) -> str:
    return ascii(text[:40])
