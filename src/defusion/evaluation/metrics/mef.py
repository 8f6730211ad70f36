"""MEF-SSIM: similarity to the best structure that the sources have at each place."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, covariance, real
from defusion.evaluation.metrics.sharing import shared

_SIDE = 11
_AREA = _SIDE * _SIDE
_C = (0.03 * 255) ** 2
_EPS = np.finfo(np.float64).eps
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001])


def _box(plane: Plane) -> Plane:
    """Sums over 11x11 windows inside the plane. The sums are exact for levels of a picture and for means of 4 or 16
    of them.
    """
    edge = _SIDE // 2
    sums = np.asarray(cv2.boxFilter(plane, cv2.CV_64F, (_SIDE, _SIDE), normalize=False), np.float64)
    return sums[edge : sums.shape[0] - edge, edge : sums.shape[1] - edge]


def _quality(a: Plane, b: Plane, fused: Plane) -> float:
    """Returns the mean similarity of windows to their desired structure, Ma 2015 eq. 5 to 14.

    The desired window is t = s (ca (a - mean a) + cb (b - mean b)). Everything needed of it follows from sums and
    Gaussian means over the sources, so no window is ever built.
    """
    sum_a, sum_b = _box(a), _box(b)
    energy_a = np.maximum(_box(a * a) - sum_a**2 / _AREA, 0)
    energy_b = np.maximum(_box(b * b) - sum_b**2 / _AREA, 0)
    energy_ab = _box(a * b) - sum_a * sum_b / _AREA
    contrast_a, contrast_b = np.sqrt(energy_a) + 0.001, np.sqrt(energy_b) + 0.001

    together = np.sqrt(np.maximum(energy_a + energy_b + 2 * energy_ab, 0))
    consistency = (together + _EPS) / (np.sqrt(energy_a) + np.sqrt(energy_b) + _EPS)
    power = np.minimum(np.tan(np.pi / 2 * np.minimum(consistency, 1 - _EPS)), 10)
    weight_a = (contrast_a / _SIDE) ** power + _EPS
    weight_b = (contrast_b / _SIDE) ** power + _EPS
    ca = weight_a / (weight_a + weight_b) / contrast_a
    cb = weight_b / (weight_a + weight_b) / contrast_b

    energy = np.maximum(ca**2 * energy_a + cb**2 * energy_b + 2 * ca * cb * energy_ab, 0)
    size = np.sqrt(energy)
    scale = np.where(size > 0, np.maximum(contrast_a, contrast_b) / np.where(size > 0, size, 1), 0)
    ca, cb = scale * ca, scale * cb
    variance = ca**2 * covariance(a, a) + cb**2 * covariance(b, b) + 2 * ca * cb * covariance(a, b)
    shared_part = ca * covariance(a, fused) + cb * covariance(b, fused)
    return float(((2 * shared_part + _C) / (variance + covariance(fused, fused) + _C)).mean())


def _halved(plane: Plane) -> Plane:
    """Means of 2x2 pixels. An odd last row or column is repeated."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


@shared
def _finest(a: Grey, b: Grey, fused: Grey) -> float:
    if min(fused.shape) < _SIDE:
        raise UndefinedError(f"the picture is smaller than a window of {_SIDE}x{_SIDE} pixels")
    return _quality(real(a), real(b), real(fused))


def _three_scales(a: Grey, b: Grey, fused: Grey) -> float:
    if min(fused.shape) < 4 * _SIDE:
        raise UndefinedError(f"three scales need {4 * _SIDE} pixels a side at least")
    qualities = [_finest(a, b, fused)]
    planes = [real(a), real(b), real(fused)]
    for _ in _WEIGHTS[1:]:
        planes = [_halved(plane) for plane in planes]
        qualities.append(_quality(*planes))
    if min(qualities) < 0:
        raise UndefinedError("the likeness at one scale is below zero and has no power")
    return float(np.prod(np.array(qualities) ** (_WEIGHTS / _WEIGHTS.sum())))


MEF_SSIM = Metric(
    name="mef_ssim",
    title="MEF-SSIM, three scales",
    better="higher",
    span=(0.0, 1.0),
    colour="grey",
    source="Ma 2015; MEFB mef_ms_ssim.m",
    measure=_three_scales,
    same_as="MEFB.MEF_SSIM",
)
METRICS: tuple[Metric, ...] = (
    MEF_SSIM,
    MEF_SSIM.named("MEFB.MEF_SSIM"),
    replace(
        MEF_SSIM,
        name="MEFB.MEF_SSIM1",
        title="MEF-SSIM, one scale",
        span=(-1.0, 1.0),
        source="Ma 2015; MEFB mef_ssim.m",
        measure=_finest,
        same_as=None,
    ),
)
