"""Scenes with depth: what is in focus is the scene, what is not is blurred with what it covers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from defusion.pretext.depth import layers
from defusion.pretext.distortions import DEFOCUS_PX


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def detailed(n: int = 3, side: int = 96) -> Tensor:
    return torch.rand(n, 3, side, side, generator=seeded(9))


@given(n=st.integers(1, 3), sources=st.integers(2, 4), seed=st.integers(0, 2**32 - 1))
def test_shapes_ranges_and_a_source_that_shows_each_place(n: int, sources: int, seed: int) -> None:
    views, masks, scene = layers(detailed(n, 40), sources, seeded(seed))
    assert views.shape == (sources, n, 3, 40, 40)
    assert masks.shape == (sources, n, 1, 40, 40)
    assert scene.shape == (n, 3, 40, 40)
    for pixels in (views, scene):
        assert pixels.min() >= 0
        assert pixels.max() <= 1
    assert (masks.sum(0) >= 1).all()


def test_the_same_seed_gives_the_same() -> None:
    first, again, other = (layers(detailed(), 2, seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("sources", [2, 3])
def test_a_source_shows_the_scene_where_it_is_in_focus_and_less_detail_elsewhere(sources: int) -> None:
    views, masks, scene = layers(detailed(8), sources, seeded(3))
    inside = 1 - F.max_pool2d(1 - masks.flatten(0, 1), 2 * DEFOCUS_PX + 5, 1, DEFOCUS_PX + 2).view_as(masks)
    outside = 1 - F.max_pool2d(masks.flatten(0, 1), 2 * DEFOCUS_PX + 5, 1, DEFOCUS_PX + 2).view_as(masks)
    assert inside.mean() > 0.02
    assert outside.mean() > 0.02
    off = (views - scene).abs()
    assert (off * inside > 1e-5).float().mean() < 1e-3  # a tip thinner than a pixel covers in part
    assert (off * outside).sum() / (3 * outside.sum()) > 0.05


def test_what_is_flat_is_shown_by_all_sources() -> None:
    grey = torch.full((2, 3, 64, 64), 0.5)
    assert layers(grey, 2, seeded(4))[1].all()
    masks = layers(detailed(8), 2, seeded(4))[1]
    assert masks.mean() < 0.6


def test_what_is_near_and_out_of_focus_spreads_over_what_is_behind() -> None:
    black_behind = torch.cat([torch.zeros(1, 3, 96, 96), torch.ones(1, 3, 96, 96)])
    views, masks, scene = layers(black_behind, 2, seeded(5))
    spread = views[:, 0].mean(1) * (scene[0].mean(0) == 0)
    assert spread.max() > 0.1
    assert not masks[:, 0, 0][spread > 0.1].any()
