"""What sample values mean: which are black and white, and how the eye sees those between.

Pixels are made for the eye: 0 is black, 1 the brightest of the scene, and equal steps look equal. Samples are what a
file has: 12 bits in 16, counts, degrees, or light, which the eye sees by its logarithm. A `Tone` converts from one to
the other and back, so that a result has values of the same kind as its file.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError

#: Floats that leave [0, 1] by no more than this were rounded.
ROUNDING = 1e-3

#: sRGB's curve: the light at which the line becomes a power, the line's slope, and the slope at white.
_LINE_END, _LINE_SLOPE = 0.0031308, 12.92
_SLOPE_AT_WHITE = 1.055 / 2.4

#: A curve with an exponent below this means linear light. Profiles of cameras and screens have 1.8 to 2.6.
_LINEAR_EXPONENT = 1.4


class Levels(NamedTuple):
    """The black and white sample values. The first may be larger, as in pictures that show heat dark."""

    low: float
    high: float
    white: float | None = None
    """For scene light: the value of a white sheet, which is below that of lamps and the sun; None if
    `high` is white.
    """


class Tone(NamedTuple):
    """How samples become pixels."""

    levels: Levels
    linear: bool
    """The samples are proportional to light."""

    def pixels(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Converts samples to pixels in [0, 1]; returns a new array."""
        low, high, _ = self.levels
        # Multiplying instead of dividing takes one pass, and v / full is exact for every v of 8 or 16 bits.
        pixels: NDArray[np.float32]
        if low == 0:
            pixels = np.multiply(samples, np.float32(1 / high), dtype=np.float32)
        else:
            pixels = np.subtract(samples, np.float32(low), dtype=np.float32)
            pixels *= np.float32(1 / (high - low))
        if samples.dtype.kind != "u" or (low, high) != (0, np.iinfo(samples.dtype).max):
            np.clip(pixels, 0, 1, out=pixels)
        return perceptual(pixels * self._brightest) / self._top if self.linear else pixels

    def shares(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns where the samples of pixels lie between black and the brightest value, in [0, 1]."""
        return light(pixels * self._top) / self._brightest if self.linear else pixels

    @property
    def _brightest(self) -> np.float32:
        """The light of the brightest value, relative to white."""
        low, high, white = self.levels
        return np.float32(1 if white is None else (high - low) / (white - low))

    @property
    def _top(self) -> np.float32:
        return np.float32(perceptual(np.full(1, self._brightest, np.float32))[0])


def perceptual(of_light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Converts light, 1 for white, to steps that look equal: sRGB's curve, and above white a logarithm as in HLG."""
    line = of_light * np.float32(_LINE_SLOPE)
    power = np.float32(1.055) * np.maximum(of_light, 0) ** np.float32(1 / 2.4) - np.float32(0.055)
    above = 1 + np.float32(_SLOPE_AT_WHITE) * np.log(np.maximum(of_light, 1))
    brought: NDArray[np.float32] = np.where(of_light <= _LINE_END, line, np.where(of_light <= 1, power, above))
    return brought


def light(of_perceptual: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reverses `perceptual`."""
    line = of_perceptual * np.float32(1 / _LINE_SLOPE)
    power = ((of_perceptual + np.float32(0.055)) * np.float32(1 / 1.055)) ** np.float32(2.4)
    above = np.exp((of_perceptual - 1) * np.float32(1 / _SLOPE_AT_WHITE))
    inside = np.where(of_perceptual <= _LINE_END * _LINE_SLOPE, line, power)
    brought: NDArray[np.float32] = np.where(of_perceptual <= 1, inside, above)
    return brought


@lru_cache(maxsize=64)
def is_linear(icc: bytes | None) -> bool:
    """Says whether a profile's values are proportional to light. No profile means sRGB, which is not."""
    if icc is None:
        return False
    import imagecodecs

    kind = "gray" if icc[16:20] == b"GRAY" else "rgb"
    half = np.full((2, 2) if kind == "gray" else (2, 2, 3), 0.5, np.float32)
    try:
        xyz = imagecodecs.cms_transform(
            half, icc, imagecodecs.cms_profile("xyz"), colorspace=kind, outcolorspace="xyz"
        )
    except (RuntimeError, ValueError):  # not a profile, or one of another kind
        return False
    return bool(xyz[0, 0, 1] > 0.5**_LINEAR_EXPONENT)


def check_finite(array: NDArray[Any], name: str) -> None:
    """Raises if floats are NaN or infinite. `min` and `max` propagate NaN, so the good case needs no copy."""
    if np.isfinite(array.min()) and np.isfinite(array.max()):
        return
    broken = array.size - np.count_nonzero(np.isfinite(array))
    raise ImageError(f"{name} holds {broken} NaN or infinite values; expected numbers: repair it first.")


def check_range(array: NDArray[Any]) -> None:
    """Raises if it is unknown which floats are black and white."""
    least, most = array.min(), array.max()
    if least < -ROUNDING or most > 1 + ROUNDING:
        raise ImageError(
            f"A picture holds floats from {least:g} to {most:g}, expected [0, 1]; scale it first, or say which "
            "values are black and white."
        )
