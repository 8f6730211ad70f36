"""Filters over a whole plane and to the last bit, which `planes` does not need."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Grey, UndefinedError
from defusion.evaluation.metrics.planes import Plane

T = TypeVar("T", bound=np.generic)


def filtered_same(plane: Plane, weights: Plane) -> Plane:
    """Filters with a separable window, zeros around the plane, as MATLAB's `filter2(..., 'same')`: [H, W]."""
    return np.asarray(
        cv2.sepFilter2D(plane, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_CONSTANT), np.float64
    )


def inside(plane: NDArray[T], size: int) -> NDArray[T]:
    """The part of a plane where a window of so many pixels, an odd number, lies inside it."""
    edge = size // 2
    return plane[edge : plane.shape[0] - edge, edge : plane.shape[1] - edge]


def need_pixels(plane: Grey, least: int) -> None:
    """Refuses a plane of fewer than so many pixels in height or width.

    Raises:
        UndefinedError: The plane is too small.
    """
    if min(plane.shape) < least:
        raise UndefinedError(f"the metric needs pictures of {least}x{least} pixels or more")


def octave_sum(terms: Plane) -> Plane:
    """Adds the last axis up from left to right, as Octave does: rounding noise depends on the order."""
    total: Plane = np.cumsum(terms, axis=-1)[..., -1]
    return total


def octave_gaussian(size: int, sigma: float) -> Plane:
    """The Gaussian window [size, size] of fspecial, to the last bit as Octave has it."""
    x = np.arange(size) - (size - 1) / 2
    window: Plane = np.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    return window / octave_sum(window.ravel())


def octave_ssim_window(size: int, sigma: float) -> Plane:
    """The window as codes of SSIM use it: over its sum once more."""
    window = octave_gaussian(size, sigma)
    return window / octave_sum(octave_sum(window))
