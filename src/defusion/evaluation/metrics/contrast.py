"""QCV: how much of the difference to the sources an eye sees, weighted by the edges of the sources."""

from __future__ import annotations

import numpy as np

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, real, sobel, stretched
from defusion.evaluation.metrics.sharing import shared

_BLOCK = 16


def _blocks(plane: Plane) -> Plane:
    """Sums over blocks of 16x16. The picture is continued with zeros at the right and bottom."""
    down, across = (np.arange(0, side, _BLOCK) for side in plane.shape)
    sums: Plane = np.add.reduceat(np.add.reduceat(plane, down, axis=0), across, axis=1)
    return sums


@shared
def _salience(stretched_source: Grey) -> Plane:
    """Returns the fifth power of the gradient, summed over blocks."""
    size = sobel(stretched_source).size
    square = size * size
    return _blocks(square * square * size)


@shared
def _sensitivity(height: int, width: int) -> Plane:
    """Returns Mannos and Sakrison's contrast sensitivity at the frequencies of `rfft2`; the highest is an eighth of
    the side.
    """
    down = np.fft.fftfreq(height)[:, np.newaxis] * 2 * (height / 8)
    across = np.fft.rfftfreq(width) * 2 * (width / 8)
    radius = 0.144 * np.hypot(down, across)
    sensitivity: Plane = 2.6 * (0.0192 + radius) * np.exp(-(radius**1.1))
    return sensitivity


def _seen(stretched_source: Grey, stretched_fused: Grey) -> Plane:
    """Returns the visible part of the difference, squared and averaged over blocks."""
    difference = real(stretched_source) - real(stretched_fused)
    height, width = difference.shape
    spectrum = np.fft.rfft2(difference) * _sensitivity(height, width)
    visible = np.fft.irfft2(spectrum, s=(height, width))
    return _blocks(visible * visible) / _BLOCK**2


def _qcv(a: Grey, b: Grey, fused: Grey) -> float:
    a, b, fused = stretched(a), stretched(b), stretched(fused)
    weight_a, weight_b = _salience(a), _salience(b)
    total = weight_a.sum() + weight_b.sum()
    if total == 0:
        raise UndefinedError("the sources have no edges")
    return float((weight_a * _seen(a, fused) + weight_b * _seen(b, fused)).sum() / total)


QCV = Metric(
    name="qcv",
    title="Visible difference to the sources",
    better="lower",
    span=(0.0, np.inf),
    colour="each channel",
    source="Chen and Varshney 2007; VIFB metricsQcv.m",
    measure=_qcv,
    same_as="VIFB.Qcv",
)
METRICS: tuple[Metric, ...] = (
    QCV,
    QCV.named("VIFB.Qcv"),
    QCV.named("MEFB.Qcv", "Chen and Varshney 2007; MEFB metricsQcv.m"),
    QCV.named("ZL.metricChen_QCV", "Chen and Varshney 2007; ZL metricChen.m", "grey"),
)
