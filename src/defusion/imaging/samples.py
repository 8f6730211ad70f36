"""Samples: their types and ranges, and how one becomes the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from defusion.errors import ImageError
from defusion.imaging.tone import Levels

Depth = Literal["uint8", "uint16", "float32"]

#: Sample types from shallow to deep.
DEPTHS: tuple[Depth, ...] = ("uint8", "uint16", "float32")

#: The depth of each type that an array may have.
DEPTH_OF: dict[str, Depth] = {
    **{"bool": "uint8", "uint8": "uint8", "uint16": "uint16"},
    **{"float16": "float32", "float32": "float32", "float64": "float32"},
}

#: White of 10, 12 and 14 bits.
_FEW_BITS = (2**10 - 1, 2**12 - 1, 2**14 - 1)

#: Pixels that are scaled or rounded at a time: 12 MiB of float32 RGB.
_BAND_PX = 2**20


class LazySamples(ABC):
    """Samples [H, W, C] that are computed when a region is read. Several threads may use them.

    A region is `samples[rows]` or `samples[rows, columns]`, with slices whose steps are above zero.
    `np.asarray(samples)` computes all of them.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes the samples [len(rows), len(columns), C] at some rows and columns, all inside the picture."""

    def __getitem__(self, key: slice | tuple[slice, slice], /) -> NDArray[Any]:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        across, down = range(self.shape[1])[columns], range(self.shape[0])[rows]
        if across.step < 1 or down.step < 1:
            raise ValueError(f"the region {key} was asked for; expected slices with steps above zero")
        return self.made(down, across)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:, :].astype(self.dtype if dtype is None else dtype, copy=False)


Samples: TypeAlias = NDArray[Any] | LazySamples


def bands(height: int, width: int, multiple: int = 1) -> Iterator[slice]:
    """Cuts a picture into bands of whole rows, from top to bottom, so that work on it needs little memory. The
    rows of all but the last are a multiple of `multiple`.
    """
    step = max(1, _BAND_PX // width // multiple) * multiple
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def split_alpha(
    samples: NDArray[Any], colours: int, name: str, bits: int | None = None
) -> tuple[NDArray[Any], NDArray[Any] | None, tuple[str, ...]]:
    """Splits samples [H, W, C] into their first `colours` channels and the alpha after them.

    Args:
        samples: The samples.
        colours: Number of channels that are not alpha.
        name: Name of the samples in notes.
        bits: Bits of a sample that are used; None recognises 10, 12 and 14 in 16 by the largest alpha.

    Returns:
        The colours; alpha [H, W, 1] in the full range of its type, None if it is the same everywhere; and a note,
        unless it is opaque.
    """
    colour, others = samples[..., :colours], samples[..., colours:]
    if not others.size:
        return colour, None, ()
    least, most, full = others.min(), others.max(), full_scale(samples.dtype)
    if samples.dtype == np.uint16:
        full = 2**bits - 1 if bits else int(most) if most in _FEW_BITS else full
    if least == most == full:
        return colour, None, ()
    if others.shape[2] > 1:
        return colour, None, (f"{name}: extra channels dropped",)
    if not 0 <= least < most <= full:
        return colour, None, (f"{name}: alpha channel dropped",)
    if full != full_scale(samples.dtype):
        others = others * np.float32(1 / full)
    return colour, others, (f"{name}: places of alpha 0 count for nothing",)


def as_floats(samples: NDArray[Any], name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Returns whole numbers that have a sign, or 32 bits and more, as float32 of the same values, and a note on that.

    Other samples, and whole numbers that float32 cannot hold, are returned as they are.
    """
    fit = samples.dtype.kind in "iu" and samples.dtype.name not in DEPTH_OF
    if not fit or np.abs(samples, dtype=np.float64).max() >= 2**24:
        return samples, ()
    return samples.astype(np.float32), (f"{name}: {samples.dtype} samples read as floats",)


def full_scale(dtype: np.dtype[Any]) -> int:
    """Returns the sample value for 1.0: the largest integer, or 1 for bool and float."""
    return np.iinfo(dtype).max if dtype.kind in "iu" else 1


def scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Scales samples to float32, 1.0 for the full scale; returns a new array."""
    # Multiplying instead of dividing takes one pass, and v / full is exact for every v of 8 or 16 bits.
    pixels: NDArray[np.float32] = np.multiply(samples, np.float32(1 / full_scale(samples.dtype)), dtype=np.float32)
    return pixels


def quantised(part: NDArray[np.float32], dtype: DTypeLike, levels: Levels | None = None) -> NDArray[Any]:
    """Converts values in [0, 1], from black to the brightest value, to samples of `dtype`; clipped, and rounded for
    integers.

    Args:
        part: Where the samples are to be between black and the brightest value.
        dtype: Sample type.
        levels: These two values; None for the range of `dtype`.

    Raises:
        ImageError: The values hold NaN.
    """
    dtype = np.dtype(dtype)
    low, high, _ = levels or Levels(0, full_scale(dtype))
    check_numbers(part)
    samples = np.clip(part, 0, 1)
    if (low, high) != (0, 1):
        samples *= np.float32(high - low)
        samples += np.float32(low)
    if dtype.kind != "f":
        np.rint(samples, out=samples)
    return samples.astype(dtype, copy=False)


def check_numbers(floats: NDArray[Any]) -> None:
    """Raises if a result has NaN."""
    if np.isnan(floats.min()):
        raise ImageError(
            f"{np.count_nonzero(np.isnan(floats))} values of the result are NaN, expected numbers; fuse again in "
            "float32 precision."
        )


def shares(samples: NDArray[Any], levels: Levels | None = None) -> NDArray[np.float32]:
    """Returns where samples lie between black and white, 0 to 1 if they are inside; a new array."""
    if levels is None:
        return scaled(samples)
    low, high, white = levels
    return (samples.astype(np.float32) - np.float32(low)) * np.float32(1 / ((white or high) - low))


def converted(samples: NDArray[Any], dtype: DTypeLike, levels: Levels | None = None) -> NDArray[Any]:
    """Converts samples to another sample type. For equal depth the values stay; otherwise the ranges are mapped.

    Args:
        samples: Samples to convert.
        dtype: Sample type of the result.
        levels: Black and white level of the samples; None for the range of their type.

    Returns:
        The array itself if there is nothing to do. Where ranges change, values are clipped, and integers rounded.

    Raises:
        ImageError: The samples are floats and hold NaN.
    """
    dtype = np.dtype(dtype)
    if DEPTH_OF[samples.dtype.name] != DEPTH_OF[dtype.name] or dtype.kind == "b":
        return quantised(shares(samples, levels), dtype)
    if samples.dtype.kind == "f":
        check_numbers(samples)
    return samples.astype(dtype, copy=False)
