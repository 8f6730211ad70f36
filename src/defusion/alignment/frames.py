"""Aligns the frames of a scene to one of them: which one, how each is moved, and what happens to those that do not
line up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from defusion.alignment.fullsize import ReferenceCrops, polished
from defusion.alignment.geometry import (
    MODELS,
    Matrix,
    Model,
    Shape,
    corner_distance,
    enlarged,
    in_whole_pixels,
    shifted,
)
from defusion.alignment.local import LocalWarp, Placed, local_warp
from defusion.alignment.look import Look
from defusion.alignment.pair import PairAlignment, lined_up
from defusion.alignment.record import Alignment, FrameAlignment
from defusion.alignment.representation import LuminancePyramid
from defusion.alignment.stack import chained
from defusion.alignment.verdict import Verdict
from defusion.alignment.warp import common_area, covered
from defusion.errors import ImageError
from defusion.imaging import Picture

#: If mean brightness within a stack differs by more than this factor, its frames are sorted by brightness.
_SAME_BRIGHTNESS = 1.25

#: A frame that could not be aligned is left out of a stack if the other frames moved by more than this, in pixels of
#: the picture that is compared.
_HAND_HELD_PX = 1.0

#: Sides whose ratios differ by no more than this have the same shape.
_SAME_RATIO = 0.015

#: A result is not cropped if all frames cover this much of it: what one frame lacks at the border, the others show.
_WHOLE_PART = 0.98

#: A result has at least this fraction of its reference.
_LEAST_PART = 0.02

#: A motion whose corners are on average this near to whole pixels is rounded to them.
_WHOLE_PX = 0.15

#: The same for frames that are fused. Nobody sees half a pixel, and the sources' own pixels are sharper than
#: interpolated ones: four scenes with frames half a pixel apart lost 1.2 to 12 % of the fused picture's sharpness
#: without resampling, and 1.9 to 12.9 % with it.
FUSED_WHOLE_PX = 0.5

#: From this confidence on, a frame that was found in place is said to seem in line, although that is not sure.
_LIKELY = 0.5

_LEVELS_KEPT = 6


class Wanted(NamedTuple):
    """How frames are to be aligned."""

    align: str = "auto"
    """One of `options.ALIGNS`."""
    reference: int | None = None
    """Number of the frame that the others are aligned to, from 0; None for the larger of two, or the middle one of
    more.
    """
    crop: bool = True
    """The result is what all frames cover; otherwise all of the reference."""
    sensors: str = "auto"
    """"one", "several" or "auto"."""
    whole_px: float = _WHOLE_PX
    """A frame whose corners are on average this near to whole pixels is moved by whole pixels."""


def aligned(
    names: Sequence[str],
    looks: Sequence[Look],
    open_frame: Callable[[int], Picture],
    wanted: Wanted,
    done: Callable[[int], None] | None = None,
) -> Alignment:
    """Finds how the frames of a scene lie in one result.

    Args:
        names: Names of the frames.
        looks: What was seen of each.
        open_frame: Opens a frame, to see parts of it at full size.
        wanted: How to align.
        done: Called with the number of the frame that is worked on.

    Raises:
        ImageError: Frames of different shape could not be aligned.
    """
    levels = lru_cache(_LEVELS_KEPT)(lambda index: looks[index].levels)
    showing = [index for index in range(len(looks)) if not levels(index).textureless]
    reference = _reference(looks, showing, wanted)
    freest: Model = next((each for each in MODELS if each == wanted.align), "homography")
    found: dict[int, PairAlignment] = {}
    if len(showing) > 2:
        order = _order(looks, showing)
        middle = order.index(reference) if reference in order else len(order) // 2
        if reference in order:
            of_order = chained(_Lazy(levels, order), middle, sensors=wanted.sensors, freest=freest, done=done)
            found = dict(zip(order, of_order, strict=True))
    elif len(showing) == 2 and reference in showing:
        other = next(index for index in showing if index != reference)
        found = {other: lined_up(levels(reference), levels(other), sensors=wanted.sensors, freest=freest)}
    base = looks[reference]
    places: dict[int, PairAlignment] = {}
    for index, each in found.items():
        if index != reference and each.verdict.good:
            whole = looks[index].to_frame() @ each.matrix @ np.linalg.inv(base.to_frame())
            places[index] = each._replace(matrix=whole)
    places = {
        index: _snapped(each, base.shape, wanted.whole_px)
        for index, each in _at_full_size(looks, places, reference, open_frame, freest).items()
    }
    local = _bent(levels, looks, places, reference, _order(looks, showing)) if wanted.align == "local" else {}
    return _settled(names, looks, places, found, reference, wanted, local)


def resized_like(names: Sequence[str], shapes: Sequence[Shape], reference: int) -> Alignment:
    """Returns an alignment that resizes all frames to the size of one, and moves none."""
    target = shapes[reference]
    frames = tuple(
        FrameAlignment(
            name,
            shape == target,
            "identity" if shape == target else "resized",
            _resized(target, shape),
            shape,
            None,
            0.0,
            1.0,
        )
        for name, shape in zip(names, shapes, strict=True)
    )
    return Alignment(names[reference], target, frames)


class _Lazy(Sequence[LuminancePyramid]):
    """Luminance pyramids that are computed when they are used."""

    def __init__(self, levels: Callable[[int], LuminancePyramid], order: Sequence[int]) -> None:
        self._levels, self._order = levels, order

    def __getitem__(self, index: int) -> LuminancePyramid:  # type: ignore[override]
        return self._levels(self._order[index])

    def __len__(self) -> int:
        return len(self._order)


def _reference(looks: Sequence[Look], showing: Sequence[int], wanted: Wanted) -> int:
    if wanted.reference is not None:
        return wanted.reference
    if not showing:
        return 0
    if len(looks) == 2:
        return max(showing, key=lambda index: (looks[index].shape.height * looks[index].shape.width, -index))
    order = _order(looks, showing)
    return order[len(order) // 2]


def _order(looks: Sequence[Look], showing: Sequence[int]) -> list[int]:
    """Returns frames in order of exposure, if that differs, else as they came."""
    means = [max(looks[index].brightness, 1e-4) for index in showing]
    if max(means) > _SAME_BRIGHTNESS * min(means):
        return sorted(showing, key=lambda index: looks[index].brightness)
    return list(showing)


def _resized(of_result: Shape, of_frame: Shape) -> Matrix:
    return enlarged(of_frame.width / of_result.width, of_frame.height / of_result.height)


def _snapped(found: PairAlignment, reference: Shape, whole_px: float) -> PairAlignment:
    """Rounds a motion to whole pixels if it is close to that, since nothing has to be interpolated then."""
    matrix = in_whole_pixels(found.matrix, reference, whole_px)
    if matrix is None:
        return found
    return found._replace(matrix=matrix, model="identity" if np.array_equal(matrix, np.eye(3)) else "translation")


def _at_full_size(
    looks: Sequence[Look],
    places: dict[int, PairAlignment],
    reference: int,
    open_frame: Callable[[int], Picture],
    freest: Model,
) -> dict[int, PairAlignment]:
    """Refines what was found on smaller pictures. Frames that do not move stay as they are."""
    moving = [index for index, each in places.items() if each.model != "identity" and looks[index].shrink > 1]
    if not moving:
        return places
    base = ReferenceCrops(open_frame(reference))
    return {
        index: each._replace(matrix=polished(base, open_frame(index), each, freest)) if index in moving else each
        for index, each in places.items()
    }


def _bent(
    levels: Callable[[int], LuminancePyramid],
    looks: Sequence[Look],
    places: dict[int, PairAlignment],
    reference: int,
    order: Sequence[int],
) -> dict[int, tuple[LocalWarp, float]]:
    """Finds local warps, from the reference outward, and by how many pixels blocks are off with them."""
    shape, middle = levels(reference).shape, order.index(reference) if reference in order else 0
    bent: dict[int, tuple[LocalWarp, float]] = {}
    for outward in (order[middle + 1 :], order[:middle][::-1]):
        near, placed = reference, Placed(np.eye(3), None)
        for index in outward:
            if index not in places:
                continue
            place = places[index]
            small = np.linalg.inv(looks[index].to_frame()) @ place.matrix @ looks[reference].to_frame()
            warp, residual_px = local_warp(levels(near), levels(index), placed, small, place.kind, shape)
            near, placed = index, Placed(small, warp)
            if warp is not None:
                bent[index] = warp.enlarged(looks[reference].shrink), residual_px
    return bent


def _settled(
    names: Sequence[str],
    looks: Sequence[Look],
    places: dict[int, PairAlignment],
    found: dict[int, PairAlignment],
    reference: int,
    wanted: Wanted,
    local: dict[int, tuple[LocalWarp, float]],
) -> Alignment:
    """Decides what happens to each frame, and where the result ends."""
    base = looks[reference].shape
    notes: list[str] = []
    moved = max(
        (
            corner_distance(each.matrix, _resized(base, looks[index].shape), base) / looks[reference].shrink
            for index, each in places.items()
        ),
        default=0.0,
    )
    frames: list[FrameAlignment] = []
    for index, (name, look) in enumerate(zip(names, looks, strict=True)):
        resized = _resized(base, look.shape)
        verdict = found[index].verdict if index in found else Verdict.none()
        if index == reference:
            frames.append(FrameAlignment(name, True, "identity", np.eye(3), look.shape, 0.0, 1.0, 1.0))
        elif index in places:
            place = places[index]
            warp, residual_px = local.get(index, (None, verdict.residual_px))
            residual = residual_px * looks[reference].shrink
            model = place.model if warp is None else "local"
            frames.append(
                FrameAlignment(
                    name, True, model, place.matrix, look.shape, residual, verdict.confidence, 1.0, local=warp
                )
            )
            if model != "identity":
                how = {"local": "a local warp", "affine": "an affine"}.get(model, f"a {model}")
                notes.append(
                    f"{name}: lined up with {names[reference]} by {how}, {residual:.1f} px off, "
                    f"confidence {verdict.confidence:.2f}"
                )
        else:
            of_base = verdict.residual_px * looks[reference].shrink
            why = f"could not be lined up with {names[reference]} (confidence {verdict.confidence:.2f})"
            if index not in found:
                why = f"has too little texture to be lined up with {names[reference]}"
            elif found[index].model == "identity" and verdict.confidence >= _LIKELY:
                why = f"seems to line up with {names[reference]} already (confidence {verdict.confidence:.2f})"
            left_out = len(looks) > 2 and moved > _HAND_HELD_PX
            alike = abs(np.log((look.shape.width * base.height) / (look.shape.height * base.width))) < _SAME_RATIO
            if not left_out and not alike:
                raise ImageError(
                    f"{name} is {look.shape.width}x{look.shape.height} pixels, {names[reference]} is "
                    f"{base.width}x{base.height}, and it {why}; crop them to the same part of the scene first."
                )
            ending = "left out" if left_out else "left as it was" if look.shape == base else "resized only"
            notes.append(f"{name}: {why}, so it is {ending}")
            frames.append(
                FrameAlignment(
                    name,
                    False,
                    "identity" if look.shape == base else "resized",
                    resized,
                    look.shape,
                    of_base if np.isfinite(of_base) else None,
                    verdict.confidence,
                    1.0,
                    left_out,
                )
            )
    return _cropped(Alignment(names[reference], base, tuple(frames), tuple(notes)), wanted.crop)


def _cropped(alignment: Alignment, crop: bool) -> Alignment:
    """Measures what the frames cover, and crops the result to what all of them cover."""
    used = [each for each in alignment.frames if not each.left_out]
    base, notes = alignment.shape, alignment.notes
    shape, start = base, np.eye(3)
    area = common_area(
        [each.matrix for each in used], [each.shape for each in used], base, [each.local for each in used]
    )
    rows, columns = area or (slice(0, 0), slice(0, 0))
    common = Shape(rows.stop - rows.start, columns.stop - columns.start)
    if common.height * common.width < _LEAST_PART * base.height * base.width:
        raise ImageError(
            f"the frames have hardly a part of {alignment.reference} in common; leave out those of another scene."
        )
    if crop and common.height * common.width < _WHOLE_PART * base.height * base.width:
        shape = common
        start = shifted(columns.start, rows.start)
        if shape != base:
            of_base = f"{shape.width}x{shape.height} pixels of {base.width}x{base.height}"
            notes += (f"cropped to {of_base}, which all frames cover",)
    across, down = (np.linspace(0, side - 1, 64) for side in (shape.width, shape.height))
    grid = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
    frames = []
    for each in alignment.frames:
        matrix = each.matrix @ start
        matrix = matrix / matrix[2, 2]
        local = None if each.local is None else each.local.of_part(start[0, 2], start[1, 2])
        coverage = float(covered(matrix, shape, each.shape, grid, local).mean())
        frames.append(replace(each, matrix=matrix, coverage=coverage, local=local))
    return replace(alignment, shape=shape, frames=tuple(frames), notes=notes)
