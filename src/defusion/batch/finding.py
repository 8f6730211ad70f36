"""Finds the scenes in the sources of a batch. It can be called again to find new ones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from defusion.batch import manifest, scenes
from defusion.batch.grouping import FrameLook, Group, divided
from defusion.batch.places import is_url
from defusion.batch.scenes import BatchScene
from defusion.errors import BatchError

Source = str | os.PathLike[str]
Sources = Source | Sequence[Source] | Mapping[str, Sequence[Source]]


class FoundScenes(NamedTuple):
    """The scenes that were found."""

    scenes: list[BatchScene]
    groups: list[Group]
    """How a card was divided, including frames that belong to no series; empty without `group`."""
    notes: tuple[str, ...] = ()


class Finder:
    """Finds the scenes in some sources, as often as it is called.

    Args:
        sources: As for `batch`.
        output: The folder of results.
        suffix: Suffix of the results.
        group: Divide folders of frames into scenes.

    Raises:
        BatchError: There are no sources, or their kinds do not go together.
    """

    def __init__(self, sources: Sources, output: str, suffix: str, *, group: bool = False) -> None:
        self._output, self._suffix, self._group = output, suffix, group
        self._seen: dict[str, FrameLook] = {}
        self._mapping = sources if isinstance(sources, Mapping) else None
        given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        self._sources = [os.fspath(each) for each in given]
        kinds = {self._kind(each) for each in self._sources}
        if len(kinds) != 1 or (group and kinds != {"folder"}):
            expected = (
                "folders of frames" if group else "folders of scene folders, patterns or manifests, of one kind"
            )
            raise BatchError(f"sources came as {' and '.join(sorted(kinds)) or 'nothing'}; expected {expected}")
        (self._of_kind,) = kinds

    @property
    def folders(self) -> list[Path]:
        """Folders of this machine in which scenes may appear."""
        places = [each.partition("{")[0] if self._of_kind == "pattern" else each for each in self._sources]
        paths = [Path(each) for each in places if not is_url(each)]
        return [path if path.is_dir() else path.parent for path in paths]

    def find(self, *, may_be_none: bool = False) -> FoundScenes:
        """Finds the scenes that exist now.

        Args:
            may_be_none: Do not raise if there are none yet.

        Raises:
            BatchError: There are none, or two of them conflict; see `scenes.check`.
        """
        groups: list[Group] = []
        notes: tuple[str, ...] = ()
        if self._mapping is not None:
            found = scenes.of_mapping(self._mapping)
        elif self._group:
            cards = [divided(folder, self._seen) for folder in self._sources]
            groups = [group for card in cards for group in card.groups]
            notes = tuple(note for card in cards for note in card.notes)
            found = [group.scene for group in groups if group.kind != "single"]
        elif self._of_kind == "folder":
            found = scenes.of_folders(self._sources, but=self._output)
        elif self._of_kind == "pattern":
            found = scenes.of_patterns(self._sources)
        else:
            found = [scene for each in self._sources for scene in manifest.of_manifest(each)]
        if not found and not may_be_none:
            raise BatchError(self._nothing(len(groups)))
        scenes.check(found, self._output, self._suffix)
        return FoundScenes(found, groups, notes)

    def _nothing(self, frames: int) -> str:
        """Explains why there are no scenes."""
        sources = " ".join(self._sources)
        if self._group:
            return f"no two of {frames} frames in {sources} belong to one scene; expected the frames of a camera card"
        if self._of_kind == "folder":
            return (
                f"{sources} holds no folders, expected one for each scene; --group divides a folder of many scenes, "
                "and patterns such as '{scene}_ir.png' '{scene}_vis.png' find files that share a name"
            )
        if self._of_kind == "pattern":
            return f"no files match {sources}; check folder and spelling, and quote the patterns"
        return f"{sources} names no scenes; add some"

    def _kind(self, source: str) -> str:
        if self._mapping is not None:
            return "names"
        if "{" in source and not Path(source).is_dir():
            return "pattern"
        return "manifest" if source.lower().endswith(manifest.MANIFEST_SUFFIXES) else "folder"
