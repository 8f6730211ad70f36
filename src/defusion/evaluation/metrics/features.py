"""Feature mutual information (FMI): how much features of the fused picture tell about those of its sources.

Each 3x3 window of a plane of features (edges, gradients or DCT) is read as a distribution over its nine pixels. The
joint distribution of two such windows is not known. Haghighat uses Nelsen's mixture: partly independent, partly as
dependent as two such distributions can be, in the proportion that gives their correlation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from defusion.evaluation.metrics.metric import Grey, Metric
from defusion.evaluation.metrics.planes import Plane, real
from defusion.evaluation.metrics.windows import need_pixels

T = TypeVar("T", bound=np.generic)
Real = NDArray[np.float32]

_RANKS = np.arange(-4, 5, dtype=np.float32)[:, None]
"""Ranks of the nine pixels of a window, centred."""

_BLOCK_WINDOWS = 4096
"""Number of windows that are worked on at a time, so that they stay in the cache of a core."""


class _Windows(NamedTuple):
    """Windows as distributions over their nine pixels, [9, N], with their statistics, [N]."""

    features: Plane
    density: Real
    centred: Real
    bits: Real
    """The entropy."""
    deviation: Real
    """The standard deviation of a pixel's rank."""


def _windows(features: Plane) -> _Windows:
    low, high = features.min(0), features.max(0)
    flat = low == high
    stretched = np.where(flat, 1, features - low) / np.where(flat, 1, high - low)
    density = (stretched / stretched.sum(0)).astype(np.float32)
    mean = (_RANKS * density).sum(0)
    deviation = np.sqrt(np.maximum((_RANKS**2 * density).sum(0) - mean**2, 0))
    # A window with a single pixel has no deviation; rounding must not give it one.
    deviation[density.max(0) == 1] = 0
    return _Windows(features, density, density - density.mean(0), _bits(density).sum(0), deviation)


def _bits(density: Real) -> Real:
    """Returns -p log2 |p|, and 0 for 0. Densities can be negative where the mixture overshoots."""
    bits: Real = np.log(np.maximum(np.abs(density), np.float32(1e-30)))
    bits *= density
    bits *= np.float32(-1 / np.log(2))
    return bits


def _correlation(a: _Windows, b: _Windows) -> Real:
    """Returns Pearson's correlation of densities. Two flat windows count as the same distribution."""
    flat_a, flat_b = (each.density.min(0) == each.density.max(0) for each in (a, b))
    scale = np.sqrt((a.centred**2).sum(0) * (b.centred**2).sum(0))
    found: Real = (a.centred * b.centred).sum(0) / np.where(flat_a | flat_b, np.float32(1), scale)
    return np.where(flat_a | flat_b, (flat_a & flat_b).astype(np.float32), found)


def _cumulated(density: Real) -> Real:
    """Returns cumulative sums over rows. This is several times as fast as `cumsum` for few long rows."""
    sums = density.copy()
    for k in range(1, len(sums)):
        sums[k] += sums[k - 1]
    return sums


def _shared_information(source: _Windows, fused: _Windows) -> Real:
    """Normalised mutual information in each window, [N]; 1 where the features are equal."""
    correlation = _correlation(source, fused)
    # Two distributions are least dependent when one matches the reverse of the other most closely.
    p, q = np.where(correlation < 0, source.density[::-1], source.density), fused.density
    above_p, above_q = _cumulated(p), _cumulated(q)
    below_p, below_q = above_p - p, above_q - q
    closest = [np.minimum(above_q[k], above_p) - np.maximum(below_q[k], below_p) for k in range(9)]
    by_rank = np.zeros_like(p)
    for k, row in enumerate(closest):
        np.maximum(row, 0, out=row)
        by_rank += _RANKS[k] * row
    covariance = (_RANKS * by_rank).sum(0) - (_RANKS * p).sum(0) * (_RANKS * q).sum(0)
    independent = (source.deviation == 0) | (fused.deviation == 0)
    spread = np.abs(correlation) * source.deviation * fused.deviation
    share = np.where(independent, np.float32(0), spread / np.where(independent, np.float32(1), covariance))
    joint_bits = np.zeros_like(share)
    for k, row in enumerate(closest):
        row *= share
        row += ((1 - share) * q[k]) * p
        joint_bits += _bits(row).sum(0)
    bits = source.bits + fused.bits
    information: Real = np.zeros_like(bits)
    np.divide(2 * (bits - joint_bits), bits, out=information, where=bits > 0)
    information[(source.features == fused.features).all(0)] = 1
    return information


def _mean_information(a: Plane, b: Plane, fused: Plane) -> Real:
    """Returns the mean over both sources in each window, [9, N] to [N]."""
    of_fused = _windows(fused)
    both = _shared_information(_windows(a), of_fused) + _shared_information(_windows(b), of_fused)
    return both * np.float32(0.5)


def _pixels(plane: NDArray[T]) -> list[NDArray[T]]:
    """Returns the nine pixels of each 3x3 window, column by column as in MATLAB, each [H - 2, W - 2]."""
    height, width = plane.shape
    return [plane[i : height - 2 + i, j : width - 2 + j] for j in range(3) for i in range(3)]


def _fmi(feature: Callable[[Grey], Plane], a: Grey, b: Grey, fused: Grey) -> float:
    need_pixels(fused, 3)
    planes = [feature(picture) for picture in (a, b, fused)]
    rows = max(1, _BLOCK_WINDOWS // fused.shape[1])
    total = 0.0
    for top in range(0, fused.shape[0] - 2, rows):
        blocks = [np.stack([p.ravel() for p in _pixels(plane[top : top + rows + 2])]) for plane in planes]
        total += float(_mean_information(*blocks).sum(dtype=np.float64))
    return total / float((fused.shape[0] - 2) * (fused.shape[1] - 2))


def _edges(plane: Grey) -> NDArray[np.uint8]:
    """Returns 1 on the ridges of Sobel's edges, as MATLAB's `edge` with its automatic threshold; 0 on the border."""
    x, y = (
        cv2.Sobel(real(plane), cv2.CV_64F, dx, 1 - dx, scale=1 / 8, borderType=cv2.BORDER_REPLICATE) for dx in (1, 0)
    )
    power = np.asarray(x * x + y * y, np.float64)
    x, y = np.abs(x[1:-1, 1:-1]), np.abs(y[1:-1, 1:-1])
    here, slack = power[1:-1, 1:-1], 100 * np.finfo(np.float64).eps
    across = (x >= y - slack) & (power[1:-1, :-2] <= here) & (here > power[1:-1, 2:])
    down = (y >= x - slack) & (power[:-2, 1:-1] <= here) & (here > power[2:, 1:-1])
    edges = np.zeros(plane.shape, np.uint8)
    edges[1:-1, 1:-1] = (here > 4 * power.mean()) & (across | down)
    return edges


def _patterns(edges: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Returns the number, of 512, of the edge pattern in each window."""
    patterns = np.zeros((edges.shape[0] - 2, edges.shape[1] - 2), np.intp)
    for bit, pixel in enumerate(_pixels(edges)):
        patterns |= pixel.astype(np.intp) << bit
    return patterns


def _edge_fmi(a: Grey, b: Grey, fused: Grey) -> float:
    need_pixels(fused, 3)
    of_a, of_b, of_fused = (_patterns(_edges(picture)) for picture in (a, b, fused))
    # Few of all pairs of patterns occur, and each is measured once.
    counts = np.bincount((of_a << 9 | of_fused).ravel(), minlength=1 << 18)
    counts += np.bincount((of_b << 9 | of_fused).ravel(), minlength=1 << 18)
    pairs = np.flatnonzero(counts)
    source, with_fused = (
        (pattern >> np.arange(9)[:, None] & 1).astype(np.float64) for pattern in (pairs >> 9, pairs)
    )
    information = _shared_information(_windows(source), _windows(with_fused))
    return float(np.average(information, weights=counts[pairs]))


def _gradient(plane: Grey) -> Plane:
    """Returns the gradient along rows: central differences, one-sided at the ends."""
    along: Plane = np.gradient(real(plane), axis=1)
    return along


def _dct(plane: Grey) -> Plane:
    """Returns the DCT of the whole plane."""
    coefficients: Plane = fft.dctn(real(plane), norm="ortho")
    return coefficients


FMI = Metric(
    name="fmi",
    title="Mutual information of edges",
    better="higher",
    span=(0.0, 1.0),
    colour="each channel",
    source="Haghighat 2014; MEFB metricsFMI.m",
    measure=_edge_fmi,
    same_as="MEFB.FMI",
)
TANG = FMI.named("Tang.FMI_pixel", source="Haghighat 2014; Tang analysis_fmi.m", colour="grey")
METRICS: tuple[Metric, ...] = (
    FMI,
    FMI.named("MEFB.FMI"),
    TANG,
    replace(
        TANG,
        name="Tang.FMI_gradient",
        title="Mutual information of gradients",
        measure=partial(_fmi, _gradient),
    ),
    replace(TANG, name="Tang.FMI_dct", title="Mutual information of DCT coefficients", measure=partial(_fmi, _dct)),
)
