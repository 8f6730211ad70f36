"""The network for the frames of one clip. A close look takes half of a frame's time, so most frames reuse an earlier
look.

A look serves for at most `EVERY` frames, so that new noise and new broken pixels are found soon. In between, only
those parts are looked at anew that have changed at a place where the look matters.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.model.decisions import Closely
from defusion.model.ops import Learned
from defusion.model.pyramid import PyramidNet
from defusion.runtime.array_ops import ArrayOps
from defusion.runtime.engine import MASK_COUNTS, Decided, Planes

#: A look serves for at most this many frames.
EVERY = 8

#: Frames are compared place by place. A place is a square of this many pixels a side.
_PLACE_PX = 16

#: A place has changed if its mean luminance differs by more than the first, or its standard deviation by more than
#: the second.
_LIGHT, _SPREAD = 4 / 255, 2 / 255

#: Side of the parts that are looked at anew, in pixels; how much is read around one, as far as the look sees; and the
#: share of a frame above which all of it is looked at.
_PART_PX = 64
_AROUND_PX = 24
_MOST_PARTS = 0.25

#: The clip has been cut if, at more than the first part of all places, luminance differs by more than the second.
_CUT_PART, _CUT_LIGHT = 0.5, 20 / 255


class ClipNet(PyramidNet[Planes]):
    """Decides on the frames of one clip, in order."""

    def __init__(self, learned: Learned[Planes]) -> None:
        super().__init__(ArrayOps(), learned)
        self._found: Closely | None = None
        self._confidence: Planes | None = None
        self._places: Planes | None = None
        self._matter: NDArray[np.bool_] | None = None
        self._mask_counts = True
        self._age = 0

    def look_closely(self, sources: Planes, confidence: Planes | None) -> Closely:
        """Looks closely where the last look does not serve any more."""
        places = _places(sources)
        self._age += 1
        parts = self._due(places, confidence)
        if self._found is None or parts is None:
            found = super().look_closely(sources, confidence)
            self._found = found if self._mask_counts else found._replace(mask=None)
            self._confidence, self._places, self._matter, self._age = confidence, places, None, 0
        elif len(parts):
            self._found = self._patched(self._found, parts, sources, confidence)
            assert self._places is not None
            step = _PART_PX // _PLACE_PX
            for down, right in parts * step:
                self._places[..., down : down + step, right : right + step] = places[
                    ..., down : down + step, right : right + step
                ]
        return self._found

    def _patched(
        self, found: Closely, parts: NDArray[np.intp], sources: Planes, confidence: Planes | None
    ) -> Closely:
        """Looks at parts, numbered by rows and columns, and puts them in their places in what was found."""
        trusted, mask = found.confidence.copy(), None if found.mask is None else found.mask.copy()
        sides = sources.shape[2:]
        for place in parts * _PART_PX:
            seen, there, inner = zip(
                *(_extents(at, side) for at, side in zip(place, sides, strict=True)), strict=True
            )
            of_frame = (slice(None), slice(None), *seen)
            made = super().look_closely(
                np.ascontiguousarray(sources[of_frame]), None if confidence is None else confidence[of_frame]
            )
            trusted[:, :, *there] = made.confidence[:, :, *inner]
            if mask is not None:
                mask[:, :, *there] = made.mask[:, :, *inner]
        return Closely(trusted, mask)

    def decided(self, decided: Decided) -> None:
        """Learns from the decision on a frame whether the mask counts and where a close look matters."""
        if self._matter is None and self._places is not None and decided.by_mask is not None:
            self._mask_counts = bool((decided.by_mask > MASK_COUNTS).any())
            matter = _reduced(decided.worth_a_look[0, 0].astype(np.float32))
            self._matter = cv2.dilate(matter, np.ones((3, 3), np.uint8)) > 0

    def _due(self, places: Planes, confidence: Planes | None) -> NDArray[np.intp] | None:
        """Returns the parts that have to be looked at, by rows and columns; None for the whole frame."""
        if self._places is None or self._matter is None or self._places.shape != places.shape or self._age >= EVERY:
            return None
        if not _equal(confidence, self._confidence):
            return None
        light, spread = np.abs(places - self._places).max(1)
        if (light > _CUT_LIGHT).mean() > _CUT_PART:
            return None
        due = ((light > _LIGHT) | (spread > _SPREAD)) & self._matter
        step = _PART_PX // _PLACE_PX
        whole = np.pad(due, [(0, -side % step) for side in due.shape])
        of_parts = whole.reshape(whole.shape[0] // step, step, whole.shape[1] // step, step).any((1, 3))
        return None if of_parts.mean() > _MOST_PARTS else np.argwhere(of_parts)


def _extents(at: int, side: int) -> tuple[slice, slice, slice]:
    """Returns what is seen around a part that begins at a row or column, the part, and the part in what is seen. All
    parts see equally much, so one graph serves them.
    """
    length = min(_PART_PX + 2 * _AROUND_PX, side)
    start = min(max(at - _AROUND_PX, 0), side - length)
    stop = min(at + _PART_PX, side)
    return slice(start, start + length), slice(at, stop), slice(at - start, stop - start)


def _places(sources: Planes) -> Planes:
    """Returns the mean and the standard deviation of luminance at each place of each source, [2, S, h, w]."""
    lights = ArrayOps().mean(sources)[:, 0]
    means = [_reduced(light) for light in lights]
    squares = [_reduced(light * light) for light in lights]
    spreads = [np.sqrt(np.maximum(square - mean * mean, 0)) for mean, square in zip(means, squares, strict=True)]
    return np.stack([means, spreads])


def _reduced(plane: Planes) -> Planes:
    height, width = (max(1, side // _PLACE_PX) for side in plane.shape)
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA))


def _equal(one: Planes | None, other: Planes | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
