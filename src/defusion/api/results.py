"""What fusing and decomposing return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.record import Alignment
from defusion.imaging import Picture
from defusion.model.config import HeadName, TaskName
from defusion.scene.form import Form, Pixels
from defusion.scene.maps import Maps, Watch
from defusion.scene.temperatures import Heat

Part = TypeVar("Part")


class Parts(NamedTuple, Generic[Part]):
    """The parts of two sources and their fused picture, each of the type that `fuse` returns.

    `common` shows what both sources have; a `unique` part shows what only its source has and is black elsewhere.
    """

    common: Part
    unique_a: Part
    unique_b: Part
    fused: Part


class PartPictures(NamedTuple):
    """`Parts` as pictures, with depth and colour profile."""

    common: Picture
    unique_a: Picture
    unique_b: Picture
    fused: Picture


class Plan(NamedTuple):
    """How some sources are fused, and why."""

    task: TaskName
    why: str
    head: HeadName


class Fused(NamedTuple):
    """A fused picture that is still being made: its form, and its bands from top to bottom."""

    plan: Plan
    form: Form
    bands: Iterator[Pixels]
    """Bands [h, W, C] in [0, 1]; each is computed when it is taken."""
    notes: tuple[str, ...]
    """What was changed on the way in, one short sentence each."""
    ranges: dict[str, tuple[float, float]]
    """Black and white levels, by name, of the sources that do not use all of their range."""
    alignment: Alignment | None
    """How the sources lie in the result; None where alignment is off."""
    ghosts: dict[str, NDArray[np.uint8]]
    """Where something moved: a small mask [h, w], 255 there, by the name of the source."""
    names: tuple[str, ...]
    """Names of the sources."""
    watch: Watch | None
    """Collects the maps; None if they are not wanted."""
    network: Mapping[str, str]
    """The network that makes the picture; see `Fuser.network`."""
    heat: Heat | None = None
    """What a thermal source measures, in the coordinates of the result; None if there is no such source."""

    def maps(self) -> Maps | None:
        """Returns the maps, after all bands were taken; None if they were not wanted."""
        if self.watch is None:
            return None
        return Maps(self.names, self.watch.source, self.watch.depth, self.ghosts, self.alignment)

    def picture(self) -> Picture:
        """Makes the whole picture in memory."""
        return replace(self.form.picture(self.bands), notes=self.notes)

    def facts(self) -> dict[str, Any]:
        """Returns what `--json` says about the picture: its form, how it is made, and by which network."""
        return _facts(self)


class Decomposed(NamedTuple):
    """The parts of two sources, with the same facts as `Fused`."""

    plan: Plan
    form: Form
    parts: PartPictures
    notes: tuple[str, ...]
    alignment: Alignment | None
    network: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """Returns what `--json` says about the parts, as `Fused.facts` does."""
        return _facts(self)


class FusedFile(NamedTuple):
    """A fused picture that has been written."""

    output: Path
    facts: dict[str, Any]
    """What `--json` prints: the file, its form, how it was made, by which network, and the notes."""
    notes: tuple[str, ...]
    """What was changed on the way in and what the file cannot hold, one short sentence each."""
    alignment: Alignment | None
    """How the sources lie in the result; None where alignment is off."""
    thumbnails: tuple[NDArray[np.uint8], ...] = ()
    """Small copies [h, w, C] of the first source and of the result, if they were asked for."""


def _facts(made: Fused | Decomposed) -> dict[str, Any]:
    return {
        "width": made.form.size.width,
        "height": made.form.size.height,
        "depth": made.form.depth,
        "task": made.plan.task,
        "why": made.plan.why,
        "head": made.plan.head,
        **made.network,
        "alignment": None if made.alignment is None else made.alignment.facts(),
    }
