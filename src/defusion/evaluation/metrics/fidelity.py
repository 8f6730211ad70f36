"""Visual information fidelity: how much of what an eye learns from the sources it also learns from the fused picture.

At four scales and in each window, the fused picture is modelled as the source times a gain, plus noise. What an eye
can learn is the capacity of that channel; the eye itself is noisy, too. VIF adds this up for each source. VIF for
fusion (VIFF) uses only one source in each window, the one that is passed on with less gain.

In the toolkits, rounding noise has an effect: a 17x17 window full of one level seems to vary for ten levels, among
them 254. VIFF may then choose the other source. So flat windows get the noise that Octave computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, filtered, gaussian, real
from defusion.evaluation.metrics.sharing import shared
from defusion.evaluation.metrics.windows import inside, octave_gaussian, octave_sum

_SIZES = (17, 9, 5, 3)
"""Sides of the windows at each scale. Sigma is a fifth of the side."""
_LEAST = 1e-10
"""Variances below this count as zero."""
_STRIP_ROWS = 16
_LEAST_SIDE = 41
"""The shortest side that leaves a window at every scale. Before the windows, the scales have 41, 17, 7 and 3 pixels.
"""


class Window(NamedTuple):
    """Statistics of each window at one scale."""

    variance: Plane
    gain: Plane
    noise: Plane
    """Variance of the fused plane that the source does not explain."""


@shared
def _scales(plane: Grey) -> tuple[Plane, ...]:
    """Returns the plane at four scales, each half as large as the one before."""
    if min(plane.shape) < _LEAST_SIDE:
        raise UndefinedError(f"the metric needs pictures of {_LEAST_SIDE}x{_LEAST_SIDE} pixels or more")
    scales = [real(plane)]
    for size in _SIZES[1:]:
        scales.append(np.ascontiguousarray(filtered(scales[-1], gaussian(size, size / 5))[::2, ::2]))
    return tuple(scales)


class _Flat(NamedTuple):
    """Octave's moments, at one scale, of windows full of level v, for v of 0 to 255: [256]."""

    levels: Plane
    """The value that the earlier scales make of v."""
    mean: Plane
    variance: Plane
    """Rounding noise. If it exceeds `_LEAST`, the toolkits see a varying window."""


@cache
def _flat_windows() -> tuple[_Flat, ...]:
    levels = np.arange(256.0)
    found: list[_Flat] = []
    for size in _SIZES:
        window = octave_gaussian(size, size / 5).ravel()
        if found:
            levels = octave_sum(window * levels[:, None])
        mean = octave_sum(window * levels[:, None])
        variance = octave_sum(window * (levels * levels)[:, None]) - mean * mean
        found.append(_Flat(levels, mean, np.maximum(variance, 0)))
    return tuple(found)


@shared
def _flat_levels(plane: Grey) -> tuple[NDArray[np.int16], ...]:
    """Returns, for each scale, the level of each window that has only one, else -1."""
    found = []
    for scale, size in zip(_scales(plane), _SIZES, strict=True):
        square = np.ones((size, size), np.uint8)
        spread = np.asarray(cv2.dilate(scale, square) - cv2.erode(scale, square))
        levels = np.where(spread < 1e-9, np.rint(scale), -1).astype(np.int16)
        found.append(inside(levels, size))
    return tuple(found)


@shared
def _means(plane: Grey) -> tuple[Plane, ...]:
    """The mean in the windows of each scale."""
    return tuple(
        filtered(scale, gaussian(size, size / 5)) for scale, size in zip(_scales(plane), _SIZES, strict=True)
    )


@shared
def _variances(plane: Grey) -> tuple[Plane, ...]:
    """The variance in the windows of each scale."""
    found = []
    for k, size in enumerate(_SIZES):
        scale, mean, levels = _scales(plane)[k], _means(plane)[k], _flat_levels(plane)[k]
        variance = np.maximum(filtered(scale * scale, gaussian(size, size / 5)) - mean * mean, 0)
        found.append(np.where(levels >= 0, _flat_windows()[k].variance[levels], variance))
    return tuple(found)


def _flat_covariances(source: NDArray[np.int16], fused: NDArray[np.int16], flat: _Flat, size: int) -> Plane:
    """Returns Octave's covariance, which is rounding noise, for windows with one level each, [N] and [N] to [N]."""
    pairs, where = np.unique(source.astype(np.intp) * 256 + fused, return_inverse=True)
    v, f = pairs // 256, pairs % 256
    window = octave_gaussian(size, size / 5).ravel()
    products = octave_sum(window * (flat.levels[v] * flat.levels[f])[:, None])
    noise: Plane = (products - flat.mean[v] * flat.mean[f])[where]
    return noise


def _octave_filter(plane: Plane, size: int) -> Plane:
    """Returns the mean in each window. It adds like Octave, from the last column and row: [H - size + 1, W - size +
    1].
    """
    window = octave_gaussian(size, size / 5)
    height, width = (side - size + 1 for side in plane.shape)
    mean, weighted = np.zeros((height, width)), np.empty((height, width))
    for column in reversed(range(size)):
        for row in reversed(range(size)):
            mean += np.multiply(plane[row : row + height, column : column + width], window[row, column], out=weighted)
    return mean


def _covariance(source: Grey, fused: Grey, k: int) -> Plane:
    """Returns the covariance in the windows of a scale; that of Octave where it is only rounding noise."""
    size, flat = _SIZES[k], _flat_windows()[k]
    s, f = _scales(source)[k], _scales(fused)[k]
    covariance = filtered(s * f, gaussian(size, size / 5)) - _means(source)[k] * _means(fused)[k]
    levels_s, levels_f = _flat_levels(source)[k], _flat_levels(fused)[k]
    both = (levels_s >= 0) & (levels_f >= 0)
    covariance[both] = _flat_covariances(levels_s[both], levels_f[both], flat, size)
    if k == 0:
        # Later scales differ from Octave's in the last bits, and hardly any level makes noise there.
        seems_to_vary = np.append(flat.variance >= _LEAST, False)
        noisy = (seems_to_vary[levels_s] | seems_to_vary[levels_f]) & ~both
        # Works on a strip of windows at a time, so that the sums stay in the cache of a core.
        for top in range(0, len(noisy), _STRIP_ROWS):
            strip, part = slice(top, top + _STRIP_ROWS), slice(top, top + _STRIP_ROWS + size - 1)
            if noisy[strip].any():
                rows_s, rows_f = s[part], f[part]
                product, mean_s, mean_f = (_octave_filter(rows, size) for rows in (rows_s * rows_f, rows_s, rows_f))
                covariance[strip] = np.where(noisy[strip], product - mean_s * mean_f, covariance[strip])
    return covariance


def _windows(source: Grey, fused: Grey) -> Iterator[Window]:
    """Yields, scale by scale, how the fused plane follows from the source."""
    for k, (var_s, var_f) in enumerate(zip(_variances(source), _variances(fused), strict=True)):
        covariance = _covariance(source, fused, k)
        gain = covariance / (var_s + _LEAST)
        noise = var_f - gain * covariance
        flat_source, flat_fused = var_s < _LEAST, var_f < _LEAST
        unlike = flat_source | flat_fused | (gain < 0)
        gain[unlike] = 0
        noise[unlike] = var_f[unlike]
        yield Window(np.where(flat_source, 0, var_s), gain, np.maximum(noise, _LEAST))


def _passed_on(window: Window, eye_noise: float) -> Plane:
    """Returns what can be learned about the source from the fused plane, in decimal digits."""
    learnt: Plane = np.log10(1 + window.gain**2 * window.variance / (window.noise + eye_noise))
    return learnt


def _there(window: Window, eye_noise: float) -> Plane:
    """Returns what can be learned from the source itself, in decimal digits."""
    learnt: Plane = np.log10(1 + window.variance / eye_noise)
    return learnt


@shared
def _vif(source: Grey, fused: Grey) -> float:
    passed_on = there = 0.0
    for window in _windows(source, fused):
        passed_on += float(_passed_on(window, 2.0).sum())
        there += float(_there(window, 2.0).sum())
    if there == 0:
        raise UndefinedError("a source is flat")
    return passed_on / there


def _sum(a: Grey, b: Grey, fused: Grey) -> float:
    return _vif(a, fused) + _vif(b, fused)


def _vif_or_one(source: Grey, fused: Grey) -> float:
    try:
        return _vif(source, fused)
    except UndefinedError:
        if min(source.shape) < _LEAST_SIDE:
            raise
        return 1.0


def _sum_or_one(a: Grey, b: Grey, fused: Grey) -> float:
    return _vif_or_one(a, fused) + _vif_or_one(b, fused)


_EYE_NOISE = 0.005 * 255**2
_TINY = 1e-7
# Han's weights of the scales, from fine to coarse.
_WEIGHTS = np.array([1, 0, 0.15, 1]) / 2.15


def _viff(a: Grey, b: Grey, fused: Grey) -> float:
    ratios = []
    for of_a, of_b in zip(_windows(a, fused), _windows(b, fused), strict=True):
        weaker = of_a.gain < of_b.gain
        passed_on = np.where(weaker, _passed_on(of_a, _EYE_NOISE), _passed_on(of_b, _EYE_NOISE)) + _TINY
        there = np.where(weaker, _there(of_a, _EYE_NOISE), _there(of_b, _EYE_NOISE)) + _TINY
        ratios.append(passed_on.sum() / there.sum())
    return float(_WEIGHTS @ np.array(ratios))


VIF = Metric(
    name="vif",
    title="Visual information fidelity, summed over the sources",
    better="higher",
    span=(0.0, np.inf),
    colour="each channel",
    source="Sheikh and Bovik 2006, in the pixel domain; Tang vifp_mscale.m",
    measure=_sum,
    same_as="Tang.VIF",
)
VIFF = Metric(
    name="viff",
    title="Visual information fidelity for fusion",
    better="higher",
    span=(0.0, np.inf),
    colour="each channel",
    source="Han 2013; MEFB metricsVIF.m",
    measure=_viff,
    same_as="MEFB.VIF",
)
METRICS: tuple[Metric, ...] = (
    VIF,
    VIFF,
    VIF.named("Tang.VIF", colour="grey"),
    replace(
        VIF.named(
            "CDDFuse.VIFF",
            source="Sheikh and Bovik 2006, in the pixel domain; CDDFuse Evaluator.VIFF",
            colour="grey",
        ),
        measure=_sum_or_one,
    ),
    VIFF.named("MEFB.VIF"),
)
