"""A picture in memory: samples as the file or array has them, and the facts that travel beside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from defusion.errors import ImageError
from defusion.imaging.colour import luminance

Depth = Literal["uint8", "uint16", "float32"]

#: Sample types from shallow to deep.
DEPTHS: tuple[Depth, ...] = ("uint8", "uint16", "float32")

_DEPTH_OF: dict[str, Depth] = {
    **{"bool": "uint8", "uint8": "uint8", "uint16": "uint16"},
    **{"float16": "float32", "float32": "float32", "float64": "float32"},
}

#: Pixels in a band: what is scaled or rounded at a time, 12 MiB of float32 RGB.
_BAND_PX = 2**20


class LazySamples(ABC):
    """Samples [H, W, C] that are made when a region is asked for; safe to use from several threads.

    A region is `samples[rows]` or `samples[rows, columns]`, of slices with steps above zero; `np.asarray(samples)`
    makes them all.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Makes the samples [len(rows), len(columns), C] at some rows and columns, all inside the picture."""

    def __getitem__(self, key: slice | tuple[slice, slice], /) -> NDArray[Any]:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        across, down = range(self.shape[1])[columns], range(self.shape[0])[rows]
        if across.step < 1 or down.step < 1:
            raise ValueError(f"a region {key} was asked for, expected slices with steps above zero")
        return self.made(down, across)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:, :].astype(self.dtype if dtype is None else dtype, copy=False)


Samples: TypeAlias = NDArray[Any] | LazySamples


@dataclass(frozen=True, eq=False)
class Picture:
    """Samples with what has to travel beside them.

    Raises:
        ImageError: The samples are not uint8, uint16 or float32 of shape HxWx1 or HxWx3 with at least one pixel.
    """

    samples: Samples
    """HxWxC, upright; one channel (grey) or three (RGB). Floats are in [0, 1]."""
    icc: bytes | None = None
    """ICC profile, as it stood in the file."""
    exif: bytes | None = None
    """EXIF block: a TIFF structure without the ``Exif\\0\\0`` prefix, its orientation set to 1."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in, one short sentence each."""
    alpha: Samples | None = None
    """HxWx1, of any sample type: how much each place is part of the picture; None where all places are."""

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
        """Makes a picture of float pixels.

        Args:
            pixels: HxWx1 or HxWx3 in [0, 1], clipped to that.
            depth: Sample type of the picture.
            grey: Keep the first channel alone.
            icc: ICC profile.
            exif: EXIF block.

        Raises:
            ImageError: The pixels hold NaN, or have another shape.
        """
        return cls(quantised(pixels[..., :1] if grey else pixels, depth), icc, exif)

    @property
    def depth(self) -> Depth:
        """Sample type of the file or array that the samples came from."""
        return _DEPTH_OF[self.samples.dtype.name]

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.samples.shape[0])

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.samples.shape[1])

    @property
    def grey(self) -> bool:
        """One channel."""
        return bool(self.samples.shape[2] == 1)

    @property
    def size_text(self) -> str:
        """Width and height for people: ``6000x4000``."""
        return f"{self.width}x{self.height}"

    def region(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Returns the pixels of a region: a new array [h, w, C] in [0, 1].

        Raises:
            ImageError: The samples are read from their file here, and are damaged, NaN or outside [0, 1].
        """
        return scaled(self.samples[rows, columns])

    def confidence(self, rows: slice, columns: slice) -> NDArray[np.float32] | None:
        """Returns how much the places of a region are part of the picture; None where all of the picture's are.

        Returns:
            [h, w] in [0, 1]: 0 where the picture has nothing, as outside a frame that was moved onto another.
        """
        return None if self.alpha is None else scaled(self.alpha[rows, columns])[..., 0]

    @property
    def pixels(self) -> NDArray[np.float32]:
        """All pixels as HxWx3 in [0, 1], grey repeated; made anew each time, so for small pictures.

        Raises:
            ImageError: As `region`.
        """
        pixels = np.empty((self.height, self.width, 3), np.float32)
        for rows in bands(self.height, self.width):
            pixels[rows] = self.region(rows, slice(None))
        return pixels


def from_array(array: NDArray[Any], name: str = "array") -> Picture:
    """Make a picture of an array.

    Args:
        array: HxW, HxWx1, HxWx3 RGB or HxWx4 RGBA; uint8, uint16, bool, or float16/32/64 in [0, 1].
            Places of alpha 0 count for nothing; an alpha that is the same everywhere is dropped, with a note
            unless it is opaque. Arrays of uint8, uint16 and float32 are not copied: leave them as they are while
            the picture is in use.
        name: What errors and notes call the array.

    Returns:
        A picture whose depth follows from the array's dtype, never from its values.

    Raises:
        ImageError: Another shape or dtype, no pixels, or floats that are NaN, infinite or outside [0, 1].

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
    if array.dtype.name not in _DEPTH_OF:
        raise ImageError(
            f"{name} holds {array.dtype} samples; expected uint8, uint16, bool, or float in [0, 1]: convert it first."
        )
    array, alpha, notes = split_alpha(array, 1 if array.shape[2] == 1 else 3, name)
    if array.dtype.kind == "f":
        check_range(array, name)
    if array.dtype.kind == "b":
        array = np.where(array, np.uint8(255), np.uint8(0))
    return Picture(array.astype(_DEPTH_OF[array.dtype.name], copy=False), notes=notes, alpha=alpha)


def to_array(picture: Picture, like: NDArray[Any]) -> NDArray[Any]:
    """Give a picture's pixels in the form of another array.

    Args:
        picture: The picture to convert.
        like: Array whose dtype, range and channel count the result takes: HxW, HxWx1 or HxWx3; an RGBA
            array gives HxWx3. Its size does not matter.

    Returns:
        A new array. Integers are rounded and clipped, floats are clipped to [0, 1]; a colour picture becomes
        grey by its BT.601 luminance.

    Raises:
        ImageError: `like` has a dtype or shape that `from_array` refuses, or the pixels hold NaN.

    Example:
        >>> grey = np.array([[0, 7], [100, 255]], np.uint8)
        >>> to_array(from_array(grey), like=grey).tolist()
        [[0, 7], [100, 255]]
    """
    channels = 1 if like.ndim == 2 else like.shape[-1]
    if like.ndim not in (2, 3) or channels not in (1, 3, 4) or like.dtype.name not in _DEPTH_OF:
        raise ImageError(
            f"A picture cannot be given as {like.dtype} of shape {like.shape}; expected HxW, HxWx1, HxWx3 or "
            "HxWx4 of uint8, uint16, bool or float: pass such an array."
        )
    dtype = like.dtype.newbyteorder("=")
    array = np.empty((picture.height, picture.width, min(channels, 3)), dtype)
    for rows in bands(picture.height, picture.width):
        samples = picture.samples[rows, :]
        if channels == 1 and not picture.grey:
            array[rows] = quantised(luminance(scaled(samples)), dtype)
        else:
            array[rows] = converted(samples, dtype)
    return array[..., 0] if like.ndim == 2 else array


def bands(height: int, width: int) -> Iterator[slice]:
    """Cuts a picture into bands of whole rows, from top to bottom, so that work on it fits into little memory."""
    step = max(1, _BAND_PX // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def split_alpha(
    samples: NDArray[Any], colours: int, name: str
) -> tuple[NDArray[Any], NDArray[Any] | None, tuple[str, ...]]:
    """Take samples [H, W, C] apart into their first `colours` channels and the alpha behind them.

    Returns:
        The colours; alpha [H, W, 1], None where it does not tell places apart; and a note, unless it is opaque.
    """
    colour, others = samples[..., :colours], samples[..., colours:]
    if not others.size:
        return colour, None, ()
    least, most = others.min(), others.max()
    if least == most == full_scale(samples.dtype):
        return colour, None, ()
    if others.shape[2] > 1:
        return colour, None, (f"{name}: extra channels dropped",)
    if not 0 <= least < most <= full_scale(samples.dtype):
        return colour, None, (f"{name}: alpha channel dropped, it tells no places apart",)
    return colour, others, (f"{name}: places of alpha 0 count for nothing",)


def full_scale(dtype: np.dtype[Any]) -> int:
    """Sample value that stands for 1.0: the largest integer, or 1 for bool and float."""
    return np.iinfo(dtype).max if dtype.kind in "iu" else 1


def scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Scales samples to float32, 1.0 for the full scale; a new array."""
    # A factor rather than a quotient: one pass, and v / full comes back exactly for every v of 8 or 16 bits.
    pixels: NDArray[np.float32] = np.multiply(samples, np.float32(1 / full_scale(samples.dtype)), dtype=np.float32)
    return pixels


def quantised(pixels: NDArray[np.float32], dtype: DTypeLike) -> NDArray[Any]:
    """Scale pixels from [0, 1] to the range of `dtype`: clipped, and rounded unless it is a float.

    Raises:
        ImageError: The pixels hold NaN.
    """
    dtype = np.dtype(dtype)
    if np.isnan(pixels.min()):
        raise ImageError(
            f"{np.count_nonzero(np.isnan(pixels))} values of the result are NaN, expected numbers in [0, 1]; "
            "fuse again in float32 precision."
        )
    samples = pixels * np.float32(full_scale(dtype))
    np.clip(samples, 0, full_scale(dtype), out=samples)
    if dtype.kind != "f":
        np.rint(samples, out=samples)
    return samples.astype(dtype, copy=False)


def converted(samples: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Brings samples to another sample type, by their range; the array itself where nothing is to be done.

    Raises:
        ImageError: The samples are floats and hold NaN.
    """
    if samples.dtype == dtype and samples.dtype.kind != "f":
        return samples
    return quantised(scaled(samples), dtype)


def check_range(array: NDArray[Any], name: str) -> None:
    """Refuse floats that no picture has; `min` and `max` carry NaN, so the good case needs no copy."""
    if array.min() >= 0 and array.max() <= 1:
        return
    broken = array.size - np.count_nonzero(np.isfinite(array))
    if broken:
        raise ImageError(f"{name} holds {broken} NaN or infinite values; expected floats in [0, 1]: repair it first.")
    outside = np.count_nonzero((array < 0) | (array > 1))
    raise ImageError(
        f"{name} holds {outside} values outside [0, 1], from {array.min():g} to {array.max():g}; "
        "expected floats in [0, 1]: scale it first."
    )
