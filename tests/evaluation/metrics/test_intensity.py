import math

import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from defusion.evaluation.metrics import score

CHECKER = np.indices((6, 8)).sum(axis=0).astype(np.uint8) % 2 * 255


def value(name, a, b, fused, truth=None):
    return score(a, b, fused, truth, names=[name])[name].value


@pytest.fixture(scope="module")
def photos():
    camera = np.ascontiguousarray(data.camera()[100:164, 200:280])
    return camera, camera[::-1].copy(), camera[:, ::-1].copy()


def test_half_black_half_white_deviates_most():
    assert value("sd", CHECKER, CHECKER, CHECKER) == 127.5


def test_a_picture_correlates_with_its_negative_and_with_less_contrast():
    assert value("cc", CHECKER, CHECKER, 255 - CHECKER) == pytest.approx(-1)
    assert value("cc", CHECKER, CHECKER, CHECKER // 3 + 40) == pytest.approx(1)


def test_differences_of_a_sum_are_its_parts(photos):
    a, b = photos[0] // 2, photos[1] // 2
    assert value("scd", a, b, a + b) == pytest.approx(2)


def test_standard_psnr_is_that_of_scikit_image(photos):
    a, _, fused = photos
    assert value("psnr", a, a, fused) == pytest.approx(peak_signal_noise_ratio(a, fused))
    assert value("psnr_truth", a, a, a, fused) == pytest.approx(peak_signal_noise_ratio(a, fused))


def test_psnr_of_colour_is_of_the_error_over_all_channels():
    grey = np.full((4, 4, 3), 100, np.uint8)
    red = grey.copy()
    red[..., 0] += 30
    assert value("psnr", grey, grey, red) == pytest.approx(10 * math.log10(255**2 / (900 / 3)))


def test_four_psnrs_of_the_same_error(photos):
    a, b, fused = photos
    error = value("mse", a, b, fused)
    truth = 10 * math.log10(255**2 / error)
    assert value("psnr", a, b, fused) == pytest.approx(truth)
    assert value("Tang.PSNR", a, b, fused) == pytest.approx(truth + 20 * math.log10(255))
    assert value("CDDFuse.PSNR", a, b, fused) == pytest.approx(truth + 20 * math.log10(int(fused.max()) / 255))
    assert value("VIFB.Psnr", a, b, fused) == pytest.approx(10 * math.log10(255**2 / value("VIFB.Rmse", a, b, fused)))
    assert value("Tang.MSE", a, b, fused) == pytest.approx(error / 255**2)


def test_what_vifb_calls_an_error_is_a_root_over_the_count():
    dark = np.zeros((10, 10), np.uint8)
    assert value("VIFB.Rmse", dark, dark, dark + 3) == pytest.approx(math.sqrt(900) / 100)


def test_no_error_is_infinitely_good_but_for_the_truth_60():
    assert value("psnr", CHECKER, CHECKER, CHECKER) == math.inf
    assert value("psnr_truth", CHECKER, CHECKER, CHECKER, CHECKER) == 60
