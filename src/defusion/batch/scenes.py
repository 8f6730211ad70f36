"""The scenes of a batch: from folders, from patterns with names, from manifests, or named in Python."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from defusion.batch.places import is_url, joined, listed, matching
from defusion.errors import BatchError

#: Suffixes that count as pictures when a folder is searched. The content decides how they are read.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".exr", ".gif", ".ppm", ".pgm"),
    *(".jp2", ".j2k", ".jxl", ".avif", ".heic", ".heif"),
    *(".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
)

#: Options that a scene sets for itself: names and values of `Options`, sorted.
OwnOptions = tuple[tuple[str, str], ...]

_NAME = re.compile(r"\{(\w+)\}")


class BatchScene(NamedTuple):
    """Sources that become one picture."""

    name: str
    """Name of the result, without suffix."""
    sources: tuple[str, ...]
    """Paths or URLs. The result keeps profile and EXIF of the first."""
    options: OwnOptions = ()
    """Options for this scene alone."""
    trouble: str | None = None
    """Why its sources cannot be found, if they cannot."""


def is_picture(file: str) -> bool:
    """Says whether a file name looks like a picture."""
    return file.lower().endswith(SUFFIXES)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which 2 comes before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name.lower())]


def readable(text: str) -> str:
    """Returns a text without what is not UTF-8, which names of files can hold."""
    return text.encode(errors="replace").decode()


def of_folders(folders: Iterable[str], but: str) -> list[BatchScene]:
    """Returns one scene for each folder inside the given folders.

    Args:
        folders: Paths or URLs.
        but: The folder of results, which is not a scene.

    Raises:
        BatchError: A folder does not exist.
    """
    scenes = []
    for folder in folders:
        inside = [name for name in listed(folder).folders if not _same(joined(folder, name), but)]
        for name in sorted(inside, key=natural):
            place, called = joined(folder, name), readable(name)
            try:
                files = sorted(filter(is_picture, listed(place).files), key=natural)
            except BatchError as error:
                scenes.append(BatchScene(called, (), trouble=str(error)))
            else:
                scenes.append(BatchScene(called, tuple(joined(place, file) for file in files)))
    return scenes


def of_patterns(patterns: Sequence[str]) -> list[BatchScene]:
    """Returns the scenes that patterns name, such as `{scene}_ir.png` and `{scene}_vis.png`.

    Files whose names in braces agree form a scene, which is named after them. With `*` and `?`, one pattern can match
    several sources of a scene. If a pattern finds no file for a scene, that scene fails later.

    Raises:
        BatchError: Patterns have different names in braces, or a store cannot be listed.
    """
    names = list(dict.fromkeys(_NAME.findall(patterns[0])))
    for pattern in patterns:
        if sorted(set(_NAME.findall(pattern))) != sorted(names):
            raise BatchError(f"pattern {pattern} has other names in braces than {patterns[0]}; expected the same")
    found: dict[tuple[str, ...], list[list[str]]] = {}
    for number, pattern in enumerate(patterns):
        expression = _expression(pattern)
        for file in matching(_NAME.sub("*", _literal(pattern))):
            if fits := expression.fullmatch(file):
                values = tuple(fits[name] for name in names)
                found.setdefault(values, [[] for _ in patterns])[number].append(file)
    scenes = []
    for values, files in sorted(found.items(), key=lambda each: [natural(value) for value in each[0]]):
        sources = []
        for pattern, fitting in zip(patterns, files, strict=True):
            missing = [] if glob.has_magic(pattern) else [_named(pattern, dict(zip(names, values, strict=True)))]
            sources += sorted(fitting, key=natural) or missing
        scenes.append(BatchScene(readable("-".join(values)), tuple(sources)))
    return scenes


def of_mapping(scenes: Mapping[str, Sequence[object]]) -> list[BatchScene]:
    """Returns the scenes of a mapping."""
    return [BatchScene(name, tuple(map(str, sources))) for name, sources in scenes.items()]


def check(scenes: Sequence[BatchScene], output: str, suffix: str) -> None:
    """Checks before any work that each scene has its own result and that no source would be overwritten.

    Raises:
        BatchError: A name cannot be a file name, two scenes have one name, two scenes share a source, or a result
            would replace a source.
    """
    names: set[str] = set()
    owners: dict[str, str] = {}
    for scene in scenes:
        wrong = scene.name.startswith(".") or set(scene.name) & set("/\\\0") or scene.name != readable(scene.name)
        if not scene.name or wrong:
            raise BatchError(
                f"a scene is called {scene.name!r}; expected a file name that holds no / and does not start with ."
            )
        if scene.name in names:
            raise BatchError(
                f"two scenes are called {scene.name}, and both would become {scene.name}{suffix}; rename one"
            )
        names.add(scene.name)
        for source in scene.sources:
            if (owner := owners.setdefault(_absolute(source), scene.name)) != scene.name:
                raise BatchError(
                    f"{source} is a source of two scenes, {owner} and {scene.name}; give it to one of them"
                )
    for name in names:
        if (result := _absolute(joined(output, name + suffix))) in owners:
            raise BatchError(f"the result of {name} would replace the source {result}; choose another folder")


def _same(a: str, b: str) -> bool:
    if is_url(a) or is_url(b):
        return a.rstrip("/") == b.rstrip("/")
    return Path(a).resolve() == Path(b).resolve()


def _absolute(place: str) -> str:
    if is_url(place):
        return place
    folder, name = os.path.split(place)
    return f"{_absolute_folder(folder)}/{name}"


@lru_cache(maxsize=1024)
def _absolute_folder(folder: str) -> Path:
    return Path(folder).resolve()


def _literal(pattern: str) -> str:
    """Escapes brackets, so that they stand for themselves."""
    return pattern.replace("[", "[[]")


def _named(pattern: str, values: Mapping[str, str]) -> str:
    return _NAME.sub(lambda name: values[name[1]], pattern)


def _expression(pattern: str) -> re.Pattern[str]:
    """Turns a pattern into a regular expression. A name in braces matches the same text wherever it occurs."""
    parts, seen = [], set[str]()
    for part in re.split(r"(\{\w+\}|\*|\?)", pattern):
        if part in ("*", "?"):
            parts.append("[^/]*" if part == "*" else "[^/]")
        elif name := _NAME.fullmatch(part):
            parts.append(f"(?P={name[1]})" if name[1] in seen else f"(?P<{name[1]}>[^/]+)")
            seen.add(name[1])
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts))
