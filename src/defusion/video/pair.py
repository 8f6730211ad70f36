"""Fuses one moment of two clips: the network fuses the luminances, and the colour is that of the visible frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.api.fuser import Fuser
from defusion.imaging import PALETTES, Picture, as_temperature, luminance, recognised_palette, with_luminance
from defusion.imaging.levels import used
from defusion.imaging.tone import Levels
from defusion.model.config import PyramidConfig
from defusion.runtime import Planes
from defusion.scene.rig import Rig
from defusion.scene.temperatures import Isotherm
from defusion.system.machine import check_free
from defusion.tiles import paper, stages
from defusion.tiles.grid import Size
from defusion.tiles.views import SourceViews
from defusion.video.quick import Plane, enlarged, halved
from defusion.video.steady import Steady

Pixels = NDArray[np.float32]

#: Black at 0 and white at 1, whatever values a frame happens to use.
_WHOLE = Levels(0, 1)

#: A place of a thermal picture shows the fused picture alone if its confidence is below one over this.
_INSIDE = 4


#: Frames of this size or larger are decided at half their size, unless asked otherwise.
_LARGE_PX = 640 * 480


class Meant(NamedTuple):
    """The meaning of thermal frames, found from the first frames and kept for all."""

    palette: str | None
    """The false colour that they have."""
    levels: Levels | None
    """Black and white level; None for the range of their sample type."""
    black_hot: bool


class Prepared(NamedTuple):
    """Two frames of one moment, made ready for the network."""

    thermal: Picture
    """As it came."""
    visible: Picture
    seen: Pixels
    """Pixels of the visible frame, [H, W, C] in [0, 1]."""
    heat: Plane
    """What the thermal frame shows in the coordinates of the visible one, [H, W] in [0, 1]."""
    light: Plane
    """Luminance of the visible frame, [H, W]."""
    trusted: Plane | None
    """Where the thermal frame exists, [H, W] in [0, 1]; None for everywhere."""
    halves: tuple[Plane, Plane] | None
    """`heat` and `light` at half their size, to decide on; None to decide at full size."""


class PairFuser:
    """Fuses frames of two clips, moment by moment in the order of time. The three steps of a moment may run in three
    threads, each for another moment.

    Args:
        fuser: The network.
        rig: How thermal frames lie in visible ones; None if they line up.
        meant: The meaning of thermal frames.
        steady: Keeps still what should not change between frames.
        plane_m: As for `Rig.aligned`.
        isotherm: Range of measured values that is painted.
        quick: Decide at half the size; see `quick.py`. None does so for large frames.
    """

    def __init__(
        self,
        fuser: Fuser,
        rig: Rig | None,
        meant: Meant,
        steady: Steady,
        plane_m: float | None = None,
        isotherm: Isotherm | None = None,
        quick: bool | None = None,
    ) -> None:
        self._engine = fuser.engine.for_clip()
        self._rig, self._meant, self._steady = rig, meant, steady
        self._plane_m, self._isotherm, self._quick = plane_m, isotherm, quick
        self._size: Size | None = None

    def begin_anew(self) -> None:
        """Forgets what the engine found in earlier frames; what is kept against flicker stays."""
        self._engine = self._engine.for_clip()

    def prepared(self, thermal: Picture, visible: Picture) -> Prepared:
        """The first step: makes two pictures ready."""
        heat = grey_of(thermal, self._meant)
        if self._rig is not None:
            heat = self._rig.aligned(heat, visible, self._plane_m)
        seen = visible.region(slice(None), slice(None))
        light = seen if visible.grey else luminance(seen)
        planes = np.asarray(heat.samples)[..., 0], light[..., 0]
        quick = light.size >= _LARGE_PX if self._quick is None else self._quick
        halves = (halved(planes[0]), halved(planes[1])) if quick else None
        return Prepared(thermal, visible, seen, *planes, heat.confidence(slice(None), slice(None)), halves)

    def decided(self, moment: Prepared) -> Plane:
        """The second step: fuses the luminances, at half their size if quick, in the order of time."""
        return self._decided(moment.trusted, *(moment.halves or (moment.heat, moment.light)))

    def finished(self, moment: Prepared, plane: Plane) -> Pixels:
        """The third step: prevents flicker and adds the colours, in the order of time.

        Returns:
            [H, W, C] in [0, 1], with as many channels as the visible picture, or three with an isotherm.
        """
        if moment.halves is not None:
            plane = enlarged(plane, moment.halves, moment.heat, moment.light)
        plane = self._steady.held(plane, moment.heat, moment.light)
        if moment.trusted is not None:  # pixels outside the thermal picture must not be changed by coarse levels
            plane = moment.light + np.minimum(_INSIDE * moment.trusted, 1) * (plane - moment.light)
        made = plane[..., None] if moment.visible.grey else with_luminance(moment.seen, plane[..., None])
        if self._isotherm is None:
            return made
        return self._isotherm.painted(made, self._values(moment.thermal, moment.visible))

    def _decided(self, trusted: Plane | None, thermal: Plane, visible: Plane) -> Plane:
        """Fuses two planes by the network; `trusted` says in [0, 1] where the thermal one exists."""
        for plane, other in ((thermal, visible), (visible, thermal)):
            if plane.min() == plane.max():  # it shows nothing
                return other
        size, engine = Size(*thermal.shape), self._engine
        if self._size is None and engine.device == "cpu" and isinstance(engine.config, PyramidConfig):
            check_free(stages.needed_bytes(size, 2))
        self._size = size
        alpha = None if trusted is None else _as_large(trusted, thermal)
        if isinstance(engine.config, PyramidConfig):
            sources = [_source(thermal, alpha), _source(visible, None)]
            bands = stages.fuse(engine, lambda: sources, 2, size)
        else:
            darker, brighter = sorted((thermal, visible), key=lambda plane: float(plane.mean()))
            bands = paper.paint(engine, partial(_part, darker, 3), partial(_part, brighter, 3), size)
        return np.asarray(np.clip(np.concatenate([band.planes[0][0, 0] for band in bands]), 0, 1))

    def _values(self, thermal: Picture, visible: Picture) -> Pixels:
        """Returns the measured values in the coordinates of the result, NaN where there are none."""
        moved = thermal if self._rig is None else self._rig.aligned(thermal, visible, self._plane_m)
        values: Pixels = np.asarray(moved.samples).astype(np.float32)
        trusted = moved.confidence(slice(None), slice(None))
        if trusted is not None:
            values[trusted == 0] = np.nan
        return values


def _source(plane: Plane, confidence: Plane | None) -> SourceViews:
    nowhere = np.zeros((1, 1, 0, 0), np.float32)
    return SourceViews(
        partial(_part, plane, 1),
        lambda rows, columns: nowhere if confidence is None else confidence[None, None, rows, columns],
    )


def _part(plane: Plane, count: int, rows: slice, columns: slice) -> Planes:
    """A part of a plane as the network takes it, [1, count, h, w]."""
    part = plane[None, None, rows, columns]
    return np.broadcast_to(part, (1, count, *part.shape[2:]))


def _as_large(trusted: Plane, like: Plane) -> Plane:
    import cv2

    height, width = like.shape
    return np.asarray(cv2.resize(trusted, (width, height), interpolation=cv2.INTER_AREA))


def meaning_of(
    thermal: Sequence[Picture], palette: str, levels: Levels | None = None, *, black_hot: bool = False
) -> Meant:
    """Finds the meaning of the frames of a thermal clip from some of them.

    Args:
        thermal: One or more frames.
        palette: Name of a palette; "auto" takes what most frames show, "none" leaves colours as they are.
        levels: Black and white level, if known.
        black_hot: Warm things are dark.
    """
    found: str | None = palette if palette in PALETTES else None
    if palette == "auto":
        told = [recognised_palette(each) for each in thermal]
        found = max(told, key=told.count)
    uses = [used(each) for each in thermal]
    own = [each.levels for each in uses if each.levels is not None]
    if levels is None and own:
        levels = Levels(min(each.low for each in own), max(each.high for each in own))
    return Meant(found, levels, black_hot)


def grey_of(thermal: Picture, meant: Meant) -> Picture:
    """Converts a thermal frame to one plane of float32 in [0, 1], with hot things bright."""
    if meant.palette is not None and not thermal.grey:
        thermal = as_temperature(thermal, meant.palette)
    elif meant.levels is not None:
        thermal = replace(thermal, levels=meant.levels)
    pixels = thermal.region(slice(None), slice(None))
    plane = pixels if thermal.grey else luminance(pixels)
    return Picture(1 - plane if meant.black_hot else plane, levels=_WHOLE, alpha=thermal.alpha)
