"""Data sets on disk: finds the scenes in a folder.

The layouts in `layouts.py` that match a folder decide which data set it is. The folder's name distinguishes sets of
equal layout, and `NAME:FOLDER` overrides both. Pictures of an unknown folder are never paired by chance: folders
whose files have equal names hold the sources, and are not scenes.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import combinations, groupby, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from defusion.errors import EvaluationError
from defusion.evaluation.layouts import (
    DEEP,
    LAYOUTS,
    NAMES,
    SPLITS,
    Layout,
    expression,
    is_role,
    layout_of_roles,
    literal,
    scene_of,
)
from defusion.evaluation.results import DataSetKind, EvaluationScene

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Suffixes that count as pictures."""

#: How deep pictures are searched below a data set: TNO has Athena_images/APC_1/view_1/.
_DEPTH = 4

#: Folder names that do not name a data set; the folder above does.
_UNTOLD = ("input", "test", "images", "data")


class Files(NamedTuple):
    """Pictures below a folder."""

    shown: Sequence[str]
    """Paths relative to the folder, with "/"."""
    hidden: Sequence[str]
    """Names of pictures and folders with a leading dot, which other programs leave behind. They are left out."""


@dataclass(frozen=True)
class DataSet:
    """The scenes of a data set."""

    name: str
    folder: Path
    scenes: tuple[EvaluationScene, ...]
    notes: tuple[str, ...] = ()
    """What was left out, one short sentence each."""

    def spread(self, most: int | None) -> DataSet:
        """Keeps at most this many scenes, evenly spread."""
        if most is None or most >= len(self.scenes):
            return self
        chosen = np.linspace(0, len(self.scenes) - 1, most).astype(int)
        note = f"{self.name}: {most} of {len(self.scenes)} scenes, evenly spread"
        return DataSet(self.name, self.folder, tuple(self.scenes[i] for i in chosen), (*self.notes, note))


def find_sets(data_sets: Sequence[str], roles: Mapping[str, str] | None = None) -> list[DataSet]:
    """Finds the scenes of data sets.

    Args:
        data_sets: Folders, each of one data set or of several; `NAME:FOLDER` says which data set it is.
        roles: Folders that hold each source, if they have to be named: see `layout_of_roles`.

    Returns:
        The data sets in the order given, those of one folder sorted by name. Scenes are sorted by name.

    Raises:
        EvaluationError: A folder does not exist, holds no scenes that can be recognised, could hold either roles or
            scenes, or two data sets have one name.
    """
    said = None if roles is None else layout_of_roles(roles)
    sets = [found for each in data_sets for found in _find(each, said)]
    for name, count in Counter(each.name for each in sets).items():
        if count > 1:
            folders = " and ".join(str(each.folder) for each in sets if each.name == name)
            raise EvaluationError(
                f"{count} data sets are called {name!r} ({folders}); expected one, so rename a folder"
            )
    return sets


def _find(given: str, said: Layout | None) -> list[DataSet]:
    name, colon, folder = given.partition(":")
    named = name.lower().replace("-", "") if colon else ""
    if named not in NAMES:
        named, folder = "", given
    path = Path(folder)
    if not path.is_dir():
        raise EvaluationError(
            f"{given}: no such folder; expected FOLDER, or NAME:FOLDER with one of {', '.join(NAMES)}"
        )
    files = _pictures(path)
    if said:
        sets = _fitting(path, files, [said], named)
    elif found := _set_in(path, files, named):
        sets = [found]
    else:
        inside = [] if named else [each for each in sorted(path.iterdir()) if each.is_dir()]
        sets = [found for each in inside if (found := _set_in(each, _pictures(each), ""))]
        sets = sets or _fitting(path, files, DEEP, named)[:1]
    if not sets:
        looked_for = " with ".join(said.sources) if said else _looked_for(named)
        raise EvaluationError(f"{path} holds no scene; expected {looked_for}; found {_contents(path)}")
    return sets


def _looked_for(named: str) -> str:
    if not named:
        return f"a folder for each scene with two pictures, or a set laid out as {', '.join(NAMES[1:])}"
    layouts = [layout for layout in LAYOUTS if layout.data_set == named != "plain"]
    return " or ".join([*(" with ".join(layout.sources) for layout in layouts), "a folder for each scene"])


def _contents(path: Path) -> str:
    entries = sorted(path.iterdir())
    folders = [each.name for each in entries if each.is_dir()]
    pictures = sum(each.suffix.lower() in PICTURE_SUFFIXES for each in entries)
    shown = f" ({', '.join(folders[:4])}{', ...' if len(folders) > 4 else ''})" if folders else ""
    return f"folders: {len(folders)}{shown}, pictures: {pictures}; --roles can name the folders of the sources"


def _set_in(folder: Path, files: Files, named: str) -> DataSet | None:
    """Finds the data set in a folder, by the most specific layouts that match; of those, by the one with the most
    scenes.
    """
    told = named or _told_by(folder)
    layouts = [layout for layout in LAYOUTS if layout.data_set in (named, "plain") or not named]
    layouts = [layout for layout in layouts if layout.data_set == told or not layout.vague]

    def telling(layout: Layout) -> tuple[bool, bool]:
        return layout.of_frames, layout.data_set != told

    for (of_frames, untold), alike in groupby(sorted(layouts, key=telling), telling):
        if of_frames and untold:
            return _unknown_in(folder, files)
        if sets := _fitting(folder, files, list(alike), named):
            chosen = max(sets, key=lambda each: len(each.scenes))
            return replace(chosen, notes=(*chosen.notes, *_notes_of_others(chosen, sets)))
    return None


def _fitting(folder: Path, files: Files, layouts: Sequence[Layout], named: str) -> list[DataSet]:
    """Returns the data sets that some layouts find in a folder."""
    starts = ((layout, start) for layout in layouts for start in layout.inside)
    return [found for layout, start in starts if (found := _by_layout(folder, files, layout, start, named))]


def _unknown_in(folder: Path, files: Files) -> DataSet | None:
    """Finds the scenes of an unknown folder: folders for the sources with equal file names, or a folder for each
    scene.
    """
    if _fitting(folder, files, DEEP, ""):
        return None  # its folders are data sets
    of_folder: dict[str, list[str]] = defaultdict(list)
    for file in files.shown:
        top, below, rest = file.partition("/")
        if below and top.lower() not in SPLITS:
            of_folder[top].append(rest)
    if roles := _sharing_names(folder, of_folder):
        layout = Layout("plain", "other", tuple(f"{literal(each)}/{{folders}}" for each in roles))
        found = _by_layout(folder, files, layout, "", "")
        note = f"{folder.name}: folders {' and '.join(roles)} have files with equal names, so they are the sources"
        return found and replace(found, notes=(*found.notes, note))
    several = [top for top, inside in of_folder.items() if _holds_pairs(folder / top, inside)]
    scenes = [top for top in of_folder if top not in several and not is_role(top)]
    shown = [file for file in files.shown if file.partition("/")[0] in scenes]
    found = _by_layout(folder, files._replace(shown=shown), LAYOUTS[-1], "", "")
    if found and several:
        note = (
            f"{found.name}: {_counted(several, 'folder')} left out, each holds several pairs; give it as a data set"
        )
        found = replace(found, notes=(*found.notes, note))
    return found


def _sharing_names(folder: Path, of_folder: Mapping[str, list[str]]) -> list[str]:
    """Returns two folders whose files have equal names; nothing if folders are scenes.

    Raises:
        EvaluationError: There are more than two such folders, and more names than folders, so the sources are not
            clear.
    """
    names = {top: {file.lower().rpartition(".")[0] for file in files} for top, files in of_folder.items()}
    alike = [
        {a, b} for a, b in combinations(names, 2) if len(names[a] & names[b]) * 2 >= min(len(names[a]), len(names[b]))
    ]
    roles = sorted(set().union(*alike), key=_natural)
    if not roles or (len(names) > 2 and len(set.intersection(*(names[each] for each in roles))) <= len(names)):
        return []
    if len(roles) == 2 and len({re.sub(r"\d+", "", each) for each in roles}) == 1:
        return []  # names that differ in their numbers only are those of scenes
    if len(roles) > 2:
        raise EvaluationError(
            f"{folder}: folders {', '.join(roles[:4])}{', ...' if len(roles) > 4 else ''} have files with equal "
            f"names; name the two sources, as in --roles a={roles[0]},b={roles[1]}, or give each as a data set"
        )
    return roles


def _holds_pairs(folder: Path, files: Sequence[str]) -> bool:
    """Says whether a folder is a data set and not a scene, because its pictures form several pairs."""
    paired = [layout for layout in LAYOUTS if not layout.of_frames and not layout.vague]
    return any(len(each.scenes) > 1 for each in _fitting(folder, Files(files, ()), paired, ""))


def _notes_of_others(chosen: DataSet, sets: Sequence[DataSet]) -> Iterator[str]:
    """Says which scenes other layouts would have found."""
    taken = {source for scene in chosen.scenes for source in scene.sources}
    left = {scene.name for each in sets for scene in each.scenes if taken.isdisjoint(scene.sources)}
    if left:
        yield (
            f"{chosen.name}: scenes of another kind left out: {len(left)} ({', '.join(sorted(left)[:3])}"
            f"{', ...' if len(left) > 3 else ''}); give each kind a folder of its own"
        )


def _told_by(folder: Path) -> str:
    """Returns the data set named at the start of a folder's name, or of its parent's: `MFI-WHU`, `VIFB-master`."""
    folder = folder.resolve()
    told = (data_set for each in (folder, folder.parent) for data_set in NAMES if _starts(each, data_set))
    return next(told, "")


def _name_of(folder: Path, layout: Layout, named: str) -> str:
    """Returns the data set's published name if the folder's name starts with it, else the folder's name."""
    if named and named != "plain":
        return named
    folder = folder.resolve()
    if _starts(folder, layout.data_set):
        return layout.data_set
    if folder.name.lower() in (*_UNTOLD, *layout.inside):
        folder = folder.parent
    return layout.data_set if _starts(folder, layout.data_set) else folder.name


def _starts(folder: Path, data_set: str) -> bool:
    return re.sub(r"[\W_]", "", folder.name.lower()).startswith(data_set)


def _pictures(folder: Path) -> Files:
    """Lists the pictures below a folder, sorted by name."""
    shown: list[str] = []
    hidden: list[str] = []
    for above, folders, files in os.walk(folder, followlinks=True):
        inside = Path(above).relative_to(folder)
        hidden += (each for each in folders if each.startswith("."))
        folders[:] = (
            sorted(each for each in folders if not each.startswith(".")) if len(inside.parts) < _DEPTH else []
        )
        for file in sorted(files, key=_natural):
            if file.lower().endswith(PICTURE_SUFFIXES):
                if file.startswith("."):
                    hidden.append(file)
                else:
                    shown.append((inside / file).as_posix())
    return Files(shown, hidden)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which 2 comes before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name.lower())]


def _by_layout(folder: Path, files: Files, layout: Layout, start: str, named: str) -> DataSet | None:
    """Pairs the pictures that match a layout; None if there is no pair."""
    roles: list[dict[str, list[str]]] = [defaultdict(list) for _ in layout.sources]
    truths: dict[str, str] = {}
    names: dict[str, str] = {}
    prefix = f"{start}/" if start else ""
    for file in files.shown:
        if not file.lower().startswith(prefix):
            continue
        stem = file[len(prefix) :].rpartition(".")[0]
        if layout.truth and (fit := expression(layout.truth).fullmatch(stem)):
            truths.setdefault(scene_of(fit).lower(), file)
            continue
        for role, pattern in zip(roles, layout.sources, strict=True):
            if fit := expression(pattern).fullmatch(stem):
                scene = scene_of(fit)
                names.setdefault(scene.lower(), scene.replace("/", "_"))
                role[scene.lower()].append(file)
                break
    pairs = {scene: pair for scene in sorted(names, key=_natural) if (pair := _pair(roles, scene))}
    if not pairs:
        return None
    name = _name_of(folder, layout, named)
    kind = layout.kind if layout.kind != "other" else _kind_of(named or _told_by(folder))
    scenes = []
    for scene, pair in pairs.items():
        truth = truths.get(scene)
        a, b = (folder / each for each in pair)
        scenes.append(EvaluationScene(name, names[scene], (a, b), folder / truth if truth else None, kind))
    return DataSet(name, folder, tuple(scenes), tuple(_notes(name, layout, roles, names, pairs, files.hidden)))


def _kind_of(data_set: str) -> DataSetKind:
    return next((layout.kind for layout in LAYOUTS if layout.data_set == data_set != "plain"), "other")


def _pair(roles: Sequence[dict[str, list[str]]], scene: str) -> tuple[str, str] | None:
    if len(roles) == 1:
        frames = roles[0][scene]
        return (frames[0], frames[-1]) if len(frames) > 1 else None
    a, b = (role.get(scene) for role in roles)
    # Of several pictures, the two with the most similar names belong together.
    return max(product(a, b), key=lambda pair: SequenceMatcher(None, *pair).ratio()) if a and b else None


def _notes(
    name: str,
    layout: Layout,
    roles: Sequence[dict[str, list[str]]],
    names: dict[str, str],
    pairs: dict[str, tuple[str, str]],
    hidden: Sequence[str],
) -> Iterator[str]:
    if hidden:
        yield f"{name}: {_counted(hidden, 'name')} with a leading dot left out"
    alone = [names[scene] for scene in names if scene not in pairs]
    if alone:
        shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        yield f"{name}: {len(alone)} of {len(names)} scenes left out, because a source is missing ({shown})"
    stacks = sum(len(roles[0][scene]) > 2 for scene in pairs) if layout.of_frames else 0
    if stacks:
        yield f"{name}: {stacks} of {len(pairs)} scenes have more than two frames; the first and the last are used"


def _counted(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({shown})"
