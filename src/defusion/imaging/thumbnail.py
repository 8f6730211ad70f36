"""Small copies of pictures that come band by band."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture
from defusion.imaging.samples import converted


class Thumbnail:
    """Every nth pixel of a picture, collected while its bands pass by.

    Args:
        height: Rows of the picture.
        width: Pixels in a row.
        longest: Longest side of the copy.
    """

    def __init__(self, height: int, width: int, longest: int) -> None:
        self._step = max(-(-max(height, width) // longest), 1)
        self._rows = 0
        self._parts: list[NDArray[np.uint8]] = []

    def add(self, rows: NDArray[Any]) -> None:
        """Takes the next rows [h, W, C], in [0, 1] or samples."""
        first = -self._rows % self._step
        self._parts.append(converted(rows[first :: self._step, :: self._step], "uint8"))
        self._rows += len(rows)

    @property
    def samples(self) -> NDArray[np.uint8]:
        """What was collected, [h, w, C]."""
        return np.concatenate(self._parts)


def thumbnail_of(picture: Picture, longest: int) -> NDArray[np.uint8]:
    """Returns every nth pixel of a picture."""
    step = max(-(-max(picture.height, picture.width) // longest), 1)
    samples = np.asarray(picture.samples[::step, ::step])
    small: NDArray[np.uint8] = converted(np.nan_to_num(samples), "uint8", picture.levels)
    return small
