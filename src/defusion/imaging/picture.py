"""A picture in memory: float32 RGB pixels and the facts of the file or array that they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from defusion.errors import ImageError
from defusion.imaging.colour import luminance

Depth = Literal["uint8", "uint16", "float32"]

_DEPTHS: dict[str, Depth] = {
    **{"bool": "uint8", "uint8": "uint8", "uint16": "uint16"},
    **{"float16": "float32", "float32": "float32", "float64": "float32"},
}


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels with what has to travel beside them.

    Raises:
        ImageError: The pixels are not a float32 array of shape HxWx3 with at least one pixel.
    """

    pixels: NDArray[np.float32]
    """HxWx3 RGB in [0, 1], contiguous, upright."""
    depth: Depth
    """Sample type of the file or array that the pixels came from."""
    grey: bool = False
    """One channel in the file: the three planes are equal."""
    icc: bytes | None = None
    """ICC profile, as it stood in the file."""
    exif: bytes | None = None
    """EXIF block: a TIFF structure without the ``Exif\\0\\0`` prefix, its orientation set to 1."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in, one short sentence each."""

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.float32 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ImageError(
                f"A picture's pixels came as {dtype} of shape {shape}, expected float32 of shape "
                "(height, width, 3); make pictures with from_array()."
            )


def from_array(array: NDArray[Any], name: str = "array") -> Picture:
    """Make a picture of an array.

    Args:
        array: HxW, HxWx1, HxWx3 RGB or HxWx4 RGBA; uint8, uint16, bool, or float16/32/64 in [0, 1].
            An alpha channel is dropped, with a note unless it is opaque.
        name: What errors and notes call the array.

    Returns:
        A picture whose depth follows from the array's dtype, never from its values.

    Raises:
        ImageError: Another shape or dtype, no pixels, or floats that are NaN, infinite or outside [0, 1].

    Example:
        >>> picture = from_array(np.full((2, 3), 255, np.uint8))
        >>> picture.pixels.shape, picture.depth, picture.grey
        ((2, 3, 3), 'uint8', True)
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
    if array.dtype.name not in _DEPTHS:
        raise ImageError(
            f"{name} holds {array.dtype} samples; expected uint8, uint16, bool, or float in [0, 1]: convert it first."
        )
    array, notes = without_alpha(array, 1 if array.shape[2] == 1 else 3, name)
    if array.dtype.kind == "f":
        _check_range(array, name)
    pixels = np.empty((*array.shape[:2], 3), np.float32)
    # A factor rather than a quotient: one pass, and v / full comes back exactly for every v of 8 or 16 bits.
    np.multiply(array, np.float32(1 / full_scale(array.dtype)), out=pixels)
    return Picture(pixels, _DEPTHS[array.dtype.name], grey=array.shape[2] == 1, notes=notes)


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
    if like.ndim not in (2, 3) or channels not in (1, 3, 4) or like.dtype.name not in _DEPTHS:
        raise ImageError(
            f"A picture cannot be given as {like.dtype} of shape {like.shape}; expected HxW, HxWx1, HxWx3 or "
            "HxWx4 of uint8, uint16, bool or float: pass such an array."
        )
    pixels = picture.pixels
    if channels == 1:
        pixels = pixels[..., :1] if picture.grey else luminance(pixels)
    samples = quantised(pixels, like.dtype)
    return samples[..., 0] if like.ndim == 2 else samples


def check_sources(pictures: Sequence[Picture], names: Sequence[str]) -> None:
    """Make sure that pictures can be fused: two or more of one size.

    Args:
        pictures: The sources, in order.
        names: What the error calls each of them.

    Raises:
        ImageError: Fewer than two sources, or one whose height or width differs from the first.
    """
    if len(pictures) < 2:
        raise ImageError(f"{len(pictures)} source came, fusion needs at least two pictures of one scene.")
    for picture, name in zip(pictures[1:], names[1:], strict=True):
        if picture.pixels.shape != pictures[0].pixels.shape:
            raise ImageError(
                f"{name} is {_size(picture)} pixels, {names[0]} is {_size(pictures[0])}; "
                "sources need the same width and height: crop or resize them first."
            )


def without_alpha(samples: NDArray[Any], colours: int, name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Keep the first `colours` channels of HxWxC samples; a note tells of others that are not opaque."""
    dropped = samples[..., colours:]
    opaque = not dropped.size or dropped.min() == full_scale(samples.dtype)
    what = "alpha channel" if dropped.shape[2] == 1 else "extra channels"
    return samples[..., :colours], () if opaque else (f"{name}: {what} dropped",)


def full_scale(dtype: np.dtype[Any]) -> int:
    """Sample value that stands for 1.0: the largest integer, or 1 for bool and float."""
    return np.iinfo(dtype).max if dtype.kind in "iu" else 1


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


def _check_range(array: NDArray[Any], name: str) -> None:
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


def _size(picture: Picture) -> str:
    height, width, _ = picture.pixels.shape
    return f"{width}x{height}"
