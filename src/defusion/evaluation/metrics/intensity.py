"""Metrics of levels: error, correlation, contrast."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, real
from defusion.evaluation.metrics.sharing import shared

#: PSNR of a picture that equals the ground truth, so that a mean over scenes stays finite.
PSNR_CAP = 60.0


@shared
def squared_error(a: Grey, b: Grey) -> float:
    """Mean square of the difference, in levels squared."""
    return float(np.square(real(a) - real(b)).mean())


def correlation(a: Plane, b: Plane) -> float:
    """Pearson's r.

    Raises:
        UndefinedError: One of the planes has one value everywhere.
    """
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt((a * a).sum() * (b * b).sum())
    if scale == 0:
        raise UndefinedError("a picture or a difference of one value correlates with nothing")
    return float((a * b).sum() / scale)


def _decibels(peak: float, error: float) -> float:
    """Returns a PSNR: infinite if there is no error; minus infinite if there is one and the peak is zero."""
    if error == 0:
        return math.inf
    return 10 * math.log10(peak**2 / error) if peak else -math.inf


def _deviation(a: Grey, b: Grey, fused: Grey) -> float:
    return float(real(fused).std())


def _correlation(a: Grey, b: Grey, fused: Grey) -> float:
    return (correlation(real(a), real(fused)) + correlation(real(b), real(fused))) / 2


def _correlated_differences(a: Grey, b: Grey, fused: Grey) -> float:
    f = real(fused)
    return correlation(f - real(b), real(a)) + correlation(f - real(a), real(b))


def _error(a: Grey, b: Grey, fused: Grey) -> float:
    return (squared_error(a, fused) + squared_error(b, fused)) / 2


def _error_of_unit_range(a: Grey, b: Grey, fused: Grey) -> float:
    return _error(a, b, fused) / 255**2


def _root_sum_over_count(a: Grey, b: Grey, fused: Grey) -> float:
    """Returns what VIFB calls mean square error: the root of the sum of squares, divided by the number of pixels."""
    return sum(math.sqrt(squared_error(source, fused) / fused.size) for source in (a, b)) / 2


def _psnr(a: Grey, b: Grey, fused: Grey) -> float:
    return _decibels(255, _error(a, b, fused))


def _psnr_vifb(a: Grey, b: Grey, fused: Grey) -> float:
    return _decibels(255, _root_sum_over_count(a, b, fused))


def _psnr_tang(a: Grey, b: Grey, fused: Grey) -> float:
    return _decibels(255, _error_of_unit_range(a, b, fused))


def _psnr_cddfuse(a: Grey, b: Grey, fused: Grey) -> float:
    return _decibels(float(fused.max()), _error(a, b, fused))


def _psnr_truth(truth: Grey, _: Grey, fused: Grey) -> float:
    return min(_decibels(255, squared_error(truth, fused)), PSNR_CAP)


SD = Metric(
    name="sd",
    title="Standard deviation of the fused picture",
    better="higher",
    span=(0.0, 127.5),
    colour="each channel",
    source="Rao 1997; MEFB metricsSD.m",
    measure=_deviation,
    same_as="MEFB.SD",
)
CC = Metric(
    name="cc",
    title="Correlation with the sources",
    better="higher",
    span=(-1.0, 1.0),
    colour="each channel",
    source="Tang CC_evaluation.m",
    measure=_correlation,
    same_as="Tang.CC",
)
SCD = Metric(
    name="scd",
    title="Sum of the correlations of differences",
    better="higher",
    span=(-2.0, 2.0),
    colour="each channel",
    source="Aslantas and Bendes 2015; Tang analysis_SCD.m",
    measure=_correlated_differences,
    same_as="Tang.SCD",
)
MSE = Metric(
    name="mse",
    title="Mean square error against both sources",
    better="lower",
    span=(0.0, 255.0**2),
    colour="each channel",
    source="CDDFuse Evaluator.MSE",
    measure=_error,
    same_as="CDDFuse.MSE",
)
PSNR = Metric(
    name="psnr",
    title="PSNR against both sources, dB",
    better="higher",
    span=(0.0, math.inf),
    colour="rgb",
    source="10 log10(255^2 / mean of the two mean square errors)",
    measure=_psnr,
)
PSNR_TRUTH = Metric(
    name="psnr_truth",
    title="PSNR against the truth, dB",
    better="higher",
    span=(0.0, PSNR_CAP),
    colour="rgb",
    source="10 log10(255^2 / mean square error), 60 at most",
    measure=_psnr_truth,
    against="truth",
)
_PSNR_VIFB = replace(
    PSNR,
    name="VIFB.Psnr",
    title="PSNR of root sums over counts, dB",
    colour="each channel",
    source="Jagalingam and Hegde 2015; VIFB metricsPsnr.m",
    measure=_psnr_vifb,
)
METRICS: tuple[Metric, ...] = (
    SD,
    SD.named("MEFB.SD"),
    SD.named("VIFB.Variance", "Rao 1997; VIFB metricsVariance.m"),
    SD.named("Tang.SD", "Rao 1997; Tang SD_evaluation.m", "grey"),
    SD.named("CDDFuse.SD", "Rao 1997; CDDFuse Evaluator.SD", "grey"),
    CC,
    CC.named("Tang.CC", colour="grey"),
    CC.named("CDDFuse.CC", "CDDFuse Evaluator.CC", "grey"),
    SCD,
    SCD.named("Tang.SCD", colour="grey"),
    SCD.named("CDDFuse.SCD", "Aslantas and Bendes 2015; CDDFuse Evaluator.SCD", "grey"),
    MSE,
    MSE.named("CDDFuse.MSE", colour="grey"),
    replace(
        MSE,
        name="Tang.MSE",
        title="Mean square error against both sources, levels 0 to 1",
        span=(0.0, 1.0),
        colour="grey",
        source="Tang MSE_evaluation.m",
        measure=_error_of_unit_range,
        same_as=None,
    ),
    replace(
        MSE,
        name="VIFB.Rmse",
        title="Root of the sum of squares over the number of pixels",
        span=(0.0, 255.0),
        source="Jagalingam and Hegde 2015; VIFB metricsRmse.m",
        measure=_root_sum_over_count,
        same_as=None,
    ),
    PSNR,
    PSNR_TRUTH,
    _PSNR_VIFB,
    _PSNR_VIFB.named("MEFB.Psnr", "Jagalingam and Hegde 2015; MEFB metricsPsnr.m"),
    replace(
        PSNR,
        name="Tang.PSNR",
        title="PSNR of levels 0 to 1 with a peak of 255, dB",
        colour="grey",
        source="Tang PSNR_evaluation.m",
        measure=_psnr_tang,
    ),
    replace(
        PSNR,
        name="CDDFuse.PSNR",
        title="PSNR with the fused picture's own peak, dB",
        span=(-math.inf, math.inf),
        colour="grey",
        source="CDDFuse Evaluator.PSNR",
        measure=_psnr_cddfuse,
    ),
)
