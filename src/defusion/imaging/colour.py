"""Luminance and chroma of float RGB pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: ITU-R BT.601 weights, those of JPEG's YCbCr.
_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)

#: Pixels that are worked on at once: what is made of them on the way stays in the processor's cache.
_CHUNK_PX = 16_384


def luminance(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the luminance Y of RGB pixels [H, W, 3] as [H, W, 1]."""
    y: NDArray[np.float32] = (pixels @ _WEIGHTS)[..., None]
    return y


def with_luminance(pixels: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gives RGB pixels [H, W, 3] another luminance [H, W, 1] and keeps their chroma.

    Cb and Cr stay the same, so the same amount is added to all three colours. If that leaves [0, 1], the chroma is
    reduced just enough to stay inside, which keeps the hue.
    """
    kept = np.empty_like(pixels)
    step = max(1, _CHUNK_PX // pixels.shape[1])
    for top in range(0, len(pixels), step):
        rows = slice(top, top + step)
        _with_luminance(pixels[rows], y[rows, :, 0], kept[rows])
    return kept


def _with_luminance(pixels: NDArray[np.float32], y: NDArray[np.float32], kept: NDArray[np.float32]) -> None:
    y, light = np.clip(y, 0, 1), luminance(pixels)[..., 0]
    chroma = [pixels[..., each] - light for each in range(3)]  # many times as fast as over an axis of 3
    red, green, blue = chroma
    high, low = (of(of(red, green), blue) for of in (np.maximum, np.minimum))
    room = np.minimum((1 - y) / np.maximum(high, 1e-6), y / np.maximum(-low, 1e-6))
    np.minimum(room, 1, out=room)
    for number, plane in enumerate(chroma):
        plane *= room
        np.add(y, plane, out=kept[..., number])
