"""Q_M of Wang and Liu: how close the fused picture's details are to its sources', in Haar wavelets of two scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import real
from defusion.evaluation.metrics.sharing import shared
from defusion.evaluation.metrics.windows import need_pixels

Details = NDArray[np.float64]
"""[3, H/2, W/2]: differences of rows, of columns, and of diagonals."""

_POWERS = (2 / 3, 1 / 3)
"""Weight of the fine and of the coarse scale."""


@shared
def _details(plane: Grey) -> tuple[Details, Details]:
    """Returns the fine and the coarse details. An odd last row or column is left out at each scale."""
    need_pixels(plane, 4)
    found, rest = [], real(plane)
    for _ in _POWERS:
        height, width = (side // 2 * 2 for side in rest.shape)
        upper, lower = rest[:height:2, :width], rest[1:height:2, :width]
        mean, difference = upper + lower, lower - upper
        found.append(
            np.stack(
                [
                    difference[:, ::2] + difference[:, 1::2],
                    mean[:, 1::2] - mean[:, ::2],
                    difference[:, 1::2] - difference[:, ::2],
                ]
            )
            / 2
        )
        rest = (mean[:, ::2] + mean[:, 1::2]) / 2
    return found[0], found[1]


def _nearness(source: Details, fused: Details) -> NDArray[np.float64]:
    """Returns 3 where all details are equal; it falls towards 0 as they differ."""
    nearness: NDArray[np.float64] = np.exp(-np.abs(source - fused)).sum(0)
    return nearness


def _qm(a: Grey, b: Grey, fused: Grey) -> float:
    product = 1.0
    for of_a, of_b, of_fused, power in zip(_details(a), _details(b), _details(fused), _POWERS, strict=True):
        weight_a, weight_b = (of_a**2).sum(0), (of_b**2).sum(0)
        total = weight_a.sum() + weight_b.sum()
        if total == 0:
            raise UndefinedError("both sources are flat")
        near = np.vdot(_nearness(of_a, of_fused), weight_a) + np.vdot(_nearness(of_b, of_fused), weight_b)
        product *= float(near / total) ** power
    return product


QM = Metric(
    name="qm",
    title="Nearness of wavelet details to those of the sources",
    better="higher",
    span=(0.0, 3.0),
    colour="each channel",
    source="Wang 2008; ZL metricPWW.m",
    measure=_qm,
    same_as="ZL.metricPWW_QM",
)
METRICS: tuple[Metric, ...] = (QM, QM.named("ZL.metricPWW_QM", colour="grey"))
