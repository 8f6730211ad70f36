"""What alignment sees of a frame: a small copy of its luminance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Shape, enlarged
from defusion.alignment.hot_pixels import FEWEST_FOR_SPOTS, Spots, spots_in
from defusion.alignment.representation import LuminancePyramid
from defusion.imaging import Picture, luminance
from defusion.imaging.samples import bands

#: Most pixels on which frames are aligned; fewer for the frames of larger stacks.
_MOST_PX = 2e6
_MOST_PX_OF_STACK = 1.2e6
_LARGE_STACK = 8


class Look(NamedTuple):
    """What alignment needs of a frame. It is small."""

    shape: Shape
    """Size of the frame."""
    shrink: int
    """This many pixels of the frame, across and down, became one pixel here."""
    luminance: NDArray[np.uint16]
    brightness: float
    """Its mean, in [0, 1]."""
    spots: Spots
    """Small bright spots, which include hot pixels; empty for few frames."""

    @classmethod
    def of(cls, picture: Picture, count: int) -> Look:
        """Looks at a frame, some rows at a time.

        Args:
            picture: The frame.
            count: Number of frames.
        """
        most = _MOST_PX if count < _LARGE_STACK else _MOST_PX_OF_STACK
        shrink = shrink_to(picture, most)
        spots = [np.zeros(0, np.int64)]
        low, high, _ = picture.tone.levels

        def look(first_row: int, samples: NDArray[Any]) -> None:
            spots.append(spots_in(samples, first_row, abs(high - low)))

        pixels = shrunk(picture, shrink, told_black=True, look=look if count >= FEWEST_FOR_SPOTS else None)
        small = np.rint(np.clip(pixels[..., 0] if picture.grey else luminance(pixels)[..., 0], 0, 1) * 65535)
        small = small.astype(np.uint16)
        brightness = float(small.mean()) / 65535
        return cls(Shape(picture.height, picture.width), shrink, small, brightness, np.concatenate(spots))

    @property
    def levels(self) -> LuminancePyramid:
        """The luminance at its own and smaller sizes."""
        return LuminancePyramid(self.luminance * np.float32(1 / 65535))

    def to_frame(self) -> Matrix:
        """Maps pixels of the small picture to pixels of the frame."""
        return enlarged(self.shrink, self.shrink)


def shrink_to(picture: Picture, most_px: float) -> int:
    """Returns the factor by which a picture has to be reduced so that it has at most about this many pixels."""
    shrink = max(1, int(np.ceil(np.sqrt(picture.height * picture.width / most_px))))
    return min(shrink, picture.height, picture.width)


def shrunk(
    picture: Picture,
    shrink: int,
    told_black: bool = False,
    look: Callable[[int, NDArray[Any]], None] | None = None,
) -> NDArray[np.float32]:
    """Reduces a picture, some rows at a time.

    Args:
        picture: The large picture.
        shrink: Reduction factor; rows and columns left over at the bottom and right are cut.
        told_black: Paint black what is not part of the picture by its confidence.
        look: Called with a row number and the samples from there on, so that these are read only once.

    Returns:
        [h, w, C] in [0, 1].
    """
    import cv2

    height, width = picture.height // shrink, picture.width // shrink
    small = np.empty((height, width, picture.samples.shape[2]), np.float32)
    for rows in bands(height, width * shrink * shrink):
        part = slice(rows.start * shrink, rows.stop * shrink), slice(0, width * shrink)
        samples = np.ascontiguousarray(picture.samples[part])
        if look is not None:
            look(part[0].start, samples)
        samples = cv2.resize(samples, (width, rows.stop - rows.start), interpolation=cv2.INTER_AREA)
        samples = samples.reshape(rows.stop - rows.start, width, -1)
        pixels = replace(picture, samples=samples, alpha=None).region(slice(None), slice(None))
        confidence = picture.confidence(*part) if told_black else None
        small[rows] = pixels if confidence is None else pixels * (confidence[::shrink, ::shrink, None] > 0.5)
    return small


def places_shown(picture: Picture, shrink: int) -> NDArray[np.bool_] | None:
    """Returns which places [h, w] of a reduced picture are part of the picture by its confidence; None if all are."""
    if picture.alpha is None:
        return None
    height, width = picture.height // shrink, picture.width // shrink
    there = np.empty((height, width), np.bool_)
    for rows in bands(height, width * shrink * shrink):
        part = slice(rows.start * shrink, rows.stop * shrink), slice(0, width * shrink)
        confidence = picture.confidence(*part)
        assert confidence is not None
        there[rows] = confidence.reshape(-1, shrink, width, shrink).min((1, 3)) > 0.5
    return there
