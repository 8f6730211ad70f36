"""Q_CB of Chen and Blum: how much of the contrast that an eye sees in the sources the fused picture keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, stretched
from defusion.evaluation.metrics.sharing import shared
from defusion.evaluation.metrics.windows import filtered_same


@shared
def _sensitivity(shape: tuple[int, int]) -> Plane:
    """Returns the eye's sensitivity for each frequency, a difference of Gaussians, over the half plane of
    a real FFT.
    """
    height, width = shape
    # As in Liu's code: half the sampling rate corresponds to a thirtieth of the picture's height or width.
    v, u = fft.fftfreq(height) * 2 * height / 30, fft.rfftfreq(width) * 2 * width / 30
    r2 = v[:, None] ** 2 + u**2
    sensitivity: Plane = np.exp(-r2 / 15.3870**2) - 0.7622 * np.exp(-r2 / 1.3456**2)
    return sensitivity


def _gaussian(sigma: float) -> Plane:
    """Returns a Gaussian that is cut off at 15 pixels and not normalised to a sum of 1 afterwards."""
    x = np.arange(-15.0, 16.0)
    weights: Plane = np.exp(-(x**2) / (2 * sigma**2)) / np.sqrt(2 * np.pi * sigma**2)
    return weights


def _contrast(plane: NDArray[np.uint8]) -> Plane:
    """Returns the contrast that an eye sees at each pixel of a plane with levels of 0 to 255."""
    seen = fft.irfft2(fft.rfft2(plane.astype(np.float64)) * _sensitivity(plane.shape), plane.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = np.abs(filtered_same(seen, _gaussian(2)) / filtered_same(seen, _gaussian(4)) - 1)
        square = contrast * contrast
        masked: Plane = square * contrast / (square + 1e-4)
    return masked


def _preserved(source: Plane, fused: Plane) -> Plane:
    quality: Plane = np.minimum(source, fused) / np.maximum(source, fused)
    return quality


def _chen_blum(a: Plane, b: Plane, fused: Plane) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        a2, b2 = a * a, b * b
        quality = (a2 * _preserved(a, fused) + b2 * _preserved(b, fused)) / (a2 + b2)
        value = float(quality.mean())
    if np.isnan(value):
        raise UndefinedError("somewhere there is no contrast or no light to compare")
    return value


@shared
def _contrast_of_levels(plane: Grey) -> Plane:
    return _contrast(stretched(plane))


def _of_levels(a: Grey, b: Grey, fused: Grey) -> float:
    return _chen_blum(_contrast_of_levels(a), _contrast_of_levels(b), _contrast_of_levels(fused))


@shared
def _contrast_of_fractions(plane: Grey) -> Plane:
    return _contrast(_stretched_fractions(plane))


def _stretched_fractions(plane: Grey) -> Grey:
    """Stretches v / 255 to 0..255. Its ties are rounded differently from those of v."""
    low, high = int(plane.min()), int(plane.max())
    if low == high:
        return stretched(plane)
    fractions = np.arange(256.0) / 255
    spread = (fractions - fractions[low]) / (fractions[high] - fractions[low]) * 255
    levels: Grey = np.floor(spread + 0.5).clip(0, 255).astype(np.uint8)[plane]
    return levels


def _of_fractions(a: Grey, b: Grey, fused: Grey) -> float:
    return _chen_blum(_contrast_of_fractions(a), _contrast_of_fractions(b), _contrast_of_fractions(fused))


QCB = Metric(
    name="qcb",
    title="Contrast kept, as an eye sees it",
    better="higher",
    span=(0.0, 1.0),
    colour="each channel",
    source="Chen and Blum 2009; MEFB metricsQcb.m",
    measure=_of_fractions,
    same_as="MEFB.Qcb",
)
METRICS: tuple[Metric, ...] = (
    QCB,
    QCB.named("MEFB.Qcb"),
    replace(QCB.named("VIFB.Qcb", source="Chen and Blum 2009; VIFB metricsQcb.m"), measure=_of_levels),
    replace(
        QCB.named("ZL.metricChenBlum_QCB", source="Chen and Blum 2009; ZL metricChenBlum.m", colour="grey"),
        measure=_of_levels,
    ),
)
