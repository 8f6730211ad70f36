"""Prepares pictures for metrics as MATLAB does: grey, stretched, filtered planes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Grey, UndefinedError
from defusion.evaluation.metrics.sharing import shared

Plane = NDArray[np.float64]
"""[H, W]."""

# First row of the inverse of MATLAB's NTSC matrix, with the precision of its rgb2gray.
_NTSC = np.array([0.298936021293776, 0.587043074451121, 0.114020904255103])


def grey(picture: NDArray[np.uint8]) -> Grey:
    """Converts RGB to grey like MATLAB's rgb2gray: BT.601 to six digits, rounded. Grey stays as it is."""
    if picture.ndim == 2:
        return picture
    rounded: Grey = np.floor(picture @ _NTSC + 0.5).astype(np.uint8)
    return rounded


@shared
def real(plane: Grey) -> Plane:
    """Returns the plane as float64, 0 to 255."""
    return plane.astype(np.float64)


@shared
def stretched(plane: Grey) -> Grey:
    """Stretches to 0..255 and rounds half up, like the toolkits' `normalize1`.

    Raises:
        UndefinedError: The plane has one value everywhere, and that is not zero: the toolkits divide by zero.
    """
    low, high = int(plane.min()), int(plane.max())
    if low == high:
        if high == 0:
            return plane
        raise UndefinedError("a picture of one value cannot be stretched to 0..255")
    table = np.floor((np.arange(256.0) - low) / (high - low) * 255 + 0.5).clip(0, 255).astype(np.uint8)
    return table[plane]


class Gradient(NamedTuple):
    """Sobel's differences, with zeros outside the picture."""

    x: Plane
    """Right minus left."""
    y: Plane
    """Below minus above."""
    size: Plane


@shared
def sobel(plane: Grey) -> Gradient:
    """Returns Sobel's gradient with zeros around the picture, like MATLAB's `filter2(..., 'same')`."""
    x, y = (
        np.asarray(cv2.Sobel(real(plane), cv2.CV_64F, dx, 1 - dx, borderType=cv2.BORDER_CONSTANT), np.float64)
        for dx in (1, 0)
    )
    return Gradient(x, y, np.sqrt(x * x + y * y))


def gaussian(size: int, sigma: float) -> Plane:
    """Returns one row of MATLAB's `fspecial('gaussian', size, sigma)`; the window is the product of two rows."""
    steps = np.arange(size) - (size - 1) / 2
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    row: Plane = weights / weights.sum()
    return row


def filtered(plane: Plane, weights: Plane) -> Plane:
    """Filters with a separable window, where it is inside the picture: [H - n + 1, W - n + 1].

    Raises:
        UndefinedError: The picture is smaller than the window.
    """
    size = len(weights)
    if min(plane.shape) < size:
        raise UndefinedError(f"the picture is smaller than a window of {size}x{size} pixels")
    edge = size // 2
    whole = np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, weights, weights), np.float64)
    return whole[edge : whole.shape[0] - edge, edge : whole.shape[1] - edge]


@shared
def smoothed(plane: Plane) -> Plane:
    """Returns the mean under SSIM's Gaussian window, 11x11 with sigma 1.5, where it is inside the picture."""
    return filtered(plane, gaussian(11, 1.5))


@shared
def covariance(a: Plane, b: Plane) -> Plane:
    """Returns the covariance under SSIM's Gaussian window; the variance if both planes are the same."""
    return smoothed_product(a, b) - smoothed(a) * smoothed(b)


def smoothed_product(a: Plane, b: Plane) -> Plane:
    """Returns the mean of a product under SSIM's Gaussian window."""
    return filtered(a * b, gaussian(11, 1.5))
