"""Data sets on disk: how each is laid out where its authors publish it, and the scenes that a folder holds.

A layout is patterns of paths, see `Layout`. Which set lies in a folder is seen by which patterns fit; the folder's
name tells sets of one layout apart, and `NAME:FOLDER` says it outright.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from itertools import groupby, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from defusion.errors import EvaluationError
from defusion.evaluation.results import Kind, Scene

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Files that count as pictures."""

#: Folders below a set in which pictures are looked for: TNO has Athena_images/APC_1/view_1/.
_DEPTH = 4

#: Folders that say nothing about the set in them: its name is that of the folder above.
_UNTOLD = ("input", "test", "images", "data")


class Layout(NamedTuple):
    """Where a data set has its pictures.

    Patterns are of paths below the set's folder without suffixes, in any case of letters: `{scene}` is a name,
    `{folders}` one or more folders that name the scene, `*` anything in a name, `(a|b)` one of these.
    """

    data_set: str
    """As in `NAME:FOLDER`; `plain` for folders that belong to no published set."""
    kind: Kind
    sources: tuple[str, ...]
    """Patterns of the two sources, or one pattern that all frames of a scene fit."""
    truth: str | None = None
    inside: tuple[str, ...] = ("",)
    """Folders that the patterns may begin in."""

    @property
    def of_frames(self) -> bool:
        """Its sources have no roles: the first and the last frame are taken."""
        return len(self.sources) == 1

    @property
    def vague(self) -> bool:
        """It fits many folders, so that the set has to be named by the user or by the folder."""
        return self.data_set != "plain" and (self.of_frames or "{folders}" in self.sources[0])


_ROLES: tuple[tuple[Kind, str, str], ...] = (
    ("exposure", "under", "over"),
    ("focus", "near", "far"),
    ("infrared", "(vis|vi|visible)", "(ir|infrared)"),
    ("medical", "mri", "(ct|pet|spect)"),
)

LAYOUTS: tuple[Layout, ...] = (
    *(Layout("plain", kind, (f"{{scene}}/{a}", f"{{scene}}/{b}"), "{scene}/gt") for kind, a, b in _ROLES),
    # MEFB and VIFB: github.com/xingchenzhang; the suite for focus lies beside them.
    Layout("mefb", "exposure", ("{scene}/*",), inside=("input", "")),
    Layout("mfifb", "focus", ("{scene}/*_a", "{scene}/*_b"), inside=("input", "")),
    Layout("vifb", "infrared", ("vi/{scene}", "ir/{scene}"), inside=("input", "")),
    # SICE: github.com/csjcai/SICE, frames numbered from dark to bright.
    Layout("sice", "exposure", ("{scene}/*",), "label/{scene}", inside=("", "dataset_part2", "dataset_part1")),
    # Real-MFF: github.com/Zancelot/Real-MFF.
    Layout("realmff", "focus", ("imagea/{scene}_a", "imageb/{scene}_b"), "fusion/{scene}_f"),
    # Lytro: Nejati, Samavi and Shirani 2015; its series of three lies in a folder of its own.
    Layout("lytro", "focus", ("{scene}-a", "{scene}-b")),
    # MFI-WHU: github.com/HaoZhang1018/MFI-WHU.
    Layout("mfiwhu", "focus", ("source_1/{scene}", "source_2/{scene}"), "full_clear/{scene}"),
    # MFFW: Xu et al. 2020.
    Layout("mffw", "focus", ("{scene}_a", "{scene}_b")),
    # TNO: figshare 1008029; cameras, scenes and views are folders. Many copies have two folders, as the plain layout.
    Layout("tno", "infrared", ("{folders}/*vis*", "{folders}/*ir*")),
    # RoadScene: github.com/hanna-xu/RoadScene; crop_HR_visible does not line up with the infrared pictures.
    Layout("roadscene", "infrared", ("crop_lr_visible/{scene}", "cropinfrared/{scene}")),
    # MSRS: github.com/Linfeng-Tang/MSRS; the test part is what methods are measured on.
    Layout("msrs", "infrared", ("vi/{scene}", "ir/{scene}"), inside=("test", "")),
    # M3FD: github.com/JinyuanLiu-CV/TarDAL.
    Layout("m3fd", "infrared", ("vis/{scene}", "ir/{scene}"), inside=("m3fd_fusion", "")),
    # Harvard's atlas: github.com/xianming-gu/Havard-Medical-Image-Fusion-Datasets, one set for each folder.
    *(
        Layout(f"{other}mri", "medical", ("mri/{scene}", f"{other}/{{scene}}"), inside=("", "test"))
        for other in ("ct", "pet", "spect")
    ),
    *(Layout("plain", kind, (f"{a}/{{scene}}", f"{b}/{{scene}}"), "gt/{scene}") for kind, a, b in _ROLES),
    Layout("plain", "other", ("{scene}/*",), "{scene}/gt"),
)
NAMES = tuple(dict.fromkeys(layout.data_set for layout in LAYOUTS))


@dataclass(frozen=True)
class DataSet:
    """The scenes of a data set."""

    name: str
    folder: Path
    scenes: tuple[Scene, ...]
    notes: tuple[str, ...] = ()
    """What was left out, one short sentence each."""

    def spread(self, most: int | None) -> DataSet:
        """Keeps so many scenes at most, spread evenly."""
        if most is None or most >= len(self.scenes):
            return self
        chosen = np.linspace(0, len(self.scenes) - 1, most).astype(int)
        note = f"{self.name}: {most} of {len(self.scenes)} scenes, spread evenly"
        return DataSet(self.name, self.folder, tuple(self.scenes[i] for i in chosen), (*self.notes, note))


def find_sets(data_sets: Sequence[str]) -> list[DataSet]:
    """Finds the scenes of data sets.

    Args:
        data_sets: Folders, each of one set or of several sets; `NAME:FOLDER` says which set it is.

    Returns:
        The sets in the order given, those of one folder by name; scenes by name.

    Raises:
        EvaluationError: No such folder, a folder without scenes that are known, or two sets of one name.
    """
    sets = [found for each in data_sets for found in _find(each)]
    for name, count in Counter(each.name for each in sets).items():
        if count > 1:
            folders = " and ".join(str(each.folder) for each in sets if each.name == name)
            raise EvaluationError(
                f"{count} data sets are called {name!r} ({folders}); expected one, so rename a folder"
            )
    return sets


def _find(given: str) -> list[DataSet]:
    name, colon, folder = given.partition(":")
    named = name.lower().replace("-", "") if colon else ""
    if named not in NAMES:
        named, folder = "", given
    path = Path(folder)
    if not path.is_dir():
        raise EvaluationError(
            f"{given}: no such folder; expected FOLDER, or NAME:FOLDER with one of {', '.join(NAMES)}"
        )
    found = _set_in(path, named)
    if found:
        return [found]
    inside = [] if named else [_set_in(each, "") for each in sorted(path.iterdir()) if each.is_dir()]
    sets = [each for each in inside if each]
    if not sets:
        raise EvaluationError(f"{path} holds no scene; looked for {_looked_for(named)}; found {_contents(path)}")
    return sets


def _looked_for(named: str) -> str:
    if not named:
        return f"a folder for each scene with two pictures, or a set laid out as {', '.join(NAMES[1:])}"
    layouts = [layout for layout in LAYOUTS if layout.data_set == named != "plain"]
    return " or ".join([*(" with ".join(layout.sources) for layout in layouts), "a folder for each scene"])


def _contents(path: Path) -> str:
    entries = sorted(path.iterdir())
    folders = [each.name for each in entries if each.is_dir()]
    pictures = sum(each.suffix.lower() in SUFFIXES for each in entries)
    shown = f" ({', '.join(folders[:4])}{', ...' if len(folders) > 4 else ''})" if folders else ""
    return f"folders: {len(folders)}{shown}, pictures: {pictures}"


def _set_in(folder: Path, named: str) -> DataSet | None:
    """Finds the set that lies in a folder, by the most telling of the layouts that fit: that with the most scenes."""
    files = list(_pictures(folder))
    told = named or _told_by(folder)
    layouts = [layout for layout in LAYOUTS if layout.data_set in (named, "plain") or not named]
    layouts = [layout for layout in layouts if layout.data_set == told or not layout.vague]

    def telling(layout: Layout) -> tuple[bool, bool]:
        return layout.of_frames, layout.data_set != told

    for _, alike in groupby(sorted(layouts, key=telling), telling):
        starts = ((layout, start) for layout in alike for start in layout.inside)
        sets = [found for layout, start in starts if (found := _by_layout(folder, files, layout, start, named))]
        if sets:
            chosen = max(sets, key=lambda each: len(each.scenes))
            return replace(chosen, notes=(*chosen.notes, *_notes_of_others(chosen, sets)))
    return None


def _notes_of_others(chosen: DataSet, sets: Sequence[DataSet]) -> Iterator[str]:
    """Says which scenes other layouts would have found."""
    taken = {source for scene in chosen.scenes for source in scene.sources}
    left = {scene.name for each in sets for scene in each.scenes if taken.isdisjoint(scene.sources)}
    if left:
        yield (
            f"{chosen.name}: {len(left)} left out as of another kind ({', '.join(sorted(left)[:3])}"
            f"{', ...' if len(left) > 3 else ''}); give each kind a folder of its own"
        )


def _told_by(folder: Path) -> str:
    """Returns the set that a folder's name begins with, or that of the folder above: `MFI-WHU`, `VIFB-master`."""
    folder = folder.resolve()
    told = (data_set for each in (folder, folder.parent) for data_set in NAMES if _starts(each, data_set))
    return next(told, "")


def _name_of(folder: Path, layout: Layout, named: str) -> str:
    """Returns the set's published name where a folder begins with it, or else the folder's own."""
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


def _pictures(folder: Path) -> Iterator[str]:
    """Gives the pictures below a folder as paths with "/", by name."""
    for above, folders, files in os.walk(folder, followlinks=True):
        inside = Path(above).relative_to(folder)
        folders[:] = (
            sorted(each for each in folders if not each.startswith(".")) if len(inside.parts) < _DEPTH else []
        )
        for file in sorted(files, key=_natural):
            if not file.startswith(".") and file.lower().endswith(SUFFIXES):
                yield (inside / file).as_posix()


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name.lower())]


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{scene\}|\{folders\}|[*()|])", pattern)
    written = {
        "{scene}": "(?P<scene>[^/]+)",
        "{folders}": "(?P<scene>.+)",
        "*": "[^/]*",
        "(": "(?:",
        ")": ")",
        "|": "|",
    }
    return re.compile("".join(written.get(part) or re.escape(part) for part in parts), re.IGNORECASE)


def _by_layout(folder: Path, files: Sequence[str], layout: Layout, start: str, named: str) -> DataSet | None:
    """Pairs the pictures that fit a layout; None where there is no pair."""
    roles: list[dict[str, list[str]]] = [defaultdict(list) for _ in layout.sources]
    truths: dict[str, str] = {}
    names: dict[str, str] = {}
    prefix = f"{start}/" if start else ""
    for file in files:
        if not file.lower().startswith(prefix):
            continue
        stem = file[len(prefix) :].rpartition(".")[0]
        if layout.truth and (fit := _expression(layout.truth).fullmatch(stem)):
            truths.setdefault(fit["scene"].lower(), file)
            continue
        for role, pattern in zip(roles, layout.sources, strict=True):
            if fit := _expression(pattern).fullmatch(stem):
                names.setdefault(fit["scene"].lower(), fit["scene"].replace("/", "_"))
                role[fit["scene"].lower()].append(file)
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
        scenes.append(Scene(name, names[scene], (a, b), folder / truth if truth else None, kind))
    return DataSet(name, folder, tuple(scenes), tuple(_notes(name, layout, roles, names, pairs)))


def _kind_of(data_set: str) -> Kind:
    return next((layout.kind for layout in LAYOUTS if layout.data_set == data_set != "plain"), "other")


def _pair(roles: Sequence[dict[str, list[str]]], scene: str) -> tuple[str, str] | None:
    if len(roles) == 1:
        frames = roles[0][scene]
        return (frames[0], frames[-1]) if len(frames) > 1 else None
    a, b = (role.get(scene) for role in roles)
    # Of several, those whose names are most alike belong together.
    return max(product(a, b), key=lambda pair: SequenceMatcher(None, *pair).ratio()) if a and b else None


def _notes(
    name: str,
    layout: Layout,
    roles: Sequence[dict[str, list[str]]],
    names: dict[str, str],
    pairs: dict[str, tuple[str, str]],
) -> Iterator[str]:
    alone = [names[scene] for scene in names if scene not in pairs]
    if alone:
        shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        yield f"{name}: {len(alone)} of {len(names)} scenes left out for want of a source ({shown})"
    stacks = sum(len(roles[0][scene]) > 2 for scene in pairs) if layout.of_frames else 0
    if stacks:
        yield f"{name}: {stacks} of {len(pairs)} scenes with more than two frames, the first and the last were taken"
