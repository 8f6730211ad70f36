"""Matches brightness and white balance of a focus stack's frames to one of them; otherwise a frame would show as a
band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, quantised

Pixels = NDArray[np.float32]

#: A frame has the usual exposure if its mean luminance differs from the median by at most this factor.
_AS_MOST = 1.1

#: At least this fraction of the frames must have the usual exposure; otherwise it is a bracket.
_MOST = 2 / 3

#: In stacks of fewer than four frames, no frame may differ by more than this factor: two of three may be alike in a
#: bracket, too.
_SMALL_STEP = 1.25

#: Frames that differ by less than this fraction of the mean count as alike.
_ALIKE = 0.005

#: Range of tones that are compared. Others are clipped, or noise.
_DARKEST, _BRIGHTEST = 0.04, 0.94
_FEWEST = 64

#: Largest median deviation of the logarithms of tones from a line. If it is exceeded, frames differ in more than
#: exposure.
_STRAIGHT = 0.06


class Tones(NamedTuple):
    """Maps tones of a frame to those of another: factor times tone to a power, for each channel."""

    factor: NDArray[np.float32]
    power: NDArray[np.float32]

    def of(self, pixels: Pixels) -> Pixels:
        """Returns pixels [..., C] in the tones of the other frame, clipped to [0, 1]."""
        return np.minimum(self.factor * np.maximum(pixels, 0) ** self.power, 1).astype(np.float32)


def odd_ones(brightness: Sequence[float]) -> tuple[int, list[int]]:
    """Finds the frames of a stack whose exposure is unusual.

    Args:
        brightness: Mean luminance of each frame, in order.

    Returns:
        The frame to match, which has the usual brightness and is nearest to the middle; and the frames to be changed,
        none for a bracket.
    """
    count, median = len(brightness), float(np.median(brightness))
    steps = np.exp(np.abs(np.log(np.maximum(brightness, 1e-4) / max(median, 1e-4))))
    off = np.abs(np.asarray(brightness) - median) > _ALIKE * median
    middle = min(range(count), key=lambda index: (bool(off[index]), abs(index - (count - 1) / 2)))
    usual = int((steps <= _AS_MOST).sum())
    if count < 3 or usual < _MOST * count or (count < 4 and steps.max() > _SMALL_STEP):
        return middle, []
    return middle, [int(index) for index in np.flatnonzero(off)]


def tones_between(frame: Pixels, like: Pixels) -> Tones | None:
    """Fits the mapping from a frame's tones to those of another; None if they differ in more than exposure.

    Args:
        frame: A small picture [h, w, C] in [0, 1], of the same places as the other.
        like: The other picture.
    """
    factors, powers = [], []
    for channel in range(frame.shape[2]):
        here, there = frame[..., channel].ravel(), like[..., channel].ravel()
        inside = (np.minimum(here, there) > _DARKEST) & (np.maximum(here, there) < _BRIGHTEST)
        if inside.sum() < _FEWEST:
            return None
        x, y = np.log(here[inside].astype(float)), np.log(there[inside].astype(float))
        design = np.stack([np.ones_like(x), x], 1)
        weights = np.ones_like(x)
        for _ in range(8):  # robust fit: what is out of focus in one frame, or moves, is off the line
            normal = (design * weights[:, None]).T @ design + np.diag([1e-6, 1e-2 * len(x)])
            line = np.linalg.solve(normal, (design * weights[:, None]).T @ y + np.array([0, 1e-2 * len(x)]))
            off = np.abs(design @ line - y)
            weights = 1 / (1 + (off / max(1.5 * float(np.median(off)), 1e-3)) ** 2)
        if np.median(off) > _STRAIGHT or not 0.5 < line[1] < 2:
            return None
        factors.append(np.exp(line[0]))
        powers.append(line[1])
    return Tones(np.array(factors, np.float32), np.array(powers, np.float32))


def levelled(picture: Picture, tones: Tones) -> Picture:
    """Returns a picture in other tones, which are computed when it is read."""
    return replace(picture, samples=_Levelled(picture, tones))


class _Levelled(LazySamples):
    def __init__(self, picture: Picture, tones: Tones) -> None:
        height, width, channels = picture.samples.shape
        self.shape, self.dtype = (height, width, channels), np.dtype(picture.samples.dtype)
        self._picture, self._tones = picture, tones

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes the samples at some rows and columns."""
        region = slice(rows.start, rows.stop, rows.step), slice(columns.start, columns.stop, columns.step)
        pixels = self._tones.of(self._picture.region(*region))
        return quantised(self._picture.tone.shares(pixels), self.dtype, self._picture.levels)
