"""What fusing and decomposing give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.record import Alignment
from defusion.imaging import Picture
from defusion.maps import Maps, Watch
from defusion.model.config import HeadName, TaskName
from defusion.scene import Form, Pixels
from defusion.temperatures import Heat


class Parts(NamedTuple):
    """What two sources decompose into, and what they fuse to; each of the sources' kind.

    `common` is what both sources show, a `unique` what its source alone shows; black elsewhere.
    """

    common: Any
    unique_a: Any
    unique_b: Any
    fused: Any


class PartPictures(NamedTuple):
    """`Parts` as pictures, with depth and colour profile."""

    common: Picture
    unique_a: Picture
    unique_b: Picture
    fused: Picture


class Plan(NamedTuple):
    """How some sources are fused, and why so."""

    task: TaskName
    why: str
    head: HeadName


class Fused(NamedTuple):
    """A fused picture on its way: what it is like, and its pixels from top to bottom."""

    plan: Plan
    form: Form
    bands: Iterator[Pixels]
    """[h, W, C] in [0, 1], made as they are taken."""
    notes: tuple[str, ...]
    """What was changed on the way in, one short sentence each."""
    ranges: dict[str, tuple[float, float]]
    """Black and white of the sources that do not use all of their range, by name."""
    alignment: Alignment | None
    """How the sources lie in the result; None where alignment is off."""
    ghosts: dict[str, NDArray[np.uint8]]
    """Where something moved, 255 in a small picture [h, w], by the source's name."""
    names: tuple[str, ...]
    """Of the sources."""
    watch: Watch | None
    """Makes the maps, where they are wanted."""
    network: Mapping[str, str]
    """Which network makes it, and where; see `Fuser.network`."""
    heat: Heat | None = None
    """What a thermal source measures, as it lies in the result; None where none does."""

    def maps(self) -> Maps | None:
        """Returns what explains the picture, once all bands were taken; None where that was not wanted."""
        if self.watch is None:
            return None
        return Maps(self.names, self.watch.source, self.watch.depth, self.ghosts, self.alignment)

    def picture(self) -> Picture:
        """Makes the whole picture in memory."""
        return replace(self.form.picture(self.bands), notes=self.notes)

    def facts(self) -> dict[str, Any]:
        """Returns what `--json` says of it: its form, how it is made, and by which network."""
        return _facts(self)


class Decomposed(NamedTuple):
    """What two sources decomposed into, as `Fused` says it."""

    plan: Plan
    form: Form
    parts: PartPictures
    notes: tuple[str, ...]
    alignment: Alignment | None
    network: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """Returns what `--json` says of it, as `Fused.facts`."""
        return _facts(self)


class FusedFile(NamedTuple):
    """A fused picture that has been written."""

    output: Path
    facts: dict[str, Any]
    """What `--json` prints of it: its file and form, how it was made, by which network, and the notes."""
    notes: tuple[str, ...]
    """What was changed on the way in and what the file cannot hold, one short sentence each."""
    alignment: Alignment | None
    """How the sources lie in the result; None where alignment is off."""


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
