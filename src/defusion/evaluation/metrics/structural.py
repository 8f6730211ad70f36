"""Structural similarity (SSIM) of the fused picture to its sources, or to the ground truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from defusion.evaluation.metrics.metric import Grey, Metric
from defusion.evaluation.metrics.planes import Plane, covariance, filtered, real, smoothed
from defusion.evaluation.metrics.sharing import shared


@shared
def ssim(a: Grey, b: Grey, peak: float = 255.0) -> float:
    """Returns SSIM under a Gaussian window, 11x11 with sigma 1.5, where it is inside the pictures."""
    return float(ssim_map(real(a), real(b), peak).mean())


def ssim_map(x: Plane, y: Plane, peak: float = 255.0) -> Plane:
    """Returns SSIM in each window of `ssim`, [H - 10, W - 10]."""
    return _index(smoothed(x), smoothed(y), covariance(x, x), covariance(y, y), covariance(x, y), peak)


@shared
def _ssim_of_squares(a: Grey, b: Grey) -> float:
    """Returns SSIM under a flat 7x7 window with sample variances, like scikit-image without options."""
    row = np.full(7, 1 / 7)
    to_sample = 49 / 48
    x, y = real(a), real(b)
    mean_x, mean_y = filtered(x, row), filtered(y, row)
    variance_x, variance_y, shared_part = (
        to_sample * (filtered(product, row) - means)
        for product, means in ((x * x, mean_x * mean_x), (y * y, mean_y * mean_y), (x * y, mean_x * mean_y))
    )
    return float(_index(mean_x, mean_y, variance_x, variance_y, shared_part, 255.0).mean())


def _index(mean_x: Plane, mean_y: Plane, var_x: Plane, var_y: Plane, cov: Plane, peak: float) -> Plane:
    """Returns SSIM of windows with these moments."""
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    quality: Plane = luminance * structure
    return quality


@shared
def _with_border(plane: Grey) -> Grey:
    """Repeats the plane's edge by half a window, so that a window is centred on each of its pixels."""
    return np.pad(plane, 5, mode="edge")


def _sum(a: Grey, b: Grey, fused: Grey) -> float:
    return ssim(a, fused) + ssim(b, fused)


def _mean(a: Grey, b: Grey, fused: Grey) -> float:
    return _sum(a, b, fused) / 2


def _sum_of_squares(a: Grey, b: Grey, fused: Grey) -> float:
    return _ssim_of_squares(a, fused) + _ssim_of_squares(b, fused)


def _tang(a: Grey, b: Grey, fused: Grey, peak: float) -> float:
    a, b, fused = _with_border(a), _with_border(b), _with_border(fused)
    return (ssim(a, fused, peak) + ssim(b, fused, peak)) / 2


def _tang_peak_1(a: Grey, b: Grey, fused: Grey) -> float:
    return _tang(a, b, fused, 1.0)


def _tang_peak_255(a: Grey, b: Grey, fused: Grey) -> float:
    return _tang(a, b, fused, 255.0)


def _to_truth(truth: Grey, _: Grey, fused: Grey) -> float:
    return ssim(truth, fused)


SSIM = Metric(
    name="ssim",
    title="Structural similarity to the sources",
    better="higher",
    span=(-1.0, 1.0),
    colour="each channel",
    source="Wang 2004; the mean over both sources, half of VIFB metricsSsim.m",
    measure=_mean,
    same_as="VIFB.Ssim",
)
SSIM_TRUTH = Metric(
    name="ssim_truth",
    title="Structural similarity to the truth",
    better="higher",
    span=(-1.0, 1.0),
    colour="each channel",
    source="Wang 2004",
    measure=_to_truth,
    against="truth",
)
_SUM = replace(
    SSIM,
    name="VIFB.Ssim",
    title="Structural similarity, summed over the sources",
    span=(-2.0, 2.0),
    source="Wang 2004; VIFB metricsSsim.m",
    measure=_sum,
    same_as=None,
)
_TANG = replace(
    SSIM,
    name="Tang.SSIM_L255",
    title="Structural similarity to the sources, up to the border",
    colour="grey",
    source="Wang 2004; Tang, MATLAB's ssim() of 8-bit pictures",
    measure=_tang_peak_255,
    same_as=None,
)
METRICS: tuple[Metric, ...] = (
    SSIM,
    SSIM_TRUTH,
    _SUM,
    _SUM.named("skimage.SSIM11gauss_sum", "Wang 2004; scikit-image with gaussian_weights=True, sigma=1.5", "grey"),
    replace(
        _SUM,
        name="skimage.SSIM7_sum_data_range255",
        title="Structural similarity under squares of 7x7, summed over the sources",
        colour="grey",
        source="Wang 2004; scikit-image with data_range=255 (CDDFuse)",
        measure=_sum_of_squares,
    ),
    _TANG,
    replace(
        _TANG,
        name="Tang.SSIM_L1",
        title="Structural similarity to the sources, as if levels ended at 1",
        source="Wang 2004; Tang, MATLAB's ssim() of levels 0 to 255 in double",
        measure=_tang_peak_1,
    ),
)
