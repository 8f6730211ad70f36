import numpy as np
import pytest
from skimage import data

from defusion.evaluation.metrics import score


def value(a, b, fused):
    return score(a, b, fused, names=["qcv"])["qcv"].value


@pytest.fixture(scope="module")
def photos():
    camera = np.ascontiguousarray(data.camera()[100:151, 200:267])
    return camera, camera[::-1].copy(), (camera // 2 + camera[::-1] // 2)


def test_nothing_is_seen_where_nothing_differs(photos):
    assert value(photos[0], photos[0], photos[0]) == pytest.approx(0, abs=1e-12)


def test_less_contrast_all_over_is_hardly_seen(photos):
    """The trap of the metric: each picture is stretched to 0..255 first."""
    camera = photos[0]
    pale = (camera.astype(float) / 255 * 120 + 60).astype(np.uint8)
    assert value(camera, camera, pale) < 0.01 * value(camera, camera, np.roll(camera, 5, axis=1))


def test_noise_is_seen(photos):
    a, b, fused = photos
    noisy = np.clip(fused + np.random.default_rng(0).normal(0, 30, fused.shape), 0, 255).astype(np.uint8)
    assert value(a, b, noisy) > value(a, b, fused)


def test_block_by_block_with_a_centred_spectrum(photos):
    """The definition, on a picture whose sides are odd and not multiples of 16."""
    a, b, fused = (
        np.floor((picture - picture.min()) / (picture.max() - picture.min()) * 255 + 0.5)
        for picture in (picture.astype(float) for picture in photos)
    )
    height, width = fused.shape
    v, u = (np.arange(-n + 1, n, 2) / n * n / 8 for n in (height, width))
    radius = np.hypot(v[:, None], u)
    sensitivity = 2.6 * (0.0192 + 0.144 * radius) * np.exp(-((0.144 * radius) ** 1.1))
    total = weights = 0.0
    for source in (a, b):
        spectrum = np.fft.fftshift(np.fft.fft2(source - fused)) * sensitivity
        seen = np.fft.ifft2(np.fft.ifftshift(spectrum)).real ** 2
        rim = np.pad(source, 1)
        down = rim[2:, :-2] + 2 * rim[2:, 1:-1] + rim[2:, 2:] - rim[:-2, :-2] - 2 * rim[:-2, 1:-1] - rim[:-2, 2:]
        across = rim[:-2, 2:] + 2 * rim[1:-1, 2:] + rim[2:, 2:] - rim[:-2, :-2] - 2 * rim[1:-1, :-2] - rim[2:, :-2]
        edges = np.hypot(down, across) ** 5
        for row in range(0, height, 16):
            for column in range(0, width, 16):
                block = np.s_[row : row + 16, column : column + 16]
                total += edges[block].sum() * seen[block].sum() / 256
                weights += edges[block].sum()
    assert value(*photos) == pytest.approx(total / weights, rel=1e-9)


@pytest.mark.parametrize(("level", "reason"), [(0, "no edges"), (90, "one value")])
def test_sources_of_one_value_have_no_edges_to_weigh_by(photos, level, reason):
    flat = np.full_like(photos[0], level)
    assert reason in score(flat, flat, photos[2], names=["qcv"])["qcv"].reason
