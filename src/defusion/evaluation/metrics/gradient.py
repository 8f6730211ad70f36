"""Metrics of gradients: how strong they are in the fused picture, and how much it keeps of the sources' gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, real, sobel
from defusion.evaluation.metrics.sharing import shared

#: The ZL toolkit replaces zeros by this value before it divides.
_TINY = 0.00001


@shared
def _squared_steps(plane: Grey) -> tuple[float, float]:
    """Sums of the squared differences of neighbours, across and down."""
    levels = real(plane)
    across, down = np.diff(levels, axis=1), np.diff(levels, axis=0)
    return float(np.square(across).sum()), float(np.square(down).sum())


def _spatial_frequency(a: Grey, b: Grey, fused: Grey) -> float:
    return math.sqrt(sum(_squared_steps(fused)) / fused.size)


def _spatial_frequency_of_means(a: Grey, b: Grey, fused: Grey) -> float:
    height, width = _two_by_two(fused)
    across, down = _squared_steps(fused)
    return math.sqrt(across / (height * (width - 1)) + down / ((height - 1) * width))


def _two_by_two(plane: Grey) -> tuple[int, int]:
    """Returns height and width; both have to be at least 2."""
    height, width = plane.shape
    if min(height, width) < 2:
        raise UndefinedError("a picture of one row or one column has no gradient")
    return height, width


@shared
def _summed_slope(plane: Grey) -> float:
    """Returns the sum of sqrt((gx^2 + gy^2) / 2) over all pixels; differences are central, one-sided at
    the borders.
    """
    _two_by_two(plane)
    down, across = np.gradient(real(plane))
    return float(np.sqrt((across**2 + down**2) / 2).sum())


def _average_gradient(a: Grey, b: Grey, fused: Grey) -> float:
    height, width = _two_by_two(fused)
    return _summed_slope(fused) / ((height - 1) * (width - 1))


def _average_gradient_of_all(a: Grey, b: Grey, fused: Grey) -> float:
    return _summed_slope(fused) / fused.size


def _edge_intensity(a: Grey, b: Grey, fused: Grey) -> float:
    levels = real(fused)
    x, y = (cv2.Sobel(levels, cv2.CV_64F, dx, 1 - dx, borderType=cv2.BORDER_REPLICATE) for dx in (1, 0))
    return float(np.hypot(x, y).mean())


@shared
def _angle(plane: Grey) -> Plane:
    """Returns atan(y / x), pi/2 where x is 0. Signs are those of MATLAB's conv2, whose x points left."""
    x, y, _ = sobel(plane)
    upright = x == 0
    angle: Plane = np.where(upright, np.pi / 2, np.arctan(-y / np.where(upright, 1, x)))
    return angle


@shared
def _kept(source: Grey, fused: Grey, scale: float) -> Plane:
    """Returns how much of a source's edges the fused picture keeps, by strength and by direction."""
    size, fused_size = sobel(source).size, sobel(fused).size
    weak, strong = np.minimum(size, fused_size), np.maximum(size, fused_size)
    # Where both are equally strong, the toolkits use that strength instead of the ratio 1.
    ratio = np.where(weak == strong, weak * scale, weak / np.where(strong == 0, 1, strong))
    turn = 1 - np.abs(_angle(source) - _angle(fused)) / (np.pi / 2)
    kept: Plane = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * (0.9879 / (1 + np.exp(-22 * (turn - 0.8))))
    return kept


def _qabf_of_levels(a: Grey, b: Grey, fused: Grey, scale: float) -> float:
    size_a, size_b = sobel(a).size, sobel(b).size
    total = size_a.sum() + size_b.sum()
    if total == 0:
        raise UndefinedError("the sources have no edges")
    return float((_kept(a, fused, scale) * size_a + _kept(b, fused, scale) * size_b).sum() / total)


def _qabf(a: Grey, b: Grey, fused: Grey) -> float:
    return _qabf_of_levels(a, b, fused, 1.0)


def _qabf_vifb(a: Grey, b: Grey, fused: Grey) -> float:
    # VIFB and MEFB treat levels of 0..255 as levels of 0..1 and multiply them by 255 again.
    return _qabf_of_levels(a, b, fused, 255.0)


def _nonzero(plane: Plane) -> Plane:
    return np.where(plane == 0, _TINY, plane)


def _qg(a: Grey, b: Grey, fused: Grey) -> float:
    sizes = [_nonzero(sobel(source).size) for source in (a, b)]
    kept = [_kept_zl(source, fused, size) for source, size in zip((a, b), sizes, strict=True)]
    return float(((kept[0] * sizes[0] + kept[1] * sizes[1]) / (sizes[0] + sizes[1])).mean())


def _kept_zl(source: Grey, fused: Grey, size: Plane) -> Plane:
    fused_size = _nonzero(sobel(fused).size)
    ratio = np.minimum(size, fused_size) / np.maximum(size, fused_size)
    turn = np.abs(np.abs(_angle_zl(source) - _angle_zl(fused)) - np.pi / 2) * 2 / np.pi
    kept: Plane = 1 / (1 + np.exp(-10 * (ratio - 0.5))) / (1 + np.exp(-20 * (turn - 0.75)))
    return kept


@shared
def _angle_zl(plane: Grey) -> Plane:
    x, y, _ = sobel(plane)
    angle: Plane = np.arctan(y / _nonzero(x))
    return angle


SF = Metric(
    name="sf",
    title="Spatial frequency of the fused picture",
    better="higher",
    span=(0.0, 255 * math.sqrt(2)),
    colour="each channel",
    source="Eskicioglu and Fisher 1995; MEFB metricsSpatial_frequency.m",
    measure=_spatial_frequency,
    same_as="MEFB.Spatial_frequency",
)
_SF_OF_MEANS = replace(
    SF,
    name="Tang.SF",
    title="Spatial frequency, means over the differences there are",
    colour="grey",
    source="Eskicioglu and Fisher 1995; Tang SF_evaluation.m",
    measure=_spatial_frequency_of_means,
    same_as=None,
)
AG = Metric(
    name="ag",
    title="Average gradient of the fused picture",
    better="higher",
    span=(0.0, math.inf),
    colour="each channel",
    source="Cui 2015; VIFB metricsAvg_gradient.m",
    measure=_average_gradient,
    same_as="VIFB.Avg_gradient",
)
EI = Metric(
    name="ei",
    title="Edge intensity of the fused picture",
    better="higher",
    span=(0.0, 1020 * math.sqrt(2)),
    colour="each channel",
    source="Rajalingam and Priya 2018; VIFB metricsEdge_intensity.m",
    measure=_edge_intensity,
    same_as="VIFB.Edge_intensity",
)
QABF = Metric(
    name="qabf",
    title="Edges of the sources that are kept",
    better="higher",
    span=(0.0, 1.0),
    colour="each channel",
    source="Xydeas and Petrovic 2000; VIFB metricsQabf.m",
    measure=_qabf_vifb,
    same_as="VIFB.Qabf",
)
_QABF_GREY = replace(
    QABF,
    name="Tang.Qabf",
    colour="grey",
    source="Xydeas and Petrovic 2000; Tang analysis_Qabf.m",
    measure=_qabf,
    same_as=None,
)
QG = Metric(
    name="qg",
    title="Edges of the sources that are kept, pixel by pixel",
    better="higher",
    span=(0.0, 1.0),
    colour="each channel",
    source="Xydeas and Petrovic 2000; ZL metricXydeas.m",
    measure=_qg,
    same_as="ZL.metricXydeas_QG",
)
METRICS: tuple[Metric, ...] = (
    SF,
    SF.named("MEFB.Spatial_frequency"),
    SF.named("VIFB.Spatial_frequency", "Eskicioglu and Fisher 1995; VIFB metricsSpatial_frequency.m", "wide"),
    _SF_OF_MEANS,
    _SF_OF_MEANS.named("CDDFuse.SF", "Eskicioglu and Fisher 1995; CDDFuse Evaluator.SF"),
    AG,
    AG.named("VIFB.Avg_gradient"),
    AG.named("MEFB.Avg_gradient", "Cui 2015; MEFB metricsAvg_gradient.m"),
    AG.named("Tang.AG", "Cui 2015; Tang AG_evaluation.m", "grey"),
    replace(
        AG,
        name="CDDFuse.AG",
        title="Average gradient, mean over all pixels",
        colour="grey",
        source="Cui 2015; CDDFuse Evaluator.AG",
        measure=_average_gradient_of_all,
        same_as=None,
    ),
    EI,
    EI.named("VIFB.Edge_intensity"),
    EI.named("MEFB.Edge_intensity", "Rajalingam and Priya 2018; MEFB metricsEdge_intensity.m"),
    QABF,
    QABF.named("VIFB.Qabf"),
    QABF.named("MEFB.Qabf", "Xydeas and Petrovic 2000; MEFB metricsQabf.m"),
    _QABF_GREY,
    _QABF_GREY.named("CDDFuse.Qabf", "Xydeas and Petrovic 2000; CDDFuse Evaluator.Qabf"),
    QG,
    QG.named("ZL.metricXydeas_QG", colour="grey"),
)
