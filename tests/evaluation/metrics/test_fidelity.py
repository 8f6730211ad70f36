from __future__ import annotations

import cv2
import numpy as np
import pytest

from defusion.evaluation.metrics.fidelity import METRICS
from defusion.evaluation.metrics.metric import UndefinedError

BY_NAME = {metric.name: metric for metric in METRICS}
PERFECT = {"Tang.VIF": 2.0, "CDDFuse.VIFF": 2.0, "MEFB.VIF": 1.0}


@pytest.mark.parametrize(("name", "perfect"), PERFECT.items())
def test_the_source_itself_is_perfect(scene, name, perfect):
    *_, sharp = scene
    assert BY_NAME[name].measure(sharp, sharp, sharp) == pytest.approx(perfect, rel=1e-5)


@pytest.mark.parametrize(("name", "perfect"), PERFECT.items())
def test_blur_and_noise_lose_information_and_contrast_adds_it(scene, name, perfect):
    *_, sharp = scene
    measure = BY_NAME[name].measure
    noise = np.random.default_rng(0).integers(-40, 41, sharp.shape)
    blurred = measure(sharp, sharp, cv2.GaussianBlur(sharp, (0, 0), 2))
    noisy = measure(sharp, sharp, np.clip(sharp + noise, 0, 255).astype(np.uint8))
    source = (sharp // 4 + 100).astype(np.uint8)
    harder = measure(source, source, (source.astype(int) * 2 - 150).astype(np.uint8))
    assert blurred < 0.8 * perfect
    assert noisy < 0.8 * perfect
    assert harder > 1.02 * perfect


@pytest.mark.parametrize("name", PERFECT)
def test_the_order_of_the_sources_does_not_matter(scene, name):
    left, right, sharp = scene
    measure = BY_NAME[name].measure
    assert measure(left, right, sharp) == pytest.approx(measure(right, left, sharp), rel=1e-3)


def test_a_black_source_has_no_value_or_counts_one(scene):
    *_, sharp = scene
    black = np.zeros_like(sharp)
    with pytest.raises(UndefinedError, match="flat"):
        BY_NAME["vif"].measure(black, sharp, sharp)
    assert BY_NAME["CDDFuse.VIFF"].measure(black, sharp, sharp) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("name", PERFECT)
def test_the_smallest_pictures_have_forty_one_pixels(scene, name):
    *_, sharp = scene
    assert np.isfinite(BY_NAME[name].measure(*[sharp[:41, :41]] * 3))
    with pytest.raises(UndefinedError, match="41x41"):
        BY_NAME[name].measure(*[sharp[:40, :60]] * 3)


def octave_filter(plane, size):
    """filter2 with a Gaussian, summed in Octave's order."""
    x = np.arange(size) - size // 2
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (size / 5) ** 2))
    window /= np.cumsum(window.ravel())[-1]
    height, width = (side - size + 1 for side in plane.shape)
    total = np.zeros((height, width))
    for column in reversed(range(size)):
        for row in reversed(range(size)):
            total += window[row, column] * plane[row : row + height, column : column + width]
    return total


def slow_viff(a, b, fused):
    """Han's definition, source after source, as MEFB's code does it."""
    eye = 0.005 * 255**2
    of_sources = []
    for source in (a, b):
        ref, dist, scales = source.astype(float), fused.astype(float), []
        for size in (17, 9, 5, 3):
            if scales:
                ref, dist = octave_filter(ref, size)[::2, ::2], octave_filter(dist, size)[::2, ::2]
            mean_r, mean_d = octave_filter(ref, size), octave_filter(dist, size)
            var_r = np.maximum(octave_filter(ref * ref, size) - mean_r * mean_r, 0)
            var_d = np.maximum(octave_filter(dist * dist, size) - mean_d * mean_d, 0)
            covariance = octave_filter(ref * dist, size) - mean_r * mean_d
            gain = covariance / (var_r + 1e-10)
            noise = var_d - gain * covariance
            unlike = (var_r < 1e-10) | (var_d < 1e-10) | (gain < 0)
            gain[unlike], noise[unlike] = 0, var_d[unlike]
            var_r[var_r < 1e-10] = 0
            passed_on = np.log10(1 + gain**2 * var_r / (np.maximum(noise, 1e-10) + eye))
            scales.append((passed_on, np.log10(1 + var_r / eye), gain))
        of_sources.append(scales)
    ratios = []
    for (on_a, there_a, gain_a), (on_b, there_b, gain_b) in zip(*of_sources, strict=True):
        weaker = gain_a < gain_b
        ratios.append((np.where(weaker, on_a, on_b) + 1e-7).sum() / (np.where(weaker, there_a, there_b) + 1e-7).sum())
    return np.dot([1, 0, 0.15, 1], ratios) / 2.15


@pytest.mark.parametrize("level", [0, 200, 228, 254])
def test_viff_in_windows_of_one_level_is_as_the_toolkit_rounds(scene, level):
    left, right, _ = (picture[:75, :90].copy() for picture in scene)
    right[20:60, 30:80] = level
    average = cv2.addWeighted(left, 0.5, right, 0.5, 0)
    for fused in (right, average, left):
        assert BY_NAME["viff"].measure(left, right, fused) == pytest.approx(slow_viff(left, right, fused), rel=1e-9)
