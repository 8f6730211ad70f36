"""What sample values stand for: which are black and white, and how the eye sees those between.

Pixels are made for the eye: 0 is black, 1 the brightest of the scene, and equal steps look equal. Samples are what a
file has: 12 bits in 16, counts, degrees, light that the eye would see by its logarithm. A `Tone` leads from one to
the other and back, so that a result has the values of its file's own kind.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError

#: Floats that leave [0, 1] by no more than this have been rounded.
ROUNDING = 1e-3

#: Where sRGB's curve turns from a line to a power, in light; the line's slope; what it has at white.
_LINE_END, _LINE_SLOPE = 0.0031308, 12.92
_SLOPE_AT_WHITE = 1.055 / 2.4

#: A curve whose exponent is below this holds light as it is, rather than as the eye sees it: profiles of cameras and
#: screens have 1.8 to 2.6.
_LINEAR_EXPONENT = 1.4


class Levels(NamedTuple):
    """Which sample values are black and white; the first may be the larger, as in pictures that show heat dark."""

    low: float
    high: float
    white: float | None = None
    """Of scene light the value of a white sheet, below that of lamps and the sun; None where `high` is white."""


class Tone(NamedTuple):
    """How samples become pixels."""

    levels: Levels
    linear: bool
    """The samples are proportional to light."""

    def pixels(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Makes pixels in [0, 1] of samples; a new array."""
        low, high, _ = self.levels
        # A factor rather than a quotient: one pass, and v / full comes back exactly for every v of 8 or 16 bits.
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
        """Says where between black and the brightest value the samples of pixels lie, in [0, 1]."""
        return light(pixels * self._top) / self._brightest if self.linear else pixels

    @property
    def _brightest(self) -> np.float32:
        """The light of the brightest value, of white's."""
        low, high, white = self.levels
        return np.float32(1 if white is None else (high - low) / (white - low))

    @property
    def _top(self) -> np.float32:
        return np.float32(perceptual(np.full(1, self._brightest, np.float32))[0])


def perceptual(of_light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brings light, 1 for white, to steps that look equal: sRGB's curve, and above white a logarithm, as HLG has."""
    line = of_light * np.float32(_LINE_SLOPE)
    power = np.float32(1.055) * np.maximum(of_light, 0) ** np.float32(1 / 2.4) - np.float32(0.055)
    above = 1 + np.float32(_SLOPE_AT_WHITE) * np.log(np.maximum(of_light, 1))
    brought: NDArray[np.float32] = np.where(of_light <= _LINE_END, line, np.where(of_light <= 1, power, above))
    return brought


def light(of_perceptual: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undoes `perceptual`."""
    line = of_perceptual * np.float32(1 / _LINE_SLOPE)
    power = ((of_perceptual + np.float32(0.055)) * np.float32(1 / 1.055)) ** np.float32(2.4)
    above = np.exp((of_perceptual - 1) * np.float32(1 / _SLOPE_AT_WHITE))
    inside = np.where(of_perceptual <= _LINE_END * _LINE_SLOPE, line, power)
    brought: NDArray[np.float32] = np.where(of_perceptual <= 1, inside, above)
    return brought


@lru_cache(maxsize=64)
def is_linear(icc: bytes | None) -> bool:
    """Says whether a profile's values are proportional to light; no profile means sRGB, which is not."""
    if icc is None:
        return False
    import imagecodecs

    kind = "gray" if icc[16:20] == b"GRAY" else "rgb"
    half = np.full((2, 2) if kind == "gray" else (2, 2, 3), 0.5, np.float32)
    try:
        xyz = imagecodecs.cms_transform(
            half, icc, imagecodecs.cms_profile("xyz"), colorspace=kind, outcolorspace="xyz"
        )
    except (RuntimeError, ValueError):  # no profile, or one of another kind
        return False
    return bool(xyz[0, 0, 1] > 0.5**_LINEAR_EXPONENT)


def check_finite(array: NDArray[Any], name: str) -> None:
    """Refuse floats that no picture has; `min` and `max` carry NaN, so the good case needs no copy."""
    if np.isfinite(array.min()) and np.isfinite(array.max()):
        return
    broken = array.size - np.count_nonzero(np.isfinite(array))
    raise ImageError(f"{name} holds {broken} NaN or infinite values; expected numbers: repair it first.")


def check_range(array: NDArray[Any]) -> None:
    """Refuse floats of which it is not known what is black and white."""
    least, most = array.min(), array.max()
    if least < -ROUNDING or most > 1 + ROUNDING:
        raise ImageError(
            f"A picture holds floats from {least:g} to {most:g}, expected [0, 1]; scale it first, or say which "
            "values are black and white."
        )
