"""N_abf: edges of the fused picture that neither source has, which the fusion invented."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from defusion.evaluation.metrics.metric import Grey, Metric
from defusion.evaluation.metrics.planes import Plane, real
from defusion.evaluation.metrics.sharing import shared

# Petrovic's logistic curves as in Shreyamsha Kumar's code: height and steepness. Both are centred at one half.
_STRENGTH_CURVE = (0.9999, 19.0)
_ANGLE_CURVE = (0.9995, 22.0)


class _Edges(NamedTuple):
    strength: Plane
    angle: Plane
    """-pi/2 to pi/2; 0 where there is no edge."""


@shared
def _edges(plane: Grey) -> _Edges:
    """Returns Sobel's edges. The picture is mirrored at its border pixels."""
    x, y = (np.asarray(cv2.Sobel(real(plane), cv2.CV_64F, dx, 1 - dx, scale=1 / 8), np.float64) for dx in (1, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where((x == 0) & (y == 0), 0, np.arctan(x / y))
    return _Edges(np.sqrt(x * x + y * y), angle)


def _logistic(value: Plane, curve: tuple[float, float]) -> Plane:
    height, steepness = curve
    return height / (1 + np.exp(-steepness * (value - 0.5)))


def _kept(source: _Edges, fused: _Edges) -> Plane:
    """Returns how much of each edge of the source the fused plane keeps, 0 to 1."""
    weaker, stronger = np.minimum(source.strength, fused.strength), np.maximum(source.strength, fused.strength)
    ratio = np.divide(weaker, stronger, out=np.zeros_like(weaker), where=stronger > 0)
    agreement = np.abs(np.abs(source.angle - fused.angle) - np.pi / 2) * 2 / np.pi
    return np.sqrt(_logistic(ratio, _STRENGTH_CURVE) * _logistic(agreement, _ANGLE_CURVE))


def _weight(source: _Edges) -> Plane:
    """Returns the weight of each edge of the source, which is close to zero where the edge is weak."""
    return np.where(source.strength >= 2, source.strength**1.5, 0.001)


def _nabf(a: Grey, b: Grey, fused: Grey) -> float:
    of_a, of_b, of_fused = _edges(a), _edges(b), _edges(fused)
    made_up = (of_fused.strength > of_a.strength) & (of_fused.strength > of_b.strength)
    weight_a, weight_b = _weight(of_a), _weight(of_b)
    lost = (1 - _kept(of_a, of_fused)) * weight_a + (1 - _kept(of_b, of_fused)) * weight_b
    return float(lost[made_up].sum() / (weight_a + weight_b).sum())


NABF = Metric(
    name="nabf",
    title="Edges that neither source has",
    better="lower",
    span=(0.0, 1.0),
    colour="each channel",
    source="Petrovic 2005, as Shreyamsha Kumar 2013 changed it; Tang analysis_nabf.m",
    measure=_nabf,
    same_as="Tang.Nabf",
)
METRICS: tuple[Metric, ...] = (NABF, NABF.named("Tang.Nabf", colour="grey"))
