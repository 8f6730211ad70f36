import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from defusion.evaluation.metrics import score


@pytest.fixture(scope="module")
def photos():
    camera = np.ascontiguousarray(data.camera()[100:164, 200:281])
    noise = np.random.default_rng(0).normal(0, 12, camera.shape)
    return camera // 2 + 60, camera // 3, np.clip(camera + noise, 0, 255).astype(np.uint8)


def value(name, a, b, fused, truth=None):
    return score(a, b, fused, truth, names=[name])[name].value


def gaussian(a, b):
    return structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)


def test_ssim_is_that_of_scikit_image(photos):
    a, b, fused = photos
    both = gaussian(a, fused) + gaussian(b, fused)
    assert value("ssim", a, b, fused) == pytest.approx(both / 2, rel=1e-9)
    assert value("VIFB.Ssim", a, b, fused) == pytest.approx(both, rel=1e-9)
    assert value("skimage.SSIM11gauss_sum", a, b, fused) == pytest.approx(both, rel=1e-9)
    assert value("ssim_truth", a, b, fused, b) == pytest.approx(gaussian(b, fused), rel=1e-9)


def test_ssim_under_squares_is_that_of_scikit_image(photos):
    a, b, fused = photos
    both = structural_similarity(a, fused, data_range=255) + structural_similarity(b, fused, data_range=255)
    assert value("skimage.SSIM7_sum_data_range255", a, b, fused) == pytest.approx(both, rel=1e-9)


@pytest.mark.parametrize("name", ["ssim", "Tang.SSIM_L1", "Tang.SSIM_L255"])
def test_a_picture_is_like_itself(photos, name):
    *_, fused = photos
    assert value(name, fused, fused, fused) == pytest.approx(1, abs=1e-9)


def test_a_range_of_1_punishes_small_noise_on_flat_ground():
    """The trap of MATLAB's ssim() on doubles of 0 to 255."""
    flat = np.full((40, 40), 100, np.uint8)
    grain = flat + np.random.default_rng(1).integers(0, 2, flat.shape, dtype=np.uint8)
    assert value("Tang.SSIM_L255", flat, flat, grain) > 0.95
    assert value("Tang.SSIM_L1", flat, flat, grain) < 0.05


def test_a_picture_smaller_than_the_window_has_no_ssim():
    small = np.zeros((10, 40), np.uint8)
    found = score(small, small, small, names=["ssim", "skimage.SSIM7_sum_data_range255"])
    assert "11x11" in found["ssim"].reason
    assert found["skimage.SSIM7_sum_data_range255"].value == 2
