"""Luminance and chroma of float RGB pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: ITU-R BT.601 weights, those of JPEG's YCbCr.
_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


def luminance(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the luminance Y of RGB pixels [H, W, 3] as [H, W, 1]."""
    y: NDArray[np.float32] = (pixels @ _WEIGHTS)[..., None]
    return y


def with_luminance(pixels: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gives RGB pixels [H, W, 3] another luminance [H, W, 1] and keeps their chroma.

    Cb and Cr stay the same, so the same amount is added to all three colours. If that leaves [0, 1], the chroma is
    reduced just enough to stay inside, which keeps the hue.
    """
    import cv2

    y = np.clip(y[..., 0], 0, 1)
    light = luminance(pixels)[..., 0]
    added = y - light
    kept: NDArray[np.float32] = np.asarray(cv2.add(pixels, np.asarray(cv2.merge([added] * 3))))
    if kept.size and (kept.min() < 0 or kept.max() > 1):
        leaves = np.asarray(cv2.inRange(kept, (0, 0, 0), (1, 1, 1))) == 0
        kept[leaves] = _inside(pixels[leaves], light[leaves], y[leaves])
    return kept


def _inside(pixels: NDArray[np.float32], light: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduces the chroma of pixels [N, 3] until they fit into [0, 1] with another luminance [N]."""
    chroma = pixels - light[:, None]
    red, green, blue = chroma.T
    high, low = (of(of(red, green), blue) for of in (np.maximum, np.minimum))
    room = np.minimum((1 - y) / np.maximum(high, 1e-6), y / np.maximum(-low, 1e-6))
    fitting: NDArray[np.float32] = y[:, None] + np.minimum(room, 1)[:, None] * chroma
    return fitting
