"""Metrics that compare the fused picture with its sources window by window: Q_S, Q_W, Q_C, Q_Y, Q_SF.

All but Q_SF use the structural similarity (SSIM) of two pictures in a sliding Gaussian window. They differ in the
window, in its two constants, and in how they weight the two sources.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, covariance, real
from defusion.evaluation.metrics.sharing import shared
from defusion.evaluation.metrics.structural import ssim_map
from defusion.evaluation.metrics.windows import inside, need_pixels, octave_ssim_window, octave_sum

# ---------------------------------------------------------------- Q_S and Q_W of Piella and Heijmans


def _never_zero(var_a: Plane, var_b: Plane) -> tuple[Plane, Plane]:
    """Returns the variances of two sources, with one half added to both where their sum is zero."""
    more = 0.5 * (var_a + var_b == 0)
    return var_a + more, var_b + more


def _weighed(a: Plane, b: Plane, fused: Plane, var_a: Plane, var_b: Plane) -> Plane:
    """Returns the SSIM of the fused plane with each source, weighted by the sources' variances, [H - 10, W - 10]."""
    weight = var_a / (var_a + var_b)
    return weight * ssim_map(fused, a) + (1 - weight) * ssim_map(fused, b)


def _weighted_mean(quality: Plane, saliency: Plane) -> float:
    total = saliency.sum()
    if total == 0:
        raise UndefinedError("both sources are flat")
    return float((quality * saliency).sum() / total)


@cache
def _noise_of_flat_windows() -> Plane:
    """Returns the variance that Octave computes for an 11x11 window full of v, near zero, for v of 0 to
    255: [256].
    """
    window = octave_ssim_window(11, 1.5).ravel()
    v = np.arange(256.0)[:, None]
    return octave_sum(window * (v * v)) - octave_sum(window * v) ** 2


@shared
def _variance(plane: Grey) -> Plane:
    """Returns the variance in each 11x11 window. Flat windows have the rounding noise of the toolkits.

    Where both sources are flat, this noise decides which of them counts.
    """
    variance = covariance(real(plane), real(plane))
    square = np.ones((11, 11), np.uint8)
    flat = inside(np.equal(cv2.erode(plane, square), cv2.dilate(plane, square)), 11)
    return np.where(flat, _noise_of_flat_windows()[inside(plane, 11)], variance)


@shared
def _piella(a: Grey, b: Grey, fused: Grey) -> tuple[Plane, Plane]:
    """Returns the quality and the saliency of each window."""
    var_a, var_b = _never_zero(_variance(a), _variance(b))
    return _weighed(real(a), real(b), real(fused), var_a, var_b), np.maximum(var_a, var_b)


def _qs(a: Grey, b: Grey, fused: Grey) -> float:
    return float(_piella(a, b, fused)[0].mean())


def _qw(a: Grey, b: Grey, fused: Grey) -> float:
    return _weighted_mean(*_piella(a, b, fused))


def _edges(plane: Grey) -> Plane:
    """Returns the strength of Prewitt's edges, with zeros around the picture, [H, W]."""
    columns = np.array([[1.0, 0.0, -1.0]] * 3)
    x = cv2.filter2D(plane, cv2.CV_64F, columns, borderType=cv2.BORDER_CONSTANT)
    y = cv2.filter2D(plane, cv2.CV_64F, np.ascontiguousarray(columns.T), borderType=cv2.BORDER_CONSTANT)
    return np.sqrt(np.asarray(x * x + y * y, np.float64))


def _edge_qw(a: Grey, b: Grey, fused: Grey) -> float:
    edges_a, edges_b, edges_fused = _edges(a), _edges(b), _edges(fused)
    var_a, var_b = _never_zero(covariance(edges_a, edges_a), covariance(edges_b, edges_b))
    return _weighted_mean(_weighed(edges_a, edges_b, edges_fused, var_a, var_b), np.maximum(var_a, var_b))


# ---------------------------------------------------------------- Q_C of Cvejic et al. and Q_Y of Yang et al.

# Liu's code uses a 7x7 window and 2e-16 for both constants, so rounding noise decides in flat windows. To get the
# toolkits' noise, pictures are turned so that sums run as in Octave's conv2: last column first, each from its end.
_TINY = 2e-16
_WINDOW = octave_ssim_window(7, 1.5)


@shared
def _turned(plane: Grey) -> Plane:
    need_pixels(plane, 11)
    return np.ascontiguousarray(plane[::-1, ::-1].T, dtype=np.float64)


@shared
def _mean_7(plane: Plane) -> Plane:
    """Returns the mean in each 7x7 window of a turned plane."""
    whole = np.asarray(cv2.filter2D(plane, cv2.CV_64F, _WINDOW, borderType=cv2.BORDER_CONSTANT), np.float64)
    return inside(whole, 7)


@shared
def _covariance_7(a: Plane, b: Plane) -> Plane:
    return _mean_7(a * b) - _mean_7(a) * _mean_7(b)


@shared
def _ssim_7(a: Plane, b: Plane) -> Plane:
    mean_a, mean_b = _mean_7(a), _mean_7(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        quality: Plane = ((2 * (mean_a * mean_b) + _TINY) * (2 * _covariance_7(a, b) + _TINY)) / (
            (mean_a * mean_a + mean_b * mean_b + _TINY) * (_covariance_7(a, a) + _covariance_7(b, b) + _TINY)
        )
    return quality


def _qc_map(a: Grey, b: Grey, fused: Grey) -> Plane:
    """Returns Cvejic's similarity in each window; NaN where neither source varies with the fused picture."""
    x, y, f = _turned(a), _turned(b), _turned(fused)
    with_a, with_b = _covariance_7(x, f), _covariance_7(y, f)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = with_a / (with_a + with_b)
        quality: Plane = weight * _ssim_7(x, f) + (1 - weight) * _ssim_7(y, f)
    quality[weight < 0] = 0
    quality[weight > 1] = 1
    return quality


def _qy_map(a: Grey, b: Grey, fused: Grey) -> Plane:
    """Returns Yang's similarity in each window; NaN where neither source varies."""
    x, y, f = _turned(a), _turned(b), _turned(fused)
    with_a, with_b = _ssim_7(x, f), _ssim_7(y, f)
    alike = _ssim_7(x, y) >= 0.75
    var_a, var_b = _covariance_7(x, x), _covariance_7(y, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = var_a / (var_a + var_b)
        # Products and no selection, as in the toolkits: an infinite weight gives NaN even where it does not count.
        quality: Plane = (weight * with_a + (1 - weight) * with_b) * alike + np.fmax(with_a, with_b) * ~alike
    return quality


def _mean(quality: Plane) -> float:
    with np.errstate(invalid="ignore"):
        value = float(quality.mean()) if quality.size else np.nan
    if np.isnan(value):
        raise UndefinedError("the pictures are flat in a window, so there is nothing to compare")
    return value


def _mean_where_defined(quality: Plane) -> float:
    return _mean(quality[~np.isnan(quality)])


def _qc(a: Grey, b: Grey, fused: Grey) -> float:
    return _mean_where_defined(_qc_map(a, b, fused))


def _strict_qc(a: Grey, b: Grey, fused: Grey) -> float:
    return _mean(_qc_map(a, b, fused))


def _qy(a: Grey, b: Grey, fused: Grey) -> float:
    return _mean_where_defined(_qy_map(a, b, fused))


def _strict_qy(a: Grey, b: Grey, fused: Grey) -> float:
    return _mean(_qy_map(a, b, fused))


# ---------------------------------------------------------------- Q_SF of Zheng et al.


def _differences(plane: Grey) -> tuple[Plane, Plane, Plane, Plane]:
    """Returns the differences of neighbours: along rows, along columns, along one diagonal and the other."""
    p = real(plane)
    return p[:, 1:] - p[:, :-1], p[1:] - p[:-1], p[1:, 1:] - p[:-1, :-1], p[1:, :-1] - p[:-1, 1:]


def _spatial_frequency(differences: tuple[Plane, ...], pixels: int) -> float:
    rows, columns, diagonal, other_diagonal = (np.vdot(d, d) for d in differences)
    # Diagonal neighbours are farther apart, by the square root of two.
    return float(np.sqrt((rows + columns + np.sqrt(0.5) * (diagonal + other_diagonal)) / pixels))


def _qsf(a: Grey, b: Grey, fused: Grey) -> float:
    stronger = tuple(np.maximum(np.abs(x), np.abs(y)) for x, y in zip(_differences(a), _differences(b), strict=True))
    reference = _spatial_frequency(stronger, fused.size)
    if reference == 0:
        raise UndefinedError("both sources are flat")
    return (_spatial_frequency(_differences(fused), fused.size) - reference) / reference


QS = Metric(
    name="qs",
    title="Similarity to the sources, weighted by variance",
    better="higher",
    span=(-1.0, 1.0),
    colour="each channel",
    source="Piella 2003; ZL metricPeilla.m, sw 1",
    measure=_qs,
    same_as="ZL.metricPeilla1_QS",
)
QW = Metric(
    name="qw",
    title="Similarity to the sources where they vary",
    better="higher",
    span=(-1.0, 1.0),
    colour="each channel",
    source="Piella 2003; ZL metricPeilla.m, sw 2",
    measure=_qw,
    same_as="ZL.metricPeilla2_QW",
)
QC = Metric(
    name="qc",
    title="Similarity to the sources, weighted by covariance",
    better="higher",
    span=(-np.inf, np.inf),
    colour="each channel",
    source="Cvejic 2005; MEFB metricsQc.m",
    measure=_qc,
    same_as="MEFB.Qc",
)
QY = Metric(
    name="qy",
    title="Similarity to both sources, or to the better one where they differ",
    better="higher",
    span=(-np.inf, np.inf),
    colour="each channel",
    source="Yang 2008; MEFB metricsQy.m",
    measure=_qy,
    same_as="MEFB.Qy",
)
QSF = Metric(
    name="qsf",
    title="Spatial frequency against that of the sources, best at 0",
    better="neither",
    span=(-1.0, np.inf),
    colour="each channel",
    source="Zheng 2007; ZL metricZheng.m",
    measure=_qsf,
    same_as="ZL.metricZheng_QSF",
)
METRICS: tuple[Metric, ...] = (
    QS,
    QW,
    QC,
    QY,
    QSF,
    QS.named("ZL.metricPeilla1_QS", colour="grey"),
    QW.named("ZL.metricPeilla2_QW", colour="grey"),
    Metric(
        name="MEFB.Qw",
        title="Similarity of edges to those of the sources, where these vary",
        better="higher",
        span=(-1.0, 1.0),
        colour="each channel",
        source="Piella 2003, Q_E without its first factor; MEFB metricsQw.m",
        measure=_edge_qw,
    ),
    QC.named("MEFB.Qc"),
    replace(
        QC.named("ZL.metricCvejic2_QC", source="Cvejic 2005; ZL metricCvejic.m, sw 2", colour="grey"),
        measure=_strict_qc,
    ),
    QY.named("MEFB.Qy"),
    replace(QY.named("ZL.metricYang_QY", source="Yang 2008; ZL metricYang.m", colour="grey"), measure=_strict_qy),
    QSF.named("ZL.metricZheng_QSF", colour="grey"),
)
