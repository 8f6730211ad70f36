"""Moving things in a focus stack, such as an insect, are shown by one frame. Otherwise each sharp frame would add its
own.

Defocus spreads light but hardly moves it: means over a part of a picture change little from frame to frame. A thing
that appears or disappears changes them abruptly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, Samples, scaled

Pixels = NDArray[np.float32]
Mask = NDArray[np.uint8]

#: With fewer frames, neighbours differ too much in focus.
FEWEST_FRAMES = 4

#: Size of the area for means, as a fraction of the longest side. A thing of 3 % changes them by half of its contrast.
_MEAN_PART = 0.0125

#: How much a mean has to change at once, in [0, 1], and by what factor this has to exceed nearly all other places. In
#: stacks without motion, of 6 to 15 frames, .085 was the maximum.
_JUMP = 0.11
_UNUSUAL = 2.5

#: If more of the picture than this changes, it is not a moving thing.
_EVERYWHERE_PART = 0.1


def owned(frames: Sequence[Pixels], there: Sequence[NDArray[np.bool_] | None]) -> list[Mask | None]:
    """Finds what moves in small pictures of a focus stack, and which frame shows each thing.

    Args:
        frames: [h, w, C] in [0, 1], in order of focus.
        there: Which places [h, w] a frame has; None for all.

    Returns:
        A mask for each frame, [h, w], 255 where another frame is shown; None if there is no such place.
    """
    import cv2

    none: list[Mask | None] = [None] * len(frames)
    if len(frames) < FEWEST_FRAMES:
        return none
    everywhere = np.ones(frames[0].shape[:2], np.bool_)
    has = np.logical_and.reduce([everywhere if each is None else each for each in there])
    if not has.any():
        return none
    spread = _MEAN_PART * max(has.shape)
    usual = float(np.mean([frame[has].mean() for frame in frames]))
    means = [_blurred(frame * np.float32(usual / max(float(frame[has].mean()), 1e-3)), spread) for frame in frames]
    jumps = [np.abs(a - b).max(2) * has for a, b in pairwise(means)]
    most = np.maximum.reduce(jumps)
    least = max(_JUMP, _UNUSUAL * float(np.percentile(most, 95)))
    count, labels, _, _ = cv2.connectedComponentsWithStats((most > least / 3).astype(np.uint8), connectivity=8)
    strong = np.unique(np.asarray(labels)[most > least])
    things = np.isin(labels, strong[strong > 0])
    if not things.any() or things.mean() > _EVERYWHERE_PART:
        return none
    side = 2 * int(np.ceil(spread)) + 1
    grown = np.asarray(
        cv2.dilate(things.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    )
    count, labels = cv2.connectedComponents(grown, connectivity=8)
    energy = np.stack([_detail(frame) for frame in frames])
    masks = np.zeros((len(frames), *has.shape), np.uint8)
    for label in range(1, count):
        place = np.asarray(labels) == label
        owner = int(energy[:, place].sum(1).argmax())
        masks[:, place] = 255
        masks[owner, place] = 0
    return [mask if mask.any() else None for mask in masks]


def without(picture: Picture, mask: Mask) -> Picture:
    """Returns a picture without the places that another frame shows.

    Args:
        picture: The frame.
        mask: [h, w] of a small picture of it, 255 at these places.
    """
    return replace(picture, alpha=_Rest(picture, mask))


class _Rest(LazySamples):
    """Alpha of a frame without the places that another frame shows."""

    def __init__(self, picture: Picture, mask: Mask) -> None:
        self.shape, self.dtype = (picture.height, picture.width, 1), np.dtype(np.uint8)
        self._own: Samples | None = picture.alpha
        self._mask = mask

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes alpha at some rows and columns."""
        y, x = (
            np.minimum((np.asarray(each) * small) // large, small - 1)
            for each, small, large in zip((rows, columns), self._mask.shape, self.shape[:2], strict=True)
        )
        alpha = 255 - self._mask[np.ix_(y, x)][..., None]
        if self._own is not None:
            region = slice(rows.start, rows.stop, rows.step), slice(columns.start, columns.stop, columns.step)
            alpha = np.minimum(alpha, np.rint(255 * scaled(np.asarray(self._own[region]))).astype(np.uint8))
        return np.asarray(alpha)


def _detail(frame: Pixels) -> Pixels:
    light = frame.mean(2)
    return np.asarray(np.square(light - _blurred(light, 1.5)), np.float32)


def _blurred(plane: Pixels, sigma: float) -> Pixels:
    import cv2

    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32).reshape(plane.shape)
