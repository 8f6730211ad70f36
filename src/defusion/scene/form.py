"""The form of a result: everything but its pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.imaging import Picture
from defusion.imaging.samples import Depth, full_scale, quantised
from defusion.imaging.tone import Levels, Tone, is_linear
from defusion.tiles.grid import Size

Pixels = NDArray[np.float32]


class Form(NamedTuple):
    """The form of a result: everything but its pixels."""

    size: Size
    channels: int
    depth: Depth
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None = None
    levels: Levels | None = None
    """Black and white level; None for the full range of its depth."""

    @property
    def tone(self) -> Tone:
        """How samples become pixels."""
        return Tone(self.levels or Levels(0, full_scale(np.dtype(self.depth))), is_linear(self.icc))

    def picture(self, bands: Iterable[Pixels]) -> Picture:
        """Makes a picture from bands [h, W, C] in [0, 1] that cover all rows."""
        samples = np.empty((*self.size, self.channels), self.depth)
        top = 0
        for band in bands:
            samples[top : top + len(band)] = quantised(band, self.depth, self.levels)
            top += len(band)
        return Picture(samples, self.icc, self.exif, levels=self.levels, xmp=self.xmp)
