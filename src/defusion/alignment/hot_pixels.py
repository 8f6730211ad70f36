"""Hot pixels of a sensor. They stay in place in every frame while the scene moves.

In aligned frames they move, and each frame would add one of them to the result, since they are always sharp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import corner_distance
from defusion.alignment.record import Alignment
from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, Samples

Spots = NDArray[np.int64]

#: With fewer frames, a hot pixel cannot be told from a bright point of the scene.
FEWEST_FOR_SPOTS = 5

#: Three conditions of a spot: it is brighter than its surroundings by this fraction of the range; it has fewer pixels
#: than this; and all spots together are at most this fraction of the picture.
_BRIGHTER = 0.06
_SMALLER_PX = 5
_DENSEST = 4e-3

#: At least this many frames have to differ from the reference by this much.
_MOVED_FRAMES = 2
_MOVED_PX = 4.0

#: How far around a spot its replacement is taken from, in pixels.
_AROUND_PX = 4


def spots_in(samples: NDArray[Any], first_row: int, full: float) -> Spots:
    """Finds small bright spots.

    Args:
        samples: Rows of a frame, [h, W, C].
        first_row: Number of the first of these rows.
        full: Range of the samples.

    Returns:
        Places as row * W + column.
    """
    import cv2

    square = np.ones((_SMALLER_PX, _SMALLER_PX), np.uint8)
    samples = np.ascontiguousarray(samples)
    smooth = np.asarray(cv2.morphologyEx(samples, cv2.MORPH_OPEN, square)).reshape(samples.shape)
    above = reduce(np.maximum, cv2.split(samples - smooth))  # never below zero
    found = np.flatnonzero(above > _BRIGHTER * full)
    most = int(_DENSEST * above.size)
    if len(found) > most:
        values = above.ravel()[found]
        found = found[np.argpartition(values, -most)[-most:]] if most else found[:0]
    return np.asarray(np.sort(found) + first_row * samples.shape[1], np.int64)


def hot_pixels(spots: Sequence[Spots], alignment: Alignment) -> Spots:
    """Returns the spots that are at one place of the sensor in all frames although the scene moves; usually none.

    Args:
        spots: Spots of each frame.
        alignment: Alignment of the frames.
    """
    shapes = {each.shape for each in alignment.frames}
    if len(spots) < FEWEST_FOR_SPOTS or len(shapes) > 1:
        return np.zeros(0, np.int64)
    of_reference = next(each.matrix for each in alignment.frames if each.file == alignment.reference)
    moved = [corner_distance(each.matrix, of_reference, alignment.shape) for each in alignment.frames if each.aligned]
    if sum(each > _MOVED_PX for each in moved) < _MOVED_FRAMES:
        return np.zeros(0, np.int64)
    common = spots[0]
    for each in spots[1:]:
        common = np.intersect1d(common, each, assume_unique=True)
    return common


def without_hot_pixels(picture: Picture, hot: Spots) -> Picture:
    """Returns a picture in which each hot pixel is replaced by its surroundings."""
    samples: Samples = _Mended(picture.samples, hot)
    return replace(picture, samples=np.asarray(samples) if isinstance(picture.samples, np.ndarray) else samples)


class _Mended(LazySamples):
    """Samples in which hot pixels, and their eight neighbours, are replaced by the median of their surroundings."""

    def __init__(self, samples: Samples, hot: Spots) -> None:
        self.shape, self.dtype = samples.shape, np.dtype(samples.dtype)
        height, width, _ = self.shape
        rows, columns = np.divmod(hot, width)
        by = np.arange(-1, 2)
        rows = (rows[:, None, None] + by[:, None]).clip(0, height - 1) + np.zeros(3, np.int64)
        columns = (columns[:, None, None] + by).clip(0, width - 1) + np.zeros((3, 1), np.int64)
        at = np.unique(rows.ravel() * width + columns.ravel())
        self._samples, self._rows, self._columns = samples, at // width, at % width

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes the samples at some rows and columns."""
        height, width, _ = self.shape
        top, bottom = max(rows.start - _AROUND_PX, 0), min(rows.stop + _AROUND_PX, height)
        left, right = max(columns.start - _AROUND_PX, 0), min(columns.stop + _AROUND_PX, width)
        inside = slice(*np.searchsorted(self._rows, [top, bottom]))
        y, x = self._rows[inside] - top, self._columns[inside] - left
        there = (x >= 0) & (x < right - left)
        y, x = y[there], x[there]
        region = np.array(self._samples[top:bottom, left:right])
        if len(y):
            hot = np.zeros(region.shape[:2], np.bool_)
            hot[y, x] = True
            by = np.arange(-_AROUND_PX, _AROUND_PX + 1)
            near_y = (y[:, None, None] + by[:, None]).clip(0, len(region) - 1)
            near_x = (x[:, None, None] + by).clip(0, region.shape[1] - 1)
            around = region[near_y, near_x].astype(np.float64).reshape(len(y), -1, region.shape[2])
            around[hot[near_y, near_x].reshape(len(y), -1)] = np.nan
            region[y, x] = np.nan_to_num(np.nanmedian(around, 1)).astype(region.dtype)
        down, across = (
            slice(each.start - start, each.stop - start, each.step) for each, start in ((rows, top), (columns, left))
        )
        return region[down, across]
