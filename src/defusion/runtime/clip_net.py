"""The network for the frames of one clip. A close look takes half of a frame's time, so most frames reuse an earlier
look.

A look serves until the frame changes at a place where the look matters, and for at most `EVERY` frames, so that new
noise and new broken pixels are found soon.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.model.ops import Learned
from defusion.model.pyramid import Closely, PyramidNet
from defusion.runtime.array_ops import ArrayOps
from defusion.runtime.engine import MASK_COUNTS, Decided, Planes

#: A look serves for at most this many frames.
EVERY = 8

#: Frames are compared place by place. A place is a square of this many pixels a side.
_PLACE_PX = 16

#: A place has changed if its mean luminance differs by more than the first, or its standard deviation by more than
#: the second.
_LIGHT, _SPREAD = 4 / 255, 2 / 255

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
        """Looks closely, or returns the last look if that still serves."""
        places = _places(sources)
        self._age += 1
        if self._found is None or self._is_due(places, confidence):
            found = super().look_closely(sources, confidence)
            self._found = found if self._mask_counts else found._replace(mask=None)
            self._confidence, self._places, self._matter, self._age = confidence, places, None, 0
        return self._found

    def decided(self, decided: Decided) -> None:
        """Learns from the decision on a frame whether the mask counts and where a close look matters."""
        if self._matter is None and self._places is not None and decided.by_mask is not None:
            self._mask_counts = bool((decided.by_mask > MASK_COUNTS).any())
            matter = _reduced(decided.worth_a_look[0, 0].astype(np.float32))
            self._matter = cv2.dilate(matter, np.ones((3, 3), np.uint8)) > 0

    def _is_due(self, places: Planes, confidence: Planes | None) -> bool:
        if self._places is None or self._matter is None or self._places.shape != places.shape:
            return True
        if not _equal(confidence, self._confidence):
            return True
        light, spread = np.abs(places - self._places).max(1)
        if (light > _CUT_LIGHT).mean() > _CUT_PART:
            return True
        otherwise = (light > _LIGHT) | (spread > _SPREAD)
        return self._age >= EVERY or bool((otherwise & self._matter).any())


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
