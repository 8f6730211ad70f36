"""Methods without a network, to compare with. Each takes two sources and returns one picture.

Sources and pictures are float32 [H, W, C] in [0, 1] with one channel or three, the same for both. Colour is fused
channel by channel. The channel of a grey source is repeated if the other source has colour.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

#: No side of the coarsest level of a pyramid is shorter than this.
_COARSEST_PX = 8

#: Guided filter fusion with the settings of its paper: side of the mean filter that separates base and detail; sigma
#: of the Gaussian that smooths saliency; radius and regularisation of the guided filter for the weights of base and
#: of detail.
_BASE_PX = 31
_SALIENCY_SIGMA = 5.0
_BASE_GUIDED = (45, 0.3)
_DETAIL_GUIDED = (7, 1e-6)

#: For `detail`: sigma of the Gaussian that separates detail, sigma of the window over which its energy is averaged,
#: the energy below which detail is rounding or noise, and the exponent that turns energy into weights.
_DETAIL_SIGMA = 2.0
_WINDOW_SIGMA = 3.0
DETAIL_FLOOR = np.float32(4e-5)
_DETAIL_POWER = 4


def average(a: Pixels, b: Pixels) -> Pixels:
    """Returns the mean of both sources."""
    return (a + b) / np.float32(2)


def maximum(a: Pixels, b: Pixels) -> Pixels:
    """Takes the brighter sample of each channel."""
    return np.maximum(a, b)


def mertens(a: Pixels, b: Pixels) -> Pixels:
    """Exposure fusion of Mertens, Kautz and Van Reeth 2007, in OpenCV's variant with its default weights."""
    # OpenCV needs 8-bit pictures with three channels
    frames = [np.rint(np.broadcast_to(each, (*each.shape[:2], 3)) * 255).astype(np.uint8) for each in (a, b)]
    fused = cv2.createMergeMertens().process(frames)
    return np.asarray(fused, np.float32)[..., : a.shape[2]]


def laplacian(a: Pixels, b: Pixels) -> Pixels:
    """Blends Laplacian pyramids: takes the stronger coefficient at each place and level, and the mean of the coarsest
    level.

    After Burt and Adelson 1983.
    """
    steps_a, rest_a = _pyramid(a)
    steps_b, rest_b = _pyramid(b)
    fused = (rest_a + rest_b) / np.float32(2)
    for step_a, step_b in zip(reversed(steps_a), reversed(steps_b), strict=True):
        fused = _enlarged(fused, step_a) + np.where(np.abs(step_a) >= np.abs(step_b), step_a, step_b)
    return fused


def guided(a: Pixels, b: Pixels) -> Pixels:
    """Guided filter fusion of Li, Kang and Hu 2013: base and detail with weights that follow the sources' edges."""
    guides: list[Pixels] = [each.mean(2, dtype=np.float32) for each in (a, b)]
    salience_a, salience_b = (_salience(guide) for guide in guides)
    chosen = (salience_a >= salience_b).astype(np.float32)
    fused = np.zeros_like(a)
    bases = [_mean(each, _BASE_PX) for each in (a, b)]
    details = [each - base for each, base in zip((a, b), bases, strict=True)]
    for layers, (radius_px, epsilon) in ((bases, _BASE_GUIDED), (details, _DETAIL_GUIDED)):
        weights = [
            np.maximum(_guided_filter(guide, weight, radius_px, epsilon), 0)
            for guide, weight in zip(guides, (chosen, 1 - chosen), strict=True)
        ]
        share = (weights[0] + np.float32(1e-6)) / (weights[0] + weights[1] + np.float32(2e-6))
        fused += share[..., None] * layers[0] + (1 - share)[..., None] * layers[1]
    return fused


def detail(a: Pixels, b: Pixels) -> Pixels:
    """Weights each pixel by the local energy of fine detail, above a floor, raised to a power."""
    odds_a, odds_b = ((detail_energy(each) / DETAIL_FLOOR + 1)[..., None] ** _DETAIL_POWER for each in (a, b))
    return np.asarray((odds_a * a + odds_b * b) / (odds_a + odds_b), np.float32)


def detail_energy(pixels: Pixels) -> Pixels:
    """Returns the local energy of a picture's fine detail, [H, W]."""
    grey: Pixels = pixels.mean(2, dtype=np.float32)
    return _blurred((grey - _blurred(grey, _DETAIL_SIGMA)) ** 2, _WINDOW_SIGMA)


BASELINES: dict[str, Callable[[Pixels, Pixels], Pixels]] = {
    each.__name__: each for each in (average, maximum, mertens, laplacian, guided, detail)
}


def _pyramid(pixels: Pixels) -> tuple[list[Pixels], Pixels]:
    """Splits a picture into the detail of each level, from fine to coarse, and the rest."""
    steps = []
    while min(pixels.shape[:2]) >= 2 * _COARSEST_PX:
        height, width, channels = pixels.shape
        halved = cv2.pyrDown(pixels).reshape((height + 1) // 2, (width + 1) // 2, channels)
        smaller: Pixels = np.asarray(halved, np.float32)
        steps.append(pixels - _enlarged(smaller, pixels))
        pixels = smaller
    return steps, pixels


def _enlarged(pixels: Pixels, like: Pixels) -> Pixels:
    height, width = like.shape[:2]
    return np.asarray(cv2.pyrUp(pixels, dstsize=(width, height)), np.float32).reshape(like.shape)


def _blurred(plane: Pixels, sigma_px: float) -> Pixels:
    side = 2 * round(3 * sigma_px) + 1
    blurred = cv2.GaussianBlur(plane, (side, side), sigma_px, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32).reshape(plane.shape)


def _salience(grey: Pixels) -> Pixels:
    edges = np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT)))
    return np.asarray(cv2.GaussianBlur(edges, (11, 11), _SALIENCY_SIGMA, borderType=cv2.BORDER_REFLECT), np.float32)


def _mean(plane: Pixels, side_px: int) -> Pixels:
    mean = cv2.blur(plane, (side_px, side_px), borderType=cv2.BORDER_REFLECT)
    return np.asarray(mean, np.float32).reshape(plane.shape)


def _guided_filter(guide: Pixels, weight: Pixels, radius_px: int, epsilon: float) -> Pixels:
    """Smooths weights [H, W] except at the edges of a guide [H, W] (He, Sun and Tang 2010).

    OpenCV has it in its contributed modules alone, whose package cannot be installed beside the one used here.
    """
    side = 2 * radius_px + 1
    mean_guide, mean_weight = _mean(guide, side), _mean(weight, side)
    variance = _mean(guide * guide, side) - mean_guide * mean_guide
    covariance = _mean(guide * weight, side) - mean_guide * mean_weight
    slope: Pixels = np.asarray(covariance / (np.maximum(variance, 0) + epsilon), np.float32)
    return _mean(slope, side) * guide + _mean(mean_weight - slope * mean_guide, side)
