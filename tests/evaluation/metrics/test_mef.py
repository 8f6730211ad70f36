"""MEF-SSIM in sums over windows against the same window by window."""

import math

import numpy as np
import pytest
from skimage import data

from defusion.evaluation.metrics import score

EPS = np.finfo(float).eps


@pytest.fixture(scope="module")
def exposures():
    photo = np.ascontiguousarray(data.camera()[100:148, 200:251]).astype(float)
    under, over = np.clip(photo * 0.5, 0, 255), np.clip(photo * 2, 0, 255)
    return under.astype(np.uint8), over.astype(np.uint8), ((under + over) / 2).astype(np.uint8)


def value(name, a, b, fused):
    return score(a, b, fused, names=[name])[name].value


def window_by_window(a, b, fused):
    """Ma 2015 as it is written: the desired window is built and compared at each place."""
    steps = np.arange(11) - 5.0
    weights = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))
    weights /= weights.sum()
    qualities = []
    for row in range(fused.shape[0] - 10):
        for column in range(fused.shape[1] - 10):
            cut = np.s_[row : row + 11, column : column + 11]
            windows = [a[cut] - a[cut].mean(), b[cut] - b[cut].mean()]
            norms = np.array([np.linalg.norm(window) for window in windows])
            consistency = (np.linalg.norm(sum(windows)) + EPS) / (norms.sum() + EPS)
            power = min(math.tan(math.pi / 2 * min(consistency, 1 - EPS)), 10)
            contrasts = norms + 0.001
            shares = (contrasts / 11) ** power + EPS
            shares /= shares.sum()
            target = sum(
                share * window / size for share, window, size in zip(shares, windows, contrasts, strict=True)
            )
            length = np.linalg.norm(target)
            if length > 0:
                target *= contrasts.max() / length
            mean, fused_mean = (weights * target).sum(), (weights * fused[cut]).sum()
            together = (weights * (target - mean) * (fused[cut] - fused_mean)).sum()
            spread = (weights * (target - mean) ** 2).sum() + (weights * (fused[cut] - fused_mean) ** 2).sum()
            qualities.append((2 * together + 7.65**2) / (spread + 7.65**2))
    return np.mean(qualities)


def test_one_scale_is_what_it_is_window_by_window(exposures):
    expected = window_by_window(*(picture.astype(float) for picture in exposures))
    assert value("MEFB.MEF_SSIM1", *exposures) == pytest.approx(expected, rel=1e-7)


def test_flat_places_do_not_break_it(exposures):
    under, over, fused = (picture.copy() for picture in exposures)
    under[:20], over[10:30] = 0, 255  # one source, both, the other
    expected = window_by_window(*(picture.astype(float) for picture in (under, over, fused)))
    assert value("MEFB.MEF_SSIM1", under, over, fused) == pytest.approx(expected, rel=1e-7)


def test_equal_sources_desire_themselves(exposures):
    *_, fused = exposures
    assert value("mef_ssim", fused, fused, fused) == pytest.approx(1, abs=1e-4)


def test_brightness_is_not_judged(exposures):
    under, over, fused = exposures
    assert value("mef_ssim", under, over, fused // 2 + 90) == pytest.approx(
        value("mef_ssim", under, over, fused // 2)
    )


def test_three_scales_need_44_pixels(exposures):
    found = score(*(picture[:43] for picture in exposures), names=["mef_ssim", "MEFB.MEF_SSIM1"])
    assert "44 pixels" in found["mef_ssim"].reason
    assert 0 < found["MEFB.MEF_SSIM1"].value < 1
