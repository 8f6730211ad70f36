"""Filters over a whole plane, and filters exact to the last bit. Few metrics need them."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Grey, UndefinedError
from defusion.evaluation.metrics.planes import Plane

T = TypeVar("T", bound=np.generic)


def filtered_same(plane: Plane, weights: Plane) -> Plane:
    """Filters with a separable window, zeros around the plane, like MATLAB's `filter2(..., 'same')`: [H, W]."""
    return np.asarray(
        cv2.sepFilter2D(plane, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_CONSTANT), np.float64
    )


def inside(plane: NDArray[T], size: int) -> NDArray[T]:
    """Returns the part of a plane at which a window, with this odd side, is inside the plane."""
    edge = size // 2
    return plane[edge : plane.shape[0] - edge, edge : plane.shape[1] - edge]


def need_pixels(plane: Grey, least: int) -> None:
    """Raises if a plane is too small.

    Raises:
        UndefinedError: Height or width is less than this.
    """
    if min(plane.shape) < least:
        raise UndefinedError(f"the metric needs pictures of {least}x{least} pixels or more")


def octave_sum(terms: Plane) -> Plane:
    """Sums the last axis from left to right, like Octave: rounding noise depends on the order."""
    total: Plane = np.cumsum(terms, axis=-1)[..., -1]
    return total


def octave_gaussian(size: int, sigma: float) -> Plane:
    """Returns the Gaussian window [size, size] of fspecial, equal to Octave's to the last bit."""
    x = np.arange(size) - (size - 1) / 2
    window: Plane = np.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    return window / octave_sum(window.ravel())


def octave_ssim_window(size: int, sigma: float) -> Plane:
    """Returns the window as SSIM code uses it, divided by its sum once more."""
    window = octave_gaussian(size, sigma)
    return window / octave_sum(octave_sum(window))
