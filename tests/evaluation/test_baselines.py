"""Baselines: what every fusion method owes, and what each is for."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut
from skimage.filters import gaussian

from defusion.evaluation.baselines import BASELINES, detail, guided, laplacian, maximum, mertens

Pixels = NDArray[np.float32]


@pytest.fixture(scope="module")
def scene() -> Pixels:
    pixels: Pixels = astronaut()[60:187, 150:250].astype(np.float32) / 255
    return pixels


@pytest.fixture(scope="module")
def focus_pair(scene: Pixels) -> tuple[Pixels, Pixels]:
    """The left half sharp, then the right half."""
    blurred = gaussian(scene, 3.0, channel_axis=2).astype(np.float32)
    left = (np.arange(scene.shape[1]) < scene.shape[1] // 2)[None, :, None]
    return np.where(left, scene, blurred), np.where(left, blurred, scene)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BASELINES)
def test_equal_sources_come_back(name: str, channels: int, scene: Pixels) -> None:
    source = scene[..., :channels]
    fused = BASELINES[name](source, source)
    assert fused.shape == source.shape
    assert fused.dtype == np.float32
    assert np.abs(fused - source).max() < 1 / 255


@pytest.mark.parametrize("name", BASELINES)
def test_the_order_of_sources_does_not_matter(name: str, focus_pair: tuple[Pixels, Pixels]) -> None:
    a, b = focus_pair
    apart = np.abs(BASELINES[name](a, b) - BASELINES[name](b, a))
    assert np.mean(apart > 1 / 255) < 0.02  # ties may go either way


@pytest.mark.parametrize("method", [laplacian, guided, detail])
def test_what_is_sharp_in_one_source_is_sharp_in_the_picture(
    method: object, focus_pair: tuple[Pixels, Pixels], scene: Pixels
) -> None:
    assert callable(method)
    error = np.mean((method(*focus_pair) - scene) ** 2)
    average = np.mean(((focus_pair[0] + focus_pair[1]) / 2 - scene) ** 2)
    assert error < 0.15 * average


def test_maximum_takes_the_brighter(scene: Pixels) -> None:
    assert np.array_equal(maximum(scene, scene / 2), scene)


def test_mertens_leaves_clipped_pixels_to_the_other_exposure() -> None:
    ramp = np.repeat(np.linspace(0, 1, 96, dtype=np.float32)[None, :, None], 64, 0)
    dark, bright = ramp * 0.5, np.minimum(ramp * 3, 1)
    fused = mertens(dark, bright)[32, :, 0]
    assert fused[80] < 0.75  # the bright one is clipped there, the dark one says .42
    assert fused[20] > 0.2  # the dark one is near black there, the bright one says .63


@pytest.mark.parametrize("size", [(1, 1), (5, 70), (17, 16)])
@pytest.mark.parametrize("name", BASELINES)
def test_any_size(name: str, size: tuple[int, int]) -> None:
    a, b = (np.full((*size, 3), value, np.float32) for value in (0.25, 0.75))
    fused = BASELINES[name](a, b)
    assert fused.shape == (*size, 3)
    assert 0.24 < fused.min() <= fused.max() < 0.76
