"""Q_P of Zhao et al.: how well the fused picture keeps the phase congruency of its sources.

Where waves of all lengths agree in phase there is an edge or a corner, whatever its contrast (Kovesi). Three planes
tell of it: the congruency, and its greatest and least moment over directions, for edges and for corners.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, gaussian, real
from defusion.evaluation.metrics.sharing import shared
from defusion.evaluation.metrics.windows import filtered_same, need_pixels

# Kovesi's phasecong3 with the values of Liu's revision of it.
_SCALES = 4
_DIRECTIONS = 6
_SHORTEST_WAVE_PX = 3
_SCALE_STEP = 2.1
_BANDWIDTH = 0.55
_ANGULAR_SIGMA = np.pi / _DIRECTIONS / 1.2
_NOISE_SIGMAS = 2.0
_NOISE_OVERESTIMATE = 1.7
_CUT_OFF = 0.5
_GAIN = 10
_EPSILON = 1e-4

_STRIP_PIXELS = 16384
"""Pixels that are worked on at a time; their planes stay in the cache of a core."""


class Congruency(NamedTuple):
    """The phase congruency of a plane."""

    total: Plane
    edges: Plane
    """The greatest moment over directions."""
    corners: Plane
    """The least moment."""


class _Filters(NamedTuple):
    """Filters over the frequencies of an FFT, in float32; one of a scale and a direction is their product."""

    scales: NDArray[np.float32]
    directions: NDArray[np.float32]
    noise: Plane
    """The energy of noise in each direction, over the root of the median power that it has at the finest scale."""


def _centred(n: int) -> Plane:
    """Liu's frequencies of n samples, from -1/2 up: those of an odd number are stretched to end at 1/2."""
    steps = np.arange(n) - n // 2
    return steps / (n - 1 if n % 2 else n)


@shared
def _filters(shape: tuple[int, int]) -> _Filters:
    y, x = _centred(shape[0])[:, None], _centred(shape[1])
    radius = fft.ifftshift(np.sqrt(x**2 + y**2))
    radius[0, 0] = 1
    octaves = np.log(radius)
    low_pass = _low_pass(shape)
    low_pass[0, 0] = 0
    scales = []
    for scale in range(_SCALES):
        wave = _SHORTEST_WAVE_PX * _SCALE_STEP**scale
        scales.append(np.exp(-((octaves + np.log(wave)) ** 2) / (2 * np.log(_BANDWIDTH) ** 2)) * low_pass)
    together = sum(scales[1:], scales[0])
    angle = fft.ifftshift(np.arctan2(-y, x))
    directions, noise = [], []
    for direction in range(_DIRECTIONS):
        apart = np.abs(angle - direction * np.pi / _DIRECTIONS)
        apart = np.minimum(apart, 2 * np.pi - apart)
        directions.append(np.exp(-(apart**2) / (2 * _ANGULAR_SIGMA**2)))
        noise.append(_noise(scales[0] * directions[-1], together * directions[-1]))
    return _Filters(np.stack(scales, dtype=np.float32), np.stack(directions, dtype=np.float32), np.array(noise))


def _low_pass(shape: tuple[int, int]) -> Plane:
    """A Butterworth filter. Kovesi shifts it by fftshift, which puts its centre one off where a side is odd."""
    y, x = ((np.arange(n) - n // 2) / n / 0.45 for n in shape)
    r2 = y[:, None] ** 2 + x**2
    r6 = r2 * r2 * r2
    whole: Plane = fft.fftshift(1 / (1 + r6 * r6 * r6 * r6 * r6))
    return whole


def _noise(finest: Plane, together: Plane) -> float:
    """The energy that noise alone has in one direction, if its median power at the finest scale is 1.

    Args:
        finest: The filter of the finest scale in this direction.
        together: The sum of the filters of all scales.
    """
    power = 1 / np.log(2) / np.vdot(finest, finest)
    # The sum over pixels of all products of the even filters; Parseval gives it without going to pixels.
    mirrored = np.roll(together[::-1, ::-1], (1, 1), (0, 1))
    tau = np.sqrt(power * (np.vdot(together, together) + np.vdot(together, mirrored)) / 2)
    return float(tau * (np.sqrt(np.pi / 2) + _NOISE_SIGMAS * np.sqrt(2 - np.pi / 2)) / _NOISE_OVERESTIMATE)


class _Direction(NamedTuple):
    energy: NDArray[np.float32]
    amplitude: NDArray[np.float32]


def _in_direction(responses: list[NDArray[np.complex64]], noise: float) -> _Direction:
    """The energy that agrees in phase over the scales, less that of noise, and the sum of amplitudes."""
    amplitudes = [np.sqrt(each.real**2 + each.imag**2) for each in responses]
    amplitude = sum(amplitudes[1:], amplitudes[0])
    total = sum(responses[1:], responses[0])
    power = total.real**2 + total.imag**2
    for each in responses:
        power -= np.abs(each.imag * total.real - each.real * total.imag)
    energy = np.maximum(power / (np.sqrt(total.real**2 + total.imag**2) + _EPSILON) - noise, 0)
    width = amplitude / (np.maximum.reduce(amplitudes) + _EPSILON) / _SCALES
    return _Direction(energy / (1 + np.exp((_CUT_OFF - width) * _GAIN)), amplitude)


@shared
def congruency(plane: Grey) -> Congruency:
    """The phase congruency of a plane.

    Raises:
        UndefinedError: The plane is flat, or a line.
    """
    need_pixels(plane, 2)
    if plane.min() == plane.max():
        raise UndefinedError("a picture of one value has no phase")
    spectrum = fft.fft2(real(plane)).astype(np.complex64)
    filters = _filters(plane.shape)
    sums = np.zeros((5, *plane.shape), np.float32)
    energy, amplitude, xx, yy, xy = sums
    rows = max(1, _STRIP_PIXELS // plane.shape[1])
    for k, direction in enumerate(filters.directions):
        turned = spectrum * direction
        responses = [fft.ifft2(turned * scale, overwrite_x=True) for scale in filters.scales]
        noise = float(filters.noise[k] * np.sqrt(np.median(responses[0].real ** 2 + responses[0].imag ** 2)))
        cos, sin = np.cos(k * np.pi / _DIRECTIONS), np.sin(k * np.pi / _DIRECTIONS)
        for top in range(0, plane.shape[0], rows):
            strip = slice(top, top + rows)
            found = _in_direction([each[strip] for each in responses], noise)
            energy[strip] += found.energy
            amplitude[strip] += found.amplitude
            square = (found.energy / found.amplitude) ** 2
            xx[strip] += square * cos**2
            yy[strip] += square * sin**2
            xy[strip] += square * (cos * sin)
    energy, amplitude, xx, yy, xy = sums.astype(np.float64)
    xx, yy, xy = xx / (_DIRECTIONS / 2), yy / (_DIRECTIONS / 2), xy / _DIRECTIONS
    spread = np.sqrt(xy**2 + (xx - yy) ** 2) + _EPSILON
    return Congruency(energy / (amplitude + _EPSILON), (xx + yy + spread) / 2, (xx + yy - spread) / 2)


_WEIGHTS = gaussian(11, 1.5)
_THRESHOLD = 0.1
"""Pixels of less congruency show no feature."""
_C = 1e-4


class _Moments(NamedTuple):
    plane: Plane
    mean: Plane
    variance: Plane


def _moments(plane: Plane) -> _Moments:
    mean = filtered_same(plane, _WEIGHTS)
    return _Moments(plane, mean, filtered_same(plane * plane, _WEIGHTS) - mean * mean)


def _correlation(source: _Moments, fused: _Moments) -> Plane:
    covariance = filtered_same(source.plane * fused.plane, _WEIGHTS) - source.mean * fused.mean
    correlation: Plane = (covariance + _C) / (np.sqrt(np.abs(source.variance * fused.variance)) + _C)
    return correlation


def _kept(sources: list[Plane], masks: list[NDArray[np.bool_]], fused: Plane) -> float:
    """The greatest correlation of the fused plane with one of the others, a mean over the pixels of the last mask."""
    of_fused = _moments(fused)
    best = np.maximum.reduce(
        [
            np.where(mask, _correlation(_moments(np.where(mask, source, 0)), of_fused), 0)
            for source, mask in zip(sources, masks, strict=True)
        ]
    )
    return float(best.sum() / masks[-1].sum())


@shared
def _qp(a: Grey, b: Grey, fused: Grey) -> float:
    of_a, of_b, of_fused = congruency(a), congruency(b), congruency(fused)
    first = of_a.total > of_b.total
    stronger = [np.where(first, x, y) for x, y in zip(of_a, of_b, strict=True)]
    masks = [total > _THRESHOLD for total in (of_a.total, of_b.total, stronger[0])]
    if not masks[-1].any():
        raise UndefinedError("the sources show no feature")
    product = 1.0
    for x, y, both, f in zip(of_a, of_b, stronger, of_fused, strict=True):
        product *= _kept([x, y, both], masks, f)
    return product


QP = Metric(
    name="qp",
    title="Phase congruency kept",
    better="higher",
    span=(-np.inf, np.inf),
    colour="each channel",
    source="Zhao 2007; MEFB metricsQp.m",
    measure=_qp,
    same_as="MEFB.Qp",
)
METRICS: tuple[Metric, ...] = (
    QP,
    QP.named("MEFB.Qp"),
    QP.named("ZL.metricZhao_QP", source="Zhao 2007; ZL metricZhao.m", colour="grey"),
)
