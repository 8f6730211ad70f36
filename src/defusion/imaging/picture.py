"""A picture in memory: samples as the file or array has them, with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import exif
from defusion.imaging.colour import luminance
from defusion.imaging.samples import (
    DEPTH_OF,
    DEPTHS,
    Depth,
    Samples,
    as_floats,
    bands,
    converted,
    full_scale,
    quantised,
    scaled,
    shares,
    split_alpha,
)
from defusion.imaging.tone import Levels, Tone, check_finite, check_range, is_linear


@dataclass(frozen=True)
class Measured:
    """What the samples of a picture measure."""

    unit: str
    """Unit, such as "celsius"."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Settings of the measurement, such as the emissivity."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Samples, with what belongs to them.

    Raises:
        ImageError: The samples are not uint8, uint16 or float32 of shape HxWx1 or HxWx3 with at least one pixel.
    """

    samples: Samples
    """HxWxC, upright; one channel (grey) or three (RGB)."""
    icc: bytes | None = None
    """ICC profile, as in the file."""
    exif: bytes | None = None
    """EXIF block: a TIFF structure without the ``Exif\\0\\0`` prefix, its orientation set to 1."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in, one short sentence each."""
    alpha: Samples | None = None
    """HxWx1, of any sample type: how far each place is part of the picture; None if all places are."""
    levels: Levels | None = None
    """Black and white level; None for 0 and the largest integer, or 1 for floats."""
    xmp: bytes | None = None
    """XMP packet, as in the file except for its orientation."""
    turned: int = 1
    """The EXIF orientation from which the samples were turned upright."""
    measured: Measured | None = None
    """What the samples measure, if the file says so."""

    def as_stored(self) -> Picture:
        """Returns the picture as it is stored in its file, not turned upright."""
        if self.turned == 1:
            return self
        back = {6: 8, 8: 6}.get(self.turned, self.turned)
        samples, alpha = (
            None if each is None else exif.set_upright(np.asarray(each), back) for each in (self.samples, self.alpha)
        )
        assert samples is not None
        return replace(self, samples=samples, alpha=alpha, turned=1)

    def __post_init__(self) -> None:
        shape, dtype = self.samples.shape, self.samples.dtype
        if dtype not in DEPTHS or len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise ImageError(
                f"A picture's samples came as {dtype} of shape {shape}, expected {', '.join(DEPTHS)} of shape "
                "(height, width, 1 or 3); make pictures with from_array()."
            )

    @classmethod
    def of_pixels(
        cls,
        pixels: NDArray[np.float32],
        depth: Depth,
        grey: bool = False,
        icc: bytes | None = None,
        exif: bytes | None = None,
    ) -> Picture:
        """Makes a picture from float pixels.

        Args:
            pixels: HxWx1 or HxWx3, clipped to [0, 1].
            depth: Sample type of the picture.
            grey: Keep only the first channel.
            icc: ICC profile.
            exif: EXIF block.

        Raises:
            ImageError: The pixels hold NaN, or have another shape.
        """
        return cls(quantised(np.clip(pixels[..., :1] if grey else pixels, 0, 1), depth), icc, exif)

    @property
    def depth(self) -> Depth:
        """Sample type of the file or array that the samples came from."""
        return DEPTH_OF[self.samples.dtype.name]

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.samples.shape[0])

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.samples.shape[1])

    @property
    def grey(self) -> bool:
        """Whether it has one channel."""
        return bool(self.samples.shape[2] == 1)

    @property
    def size_text(self) -> str:
        """Width and height for people: ``6000x4000``."""
        return f"{self.width}x{self.height}"

    def region(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Returns the pixels of a region: a new array [h, w, C] in [0, 1], in which equal steps look equal.

        Raises:
            ImageError: Floats leave [0, 1] and no levels say what they mean; or the samples are read from their file
                now, and are damaged or NaN.
        """
        samples = self.samples[rows, columns]
        if self.levels is None and samples.dtype.kind == "f" and samples.size:
            check_range(samples)
        return self.tone.pixels(samples)

    @property
    def tone(self) -> Tone:
        """How samples become pixels: by the levels, and by a curve if the profile says that the samples are linear
        light.
        """
        return Tone(self.levels or Levels(0, full_scale(self.samples.dtype)), is_linear(self.icc))

    def confidence(self, rows: slice, columns: slice) -> NDArray[np.float32] | None:
        """Returns how far the places of a region are part of the picture; None if all of the picture's are.

        Returns:
            [h, w] in [0, 1]: 0 where the picture has nothing, such as outside a frame that was moved.
        """
        return None if self.alpha is None else scaled(self.alpha[rows, columns])[..., 0]

    def counted(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Returns the samples [n, C] of the places of a region that are part of the picture."""
        samples = np.asarray(self.samples[rows, columns]).reshape(-1, self.samples.shape[2])
        return samples if self.alpha is None else samples[np.asarray(self.alpha[rows, columns]).ravel() > 0]

    @property
    def pixels(self) -> NDArray[np.float32]:
        """All pixels as HxWx3 in [0, 1], with grey repeated. They are computed on each use, so this is for small
        pictures.

        Raises:
            ImageError: As for `region`.
        """
        pixels = np.empty((self.height, self.width, 3), np.float32)
        for rows in bands(self.height, self.width):
            pixels[rows] = self.region(rows, slice(None))
        return pixels


def from_array(array: NDArray[Any], name: str = "array") -> Picture:
    """Makes a picture from an array.

    Args:
        array: HxW, HxWx1, HxWx3 RGB or HxWx4 RGBA; uint8, uint16, bool, or float16/32/64. Other whole numbers below
            2^24, such as a CT's int16, become floats of the same values, with a note. Places with alpha 0 do not
            count. An alpha that is the same everywhere is dropped, with a note unless it is opaque. Arrays of uint8,
            uint16 and float32 are not copied: do not change them while the picture is in use.
        name: Name of the array in errors and notes.

    Returns:
        A picture whose depth follows from the array's dtype, never from its values.

    Raises:
        ImageError: The shape or dtype is another, there are no pixels, or floats are NaN or infinite.

    Example:
        >>> picture = from_array(np.full((2, 3), 255, np.uint8))
        >>> picture.samples.shape, picture.depth, picture.grey
        ((2, 3, 1), 'uint8', True)
    """
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            f"{name} has shape {array.shape}; expected (height, width), or (height, width, channels) with "
            "1, 3 or 4 channels: reshape it first."
        )
    if 0 in array.shape:
        raise ImageError(f"{name} has shape {array.shape} and so no pixels; give a picture of at least 1x1.")
    array, floats = as_floats(array, name)
    if array.dtype.name not in DEPTH_OF:
        raise ImageError(
            f"{name} holds {array.dtype} samples; expected uint8, uint16, bool, float, or whole numbers below 2^24: "
            "convert it first."
        )
    array, alpha, notes = split_alpha(array, 1 if array.shape[2] == 1 else 3, name)
    notes = floats + notes
    if array.dtype.kind == "f":
        check_finite(array, name)
    if array.dtype.kind == "b":
        array = np.where(array, np.uint8(255), np.uint8(0))
    return Picture(array.astype(DEPTH_OF[array.dtype.name], copy=False), notes=notes, alpha=alpha)


def to_array(picture: Picture, like: NDArray[Any]) -> NDArray[Any]:
    """Converts a picture to an array with the form of another array.

    Args:
        picture: The picture to convert.
        like: Array whose dtype, range and number of channels the result gets: HxW, HxWx1 or HxWx3; for an RGBA array
            it is HxWx3. Its size does not matter.

    Returns:
        A new array. If it has the picture's own depth, it has the picture's values. Otherwise the picture's black and
        white become those of the array, rounded and clipped. If it is grey, colours become their BT.601 luminance.

    Raises:
        ImageError: `like` has a dtype or shape that `from_array` does not accept, or the pixels hold NaN.

    Example:
        >>> grey = np.array([[0, 7], [100, 255]], np.uint8)
        >>> to_array(from_array(grey), like=grey).tolist()
        [[0, 7], [100, 255]]
    """
    channels = 1 if like.ndim == 2 else like.shape[-1]
    if like.ndim not in (2, 3) or channels not in (1, 3, 4) or like.dtype.name not in DEPTH_OF:
        raise ImageError(
            f"A picture cannot be given as {like.dtype} of shape {like.shape}; expected HxW, HxWx1, HxWx3 or "
            "HxWx4 of uint8, uint16, bool or float: pass such an array."
        )
    dtype = like.dtype.newbyteorder("=")
    array = np.empty((picture.height, picture.width, min(channels, 3)), dtype)
    for rows in bands(picture.height, picture.width):
        samples = picture.samples[rows, :]
        if channels == 1 and not picture.grey:
            of_light = luminance(samples.astype(np.float32, copy=False))
            same = picture.depth == DEPTH_OF[dtype.name]
            own = picture.levels or Levels(0, full_scale(samples.dtype))
            array[rows] = quantised(shares(of_light, own), dtype, own if same else None)
        else:
            array[rows] = converted(samples, dtype, picture.levels)
    return array[..., 0] if like.ndim == 2 else array
