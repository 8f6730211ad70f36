"""Q_P of Zhao et al.: how well the fused picture keeps the phase congruency of its sources.

Where waves of all lengths agree in phase there is an edge or a corner, whatever its contrast (Kovesi). Three planes
describe this: the congruency, and its largest and smallest moment over directions, for edges and for corners.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from defusion.evaluation.metrics.metric import Grey, Metric, UndefinedError
from defusion.evaluation.metrics.planes import Plane, gaussian
from defusion.evaluation.metrics.sharing import shared
from defusion.evaluation.metrics.windows import need_pixels

# Kovesi's phasecong3 with the values of Liu's revision.
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

_STRIP_PIXELS = 32768
"""Number of pixels that are worked on at a time, so that their planes stay in the cache of a core."""


Plane32 = NDArray[np.float32]
"""[H, W]."""


_SAMPLED = 61
"""Every 61st pixel gives a first estimate of the median. A prime avoids periods of the picture."""


class Congruency(NamedTuple):
    """The phase congruency of a plane."""

    total: Plane32
    edges: Plane32
    """The largest moment over directions."""
    corners: Plane32
    """The smallest moment."""


class _Filters(NamedTuple):
    """Filters over the frequencies of an FFT, in float32. The filter for a scale and a direction is the product of
    two.
    """

    scales: NDArray[np.float32]
    directions: NDArray[np.float32]
    noise: Plane
    """Energy of noise in each direction, divided by the root of its median power at the finest scale."""


def _centred(n: int) -> Plane:
    """Liu's frequencies of n samples, from -1/2 up. For odd n they are stretched to end at 1/2."""
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
    """A Butterworth filter. Kovesi centres it by fftshift, which is off by one if a side is odd."""
    y, x = ((np.arange(n) - n // 2) / n / 0.45 for n in shape)
    r2 = y[:, None] ** 2 + x**2
    r6 = r2 * r2 * r2
    whole: Plane = fft.fftshift(1 / (1 + r6 * r6 * r6 * r6 * r6))
    return whole


def _noise(finest: Plane, together: Plane) -> float:
    """Returns the energy of pure noise in one direction, if its median power at the finest scale is 1.

    Args:
        finest: The filter of the finest scale in this direction.
        together: The sum of the filters of all scales.
    """
    power = 1 / np.log(2) / np.vdot(finest, finest)
    # The sum over pixels of all products of the even filters, computed from their spectra by Parseval's theorem.
    mirrored = np.roll(together[::-1, ::-1], (1, 1), (0, 1))
    tau = np.sqrt(power * (np.vdot(together, together) + np.vdot(together, mirrored)) / 2)
    return float(tau * (np.sqrt(np.pi / 2) + _NOISE_SIGMAS * np.sqrt(2 - np.pi / 2)) / _NOISE_OVERESTIMATE)


class _Waves(NamedTuple):
    """The response of one filter in a strip of the picture, [H, W] each."""

    even: Plane32
    odd: Plane32
    amplitude: Plane32


def _waves(response: NDArray[np.complex64]) -> _Waves:
    # Two separate planes: sums over every second number of one plane take twice as long.
    even, odd = cv2.split(_pairs(response))
    return _Waves(*(np.asarray(each, np.float32) for each in (even, odd, cv2.magnitude(even, odd))))


def _pairs(plane: NDArray[np.complex64]) -> Plane32:
    """Returns the same numbers in OpenCV's form: [H, W, 2]."""
    return plane.view(np.float32).reshape(*plane.shape, 2)


def _invert(spectrum: NDArray[np.complex64]) -> None:
    """Replaces a spectrum by its inverse FFT."""
    if all(cv2.getOptimalDFTSize(side) == side for side in spectrum.shape):
        # This takes half of scipy's time. If a side has prime factors above 5, it may be many times as slow.
        cv2.dft(_pairs(spectrum), dst=_pairs(spectrum), flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)
    else:
        spectrum[:] = fft.ifft2(spectrum, overwrite_x=True)


class _Direction(NamedTuple):
    energy: Plane32
    amplitude: Plane32


def _in_direction(scales: list[_Waves], noise: float) -> _Direction:
    """Returns the energy that agrees in phase over the scales, minus that of noise, and the sum of amplitudes."""
    even, odd, amplitude = (sum(planes[1:], planes[0]) for planes in zip(*scales, strict=True))
    energy = even * even + odd * odd
    together = np.sqrt(energy)
    for each in scales:
        energy -= np.abs(each.odd * even - each.even * odd)
    energy /= together + _EPSILON
    energy -= noise
    width = amplitude / (reduce(np.maximum, [each.amplitude for each in scales]) + _EPSILON)
    weight = 1 + np.exp(_CUT_OFF * _GAIN - width * (_GAIN / _SCALES))
    return _Direction(np.maximum(energy, 0) / weight, amplitude)


def _median(plane: Plane32) -> float:
    """Returns the upper median. It searches near an estimate: partitioning the whole plane takes three
    times as long.
    """
    middle = plane.size // 2
    sample = np.sort(plane.ravel()[::_SAMPLED])
    margin = 1 + 2 * int(np.sqrt(sample.size))
    low, high = (sample[max(0, min(sample.size // 2 + step, sample.size - 1))] for step in (-margin, margin))
    near = plane[(plane >= low) & (plane <= high)]
    below = np.count_nonzero(plane < low)
    if not below <= middle < below + near.size:
        return float(np.partition(plane, middle, axis=None)[middle])
    return float(np.partition(near, middle - below)[middle - below])


@shared
def congruency(plane: Grey) -> Congruency:
    """Returns the phase congruency of a plane.

    Raises:
        UndefinedError: The plane is flat, or only one pixel high or wide.
    """
    need_pixels(plane, 2)
    if plane.min() == plane.max():
        raise UndefinedError("a picture of one value has no phase")
    # The filters block the mean anyway; without it, float32 is precise enough.
    spectrum = fft.fft2((plane - plane.mean()).astype(np.float32))
    filters = _filters(plane.shape)
    energy, amplitude = np.zeros((2, *plane.shape), np.float32)
    squares = np.empty((_DIRECTIONS, *plane.shape), np.float32)
    responses = np.empty((_SCALES, *plane.shape), np.complex64)
    rows = max(1, _STRIP_PIXELS // plane.shape[1])
    for k, direction in enumerate(filters.directions):
        turned = spectrum * direction
        for response, scale in zip(responses, filters.scales, strict=True):
            np.multiply(turned, scale, out=response)
            _invert(response)
        finest = _waves(responses[0])
        noise = float(filters.noise[k] * _median(finest.amplitude))
        for top in range(0, plane.shape[0], rows):
            strip = slice(top, top + rows)
            scales = [_Waves(*(each[strip] for each in finest)), *(_waves(each[strip]) for each in responses[1:])]
            found = _in_direction(scales, noise)
            energy[strip] += found.energy
            amplitude[strip] += found.amplitude
            squares[k, strip] = (found.energy / found.amplitude) ** 2
    angles = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    cos, sin = np.cos(angles), np.sin(angles)
    second = np.stack([2 * cos**2, 2 * sin**2, cos * sin], dtype=np.float32) / _DIRECTIONS
    xx, yy, xy = np.tensordot(second, squares, axes=1)
    spread = np.sqrt(xy**2 + (xx - yy) ** 2) + _EPSILON
    return Congruency(energy / (amplitude + _EPSILON), (xx + yy + spread) / 2, (xx + yy - spread) / 2)


_WEIGHTS = gaussian(11, 1.5)
_THRESHOLD = 0.1
"""Pixels with less congruency show no feature."""
_C = 1e-4


class _Moments(NamedTuple):
    plane: Plane32
    mean: Plane32
    variance: Plane32


def _smoothed(plane: Plane32) -> Plane32:
    """Returns the mean under the window, with zeros around the plane."""
    return np.asarray(
        cv2.sepFilter2D(plane, cv2.CV_32F, _WEIGHTS, _WEIGHTS, borderType=cv2.BORDER_CONSTANT), np.float32
    )


def _moments(plane: Plane32) -> _Moments:
    mean = _smoothed(plane)
    return _Moments(plane, mean, _smoothed(plane * plane) - mean * mean)


def _correlation(source: _Moments, fused: _Moments) -> Plane32:
    covariance = _smoothed(source.plane * fused.plane) - source.mean * fused.mean
    correlation: Plane32 = (covariance + _C) / (np.sqrt(np.abs(source.variance * fused.variance)) + _C)
    return correlation


def _kept(sources: list[Plane32], masks: list[NDArray[np.bool_]], fused: Plane32) -> float:
    """Returns the largest correlation of the fused plane with one of the others, a mean over the pixels of the last
    mask.
    """
    of_fused = _moments(fused)
    best = reduce(
        np.maximum,
        [
            np.where(mask, _correlation(_moments(np.where(mask, source, np.float32(0))), of_fused), np.float32(0))
            for source, mask in zip(sources, masks, strict=True)
        ],
    )
    return float(best.sum(dtype=np.float64) / masks[-1].sum())


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
