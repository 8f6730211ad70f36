"""Each distortion on its own: what it does to a scene, and what it never does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from defusion.pretext import DISTORTIONS
from defusion.pretext.distortions import (
    DEFOCUS_PX,
    GRAIN,
    LIGHT_STOPS,
    bracket,
    cross_sensors,
    defocus,
    fog,
    grain,
    jitter,
    noise,
    overexpose,
    underexpose,
    uneven_light,
    zeros,
)

EACH = pytest.mark.parametrize("name", DISTORTIONS)
SIDES = st.integers(DEFOCUS_PX + 1, 40)  # reflection sees no further than a scene is wide
SEEDS = st.integers(0, 2**32 - 1)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def scenes(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, height, width, generator=seeded(seed))


@EACH
@given(n=st.integers(1, 3), height=SIDES, width=SIDES, seed=SEEDS, level=st.sampled_from([None, 0.0, 1.0]))
def test_shape_and_range_are_kept(name: str, n: int, height: int, width: int, seed: int, level: float | None) -> None:
    scene = scenes(n, height, width) if level is None else torch.full((n, 3, height, width), level)
    distorted = DISTORTIONS[name](scene, seeded(seed))
    assert distorted.shape == scene.shape
    assert distorted.dtype == scene.dtype
    assert distorted.min() >= 0
    assert distorted.max() <= 1


@EACH
def test_a_seed_gives_the_same_and_another_gives_another(name: str) -> None:
    first, again, other = (DISTORTIONS[name](scenes(2, 24, 24), seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "zeros")


@EACH
def test_the_given_scenes_are_left_as_they_are(name: str) -> None:
    scene = scenes(2, 24, 24)
    before = scene.clone()
    DISTORTIONS[name](scene, seeded(0))
    assert torch.equal(scene, before)


@pytest.mark.parametrize("name", ["noise", "faint_noise", "zeros"])
def test_distortions_without_the_scene_say_nothing_of_it(name: str) -> None:
    one, other = (DISTORTIONS[name](scenes(2, 24, 24, seed), seeded(0)) for seed in (0, 1))
    assert torch.equal(one, other)


def test_noise_is_the_magnitude_of_unit_gaussian_clipped_at_one() -> None:
    drawn = noise(scenes(4, 64, 64), seeded(0))
    assert (drawn == 1).float().mean() == pytest.approx(0.3173, abs=0.01)  # P(|n| > 1)
    assert (drawn < 0.5).float().mean() == pytest.approx(0.3829, abs=0.01)  # P(|n| < 1/2)


def test_defocus_keeps_light_and_takes_detail() -> None:
    scene = scenes(4, 64, 64)
    blurred = defocus(scene, seeded(0))
    torch.testing.assert_close(blurred.mean((2, 3)), scene.mean((2, 3)), rtol=0, atol=0.02)
    assert (blurred.diff(dim=3).abs().mean((1, 2, 3)) < 0.8 * scene.diff(dim=3).abs().mean((1, 2, 3))).all()


def test_defocus_keeps_a_plain_scene_plain_to_its_edges() -> None:
    plain = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 20, 30)
    torch.testing.assert_close(defocus(plain, seeded(0)), plain, rtol=0, atol=1e-5)


def test_defocus_does_not_mix_scenes_or_colours() -> None:
    scene = torch.zeros(3, 3, 32, 32)
    scene[1, 2] = torch.rand(32, 32, generator=seeded(0))
    blurred = defocus(scene, seeded(1))
    assert blurred[1, 2].mean() > 0.3
    blurred[1, 2] = 0
    assert (blurred == 0).all()


def test_exposures_are_on_their_side_of_the_scene() -> None:
    grey = torch.full((16, 3, 32, 32), 0.5)
    assert (underexpose(grey, seeded(0)).mean((1, 2, 3)) < 0.4).all()
    assert (overexpose(grey, seeded(0)).mean((1, 2, 3)) > 0.6).all()


def test_fog_takes_at_least_half_of_the_contrast() -> None:
    scene = scenes(8, 32, 32)
    foggy = fog(scene, seeded(0))
    assert (foggy.std((2, 3)) <= 0.5 * scene.std((2, 3)) + 1e-6).all()


def test_zeros_are_black() -> None:
    assert (zeros(scenes(1, 8, 8), seeded(0)) == 0).all()


@given(n=st.integers(1, 3), sources=st.integers(2, 5), seed=SEEDS)
def test_sensors_that_disagree_about_tones_have_the_scene_as_their_mean(n: int, sources: int, seed: int) -> None:
    scene = 0.4 + 0.2 * scenes(n, 20, 30)
    views = cross_sensors(scene, sources, seeded(seed))
    assert views.shape == (sources, n, 3, 20, 30)
    assert views.min() >= 0
    assert views.max() <= 1
    whole = ((views > 0) & (views < 1)).all(0)  # where no source is clipped
    torch.testing.assert_close(views.mean(0)[whole], scene[whole], rtol=0, atol=1e-5)
    assert (views[0] - views[-1]).abs().mean() > 0.005


@given(sources=st.integers(2, 5), seed=SEEDS)
def test_a_bracketed_series_shows_every_place_well_at_least_once(sources: int, seed: int) -> None:
    views, well_exposed = bracket(scenes(3, 20, 30), sources, seeded(seed))
    assert views.shape == (sources, 3, 3, 20, 30)
    assert well_exposed.shape == (sources, 3, 1, 20, 30)
    assert views.min() >= 0
    assert views.max() <= 1
    assert ((well_exposed == 0) | (well_exposed == 1)).all()
    assert (well_exposed.sum(0) > 0).all()


@given(shape=st.tuples(st.integers(1, 3), st.integers(8, 40), st.integers(8, 40)), seed=SEEDS)
def test_light_is_bounded(shape: tuple[int, int, int], seed: int) -> None:
    light = uneven_light(shape, seeded(seed))
    assert light.shape == (shape[0], 1, *shape[1:])
    assert 2**-LIGHT_STOPS <= light.min() <= light.max() <= 2**LIGHT_STOPS


def test_light_is_uneven_with_soft_and_hard_borders() -> None:
    stops = uneven_light((200, 64, 64), seeded(0)).log2()
    assert (stops.amax((1, 2, 3)) - stops.amin((1, 2, 3)) > 1).float().mean() > 0.7
    steepest = stops.diff(dim=3).abs().amax((1, 2, 3))
    assert (steepest < 0.5).float().mean() > 0.1
    assert (steepest > 2).float().mean() > 0.2


def test_a_bracketed_series_calls_clipped_light_badly_exposed() -> None:
    scene = torch.rand(32, 3, 32, 32, generator=seeded(0))
    views, well_exposed = bracket(scene, 2, seeded(0))
    clipped = (views >= 0.999).all(2, keepdim=True)
    alone = well_exposed.sum(0, keepdim=True) > 1
    assert not (well_exposed.bool() & clipped & alone).any()


@given(n=st.integers(1, 4), sources=st.integers(2, 4), seed=SEEDS)
def test_grain_leaves_the_scene_as_the_mean_of_all_sources(n: int, sources: int, seed: int) -> None:
    scene = 0.4 + 0.2 * scenes(n, 20, 30)
    before = scene.clone()
    views = grain(scene, sources, seeded(seed))
    assert torch.equal(scene, before)
    assert torch.equal(views, grain(scene, sources, seeded(seed)))
    assert not torch.equal(views, grain(scene, sources, seeded(seed + 1)))
    assert views.shape == (sources, n, 3, 20, 30)
    assert views.min() >= 0
    assert views.max() <= 1
    off = views - scene
    assert off.std((2, 3, 4)).max() <= 1.1 * GRAIN
    assert off.mean((2, 3, 4)).abs().max() < 0.1 * GRAIN


def test_grain_is_of_any_strength_up_to_the_strongest() -> None:
    spreads = (grain(torch.full((200, 3, 16, 16), 0.5), 2, seeded(0))[0] - 0.5).std((1, 2, 3))
    assert spreads.min() < 0.05 * GRAIN
    assert 0.9 * GRAIN < spreads.max() < 1.1 * GRAIN
    assert spreads.mean() == pytest.approx(GRAIN / 2, rel=0.1)


def test_grain_is_the_same_for_all_sources_of_about_every_other_scene() -> None:
    views = grain(torch.full((200, 3, 16, 16), 0.5), 3, seeded(0))
    same = (views[0] == views[1]).flatten(1).all(1)
    assert torch.equal(same, (views[0] == views[2]).flatten(1).all(1))
    assert 0.4 < same.float().mean() < 0.6
    one, other = (view[~same].flatten(1) - 0.5 for view in views[:2])
    likeness = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
    assert likeness.abs().max() < 0.2


def test_grain_of_white_and_black_stays_in_range() -> None:
    for level in (0.0, 1.0):
        views = grain(torch.full((8, 3, 16, 16), level), 2, seeded(0))
        assert 0 <= views.min() < views.max() <= 1


@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0, 1))
def test_jitter_lowers_light_contrast_and_colour_within_bounds(seed: int, low: float) -> None:
    scenes = torch.rand(3, 3, 8, 9, generator=Generator().manual_seed(seed))
    made = jitter(scenes, (low, 1.0), Generator().manual_seed(seed))
    assert (made >= 0).all()
    for one, other in zip(made, scenes, strict=True):
        light = one.mean() / other.mean()
        assert low - 1e-4 <= light <= 1 + 1e-4
        grey, was_grey = one.mean(0), other.mean(0)
        assert low**2 * was_grey.std() - 1e-4 <= grey.std() <= was_grey.std() + 1e-4
        colour = (one - grey).abs().mean() / (other - was_grey).abs().mean()
        assert low**3 - 1e-4 <= colour <= 1 + 1e-4


def test_jitter_by_one_leaves_scenes_as_they_are() -> None:
    scenes = torch.rand(2, 3, 8, 8, generator=Generator().manual_seed(0))
    torch.testing.assert_close(jitter(scenes, (1.0, 1.0), Generator().manual_seed(1)), scenes)
    grey = jitter(scenes, (0.0, 0.0), Generator().manual_seed(1))
    assert (grey == 0).all()
