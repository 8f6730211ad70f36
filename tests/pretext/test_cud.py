"""Common and unique decomposition: what sources are made of and what their parts add up to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from defusion.errors import TrainingError
from defusion.pretext import DISTORTIONS, Pretext, cud_targets
from defusion.pretext.distortions import GRAIN
from defusion.pretext.masks import even_grid_masks

SEEDS = st.integers(0, 2**32 - 1)
SOURCES = st.integers(2, 5)
SIZES = st.tuples(st.integers(1, 3), st.integers(16, 48), st.integers(16, 48))
EVERYTHING = Pretext(
    distortions=dict.fromkeys(DISTORTIONS, 1.0),
    freeform=0.5,
    bracketed=0.3,
    crossed=0.3,
    grainy=0.3,
    layered=0.3,
    grey=0.3,
)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def scenes(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Scenes without black, so that a part that is there is never mistaken for one that is absent."""
    return 0.1 + 0.9 * torch.rand(n, 3, height, width, generator=seeded(seed))


@given(size=SIZES, sources=SOURCES, seed=SEEDS)
def test_parts_add_up_to_the_scene(size: tuple[int, int, int], sources: int, seed: int) -> None:
    scene = scenes(*size)
    batch = EVERYTHING(scene, sources, generator=seeded(seed))
    assert torch.equal(batch.common + batch.uniques.sum(0), batch.scene)
    assert (batch.masks.sum(0) > 0).all()


@given(size=SIZES, sources=SOURCES, seed=SEEDS)
def test_uniques_are_disjoint_from_each_other_and_from_the_common(
    size: tuple[int, int, int], sources: int, seed: int
) -> None:
    batch = EVERYTHING(scenes(*size), sources, generator=seeded(seed))
    parts = torch.cat([batch.uniques, batch.common[None]]) > 0
    assert (parts.sum(0) == 1).all()


@given(masks=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=6, max_size=6))
def test_targets_of_two_sources_are_the_papers_set_operations(masks: list[tuple[bool, bool]]) -> None:
    one, two = (torch.tensor([pair[i] for pair in masks]).view(1, 1, 2, 3) for i in range(2))
    scene = scenes(1, 2, 3)
    common, uniques = cud_targets(scene, torch.stack([one, two]).float())
    assert torch.equal(common, torch.where(one & two, scene, 0))
    assert torch.equal(uniques[0], torch.where(one & ~two, scene, 0))
    assert torch.equal(uniques[1], torch.where(~one & two, scene, 0))


@pytest.mark.parametrize("freeform", [0.0, 1.0])
@given(sources=SOURCES, seed=SEEDS)
def test_a_source_is_the_scene_where_its_mask_keeps_it(freeform: float, sources: int, seed: int) -> None:
    pretext = Pretext(distortions=dict.fromkeys(DISTORTIONS, 1.0), freeform=freeform)
    batch = pretext(scenes(3, 24, 40), sources, generator=seeded(seed))
    kept = batch.masks.bool().expand_as(batch.sources)
    assert torch.equal(batch.sources[kept], batch.scene.expand_as(batch.sources)[kept])


def test_a_source_is_not_the_scene_where_its_mask_does_not_keep_it() -> None:
    batch = Pretext()(scenes(4, 64, 64), generator=seeded(0))
    lost = ~batch.masks.bool().expand_as(batch.sources)
    assert (batch.sources[lost] != batch.scene.expand_as(batch.sources)[lost]).float().mean() > 0.99


@given(size=SIZES, sources=SOURCES, seed=SEEDS)
def test_everything_stays_in_shape_and_range(size: tuple[int, int, int], sources: int, seed: int) -> None:
    batch = EVERYTHING(scenes(*size), sources, generator=seeded(seed))
    n, height, width = size
    assert batch.sources.shape == batch.uniques.shape == (sources, n, 3, height, width)
    assert batch.masks.shape == (sources, n, 1, height, width)
    assert batch.common.shape == batch.scene.shape == (n, 3, height, width)
    for pixels in batch:
        assert pixels.min() >= 0
        assert pixels.max() <= 1


@given(seed=SEEDS)
def test_a_seed_gives_its_batch_again_and_another_gives_another(seed: int) -> None:
    first, again, other = (EVERYTHING(scenes(4, 32, 32), generator=seeded(s)) for s in (seed, seed, seed + 1))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.sources, other.sources)


def test_the_given_scenes_are_left_as_they_are() -> None:
    scene = scenes(4, 32, 32)
    before = scene.clone()
    EVERYTHING(scene, generator=seeded(0))
    assert torch.equal(scene, before)


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks that keep nothing, so that sources are distortion alone."""
    monkeypatch.setattr(
        "defusion.pretext.cud.grid_masks",
        lambda shape, sources, *, generator: torch.zeros(sources, shape[0], 1, *shape[1:]),
    )


@pytest.mark.usefixtures("nothing_kept")
def test_noise_is_drawn_for_each_source_on_its_own() -> None:
    batch = Pretext()(scenes(2, 64, 64), generator=seeded(1))
    alike = torch.corrcoef(batch.sources.flatten(2).flatten(0, 1))  # of all sources of all scenes
    assert (alike - torch.eye(4)).abs().max() < 0.05


@pytest.mark.parametrize("name", ["noise", "faint_noise", "defocus", "underexpose", "overexpose", "fog"])
@pytest.mark.usefixtures("nothing_kept")
def test_sources_of_one_scene_are_distorted_differently(name: str) -> None:
    batch = Pretext(distortions={name: 1.0})(scenes(3, 32, 32), generator=seeded(0))
    first, second = batch.sources
    for scene in range(3):
        assert not torch.equal(first[scene], second[scene])
        assert not torch.equal(first[scene], batch.scene[scene])


def test_a_distortion_of_no_chance_is_never_drawn() -> None:
    pretext = Pretext(distortions={"zeros": 1.0, "noise": 0.0})
    batch = pretext(scenes(8, 48, 48), generator=seeded(0))
    lost = ~batch.masks.bool().expand_as(batch.sources)
    assert (batch.sources[lost] == 0).all()


def test_every_distortion_is_drawn_for_some_scene() -> None:
    pretext = Pretext(distortions={"zeros": 1.0, "noise": 1.0})
    batch = pretext(scenes(16, 48, 48), generator=seeded(0))
    black = (batch.sources == 0).all(2, keepdim=True).any((3, 4)).flatten(1).any(0)
    assert 0 < black.sum() < 16


def test_bracketed_scenes_are_seen_whole_by_every_source_at_different_exposures() -> None:
    scene = torch.full((6, 3, 32, 32), 0.5)
    batch = Pretext(bracketed=1.0)(scene, 3, generator=seeded(0))
    levels = batch.sources.mean((2, 3, 4))  # [S, N]
    assert (levels.sort(0).values.diff(dim=0) > 0.02).all()
    dark_to_bright = batch.sources.gather(0, levels.argsort(0)[:, :, None, None, None].expand_as(batch.sources))
    assert (dark_to_bright.diff(dim=0) > -0.1).all()  # at every place, but for a sensor's noise
    assert (batch.masks.sum(0) > 0).all()
    assert len(set(levels.argmax(0).tolist())) > 1  # the brightest is not always the same source


def test_grey_scenes_have_no_colour_left_anywhere() -> None:
    pretext = Pretext(distortions={"defocus": 1.0, "zeros": 1.0, "fog": 1.0}, grey=1.0)
    batch = pretext(scenes(4, 32, 32), generator=seeded(0))
    for pixels in (batch.scene[None], batch.sources, batch.uniques, batch.common[None]):
        assert (pixels.amax(2) - pixels.amin(2)).max() < 1e-6


@given(sources=SOURCES, seed=SEEDS)
def test_crossed_scenes_are_colourless_and_each_source_sees_them_in_tones_of_its_own(sources: int, seed: int) -> None:
    pretext = Pretext(distortions={"zeros": 1.0}, crossed=1.0)
    batch = pretext(scenes(3, 32, 40), sources, generator=seeded(seed))
    for pixels in (batch.scene[None], batch.sources, batch.uniques, batch.common[None]):
        assert (pixels.amax(2) - pixels.amin(2)).max() < 1e-6
    shared = (batch.masks[[0, -1]].prod(0) == 1).expand_as(batch.scene)
    if shared.any():
        assert (batch.sources[0] - batch.sources[-1])[shared].abs().mean() > 0.005
    assert torch.equal(batch.common + batch.uniques.sum(0), batch.scene)


@given(sources=SOURCES, seed=SEEDS)
def test_grainy_scenes_are_common_to_all_sources_whole(sources: int, seed: int) -> None:
    scene = scenes(3, 32, 40)
    pretext = Pretext(distortions={"zeros": 1.0}, grainy=1.0)
    batch = pretext(scene, sources, generator=seeded(seed))
    assert torch.equal(batch.scene, scene)
    assert (batch.masks == 1).all()
    assert torch.equal(batch.common, scene)
    assert (batch.uniques == 0).all()
    off = batch.sources - scene
    assert off.abs().amax((2, 3, 4)).min() > 0
    assert off.std((2, 3, 4)).max() <= 1.1 * GRAIN
    for made, again in zip(batch, pretext(scene, sources, generator=seeded(seed)), strict=True):
        assert torch.equal(made, again)


def test_some_scenes_are_grainy_and_the_rest_as_they_were() -> None:
    scene = scenes(60, 32, 32)
    batch = Pretext(distortions={"zeros": 1.0}, grainy=0.5)(scene, generator=seeded(0))
    whole = (batch.masks == 1).flatten(2).all(2).all(0)
    assert 0.3 < whole.float().mean() < 0.7
    kept = batch.masks[:, ~whole].bool().expand_as(batch.sources[:, ~whole])
    assert torch.equal(batch.sources[:, ~whole][kept], scene[~whole].expand_as(kept)[kept])


@given(sources=SOURCES, seed=SEEDS)
def test_layered_scenes_are_unique_to_the_source_that_has_them_in_focus(sources: int, seed: int) -> None:
    batch = Pretext(layered=1.0)(scenes(3, 32, 40), sources, generator=seeded(seed))
    assert (batch.masks.sum(0) == 1).all()
    assert (batch.common == 0).all()
    assert torch.equal(batch.uniques.sum(0), batch.scene)


def test_shares_of_nothing_change_nothing() -> None:
    scene = scenes(8, 32, 32)
    batch = Pretext()(scene, generator=seeded(0))
    assert torch.equal(batch.scene, scene)


def test_a_share_is_that_share_of_the_scenes() -> None:
    batch = Pretext(grey=0.25)(scenes(400, 16, 16), generator=seeded(0))
    grey = (batch.scene.amax(1) == batch.scene.amin(1)).all(-1).all(-1)
    assert 0.18 < grey.float().mean() < 0.32


def test_an_unknown_distortion_is_named_beside_those_that_exist() -> None:
    with pytest.raises(TrainingError, match=r"unknown distortion haze; expected some of noise, .*, zeros"):
        Pretext(distortions={"noise": 1.0, "haze": 1.0})


@pytest.mark.parametrize("chances", [{}, {"noise": 0.0}, {"noise": -1.0}, {"noise": 2.0, "fog": -1.0}])
def test_chances_that_cannot_be_drawn_from_are_refused(chances: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="expected some above zero"):
        Pretext(distortions=chances)


@pytest.mark.parametrize("name", ["freeform", "bracketed", "crossed", "grainy", "layered", "grey"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(name: str, share: float) -> None:
    with pytest.raises(TrainingError, match=rf"{name} is .*; expected a share in \[0, 1\]"):
        Pretext(**{name: share})  # type: ignore[arg-type]


def test_jitter_changes_sources_and_parts_alike() -> None:
    scene = torch.rand(4, 3, 32, 32, generator=Generator().manual_seed(0))
    batch = Pretext(jitter=(0.1, 1.0))(scene, generator=Generator().manual_seed(0))
    assert (batch.scene.mean((1, 2, 3)) < scene.mean((1, 2, 3))).all()
    torch.testing.assert_close(batch.common + batch.uniques.sum(0), batch.scene)
    torch.testing.assert_close(batch.masks * batch.sources, batch.masks * batch.scene)


@pytest.mark.parametrize("bounds", [(0.5, 0.1), (-0.1, 1.0), (0.1, 1.1), (0.1,)])
def test_jitter_out_of_bounds_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(TrainingError, match="jitter is"):
        Pretext(jitter=bounds)


def test_even_grids_are_used_where_they_are_asked_for() -> None:
    scene = torch.rand(2, 3, 64, 64, generator=Generator().manual_seed(0))
    even = Pretext(even=True)(scene, generator=Generator().manual_seed(0)).masks
    generator = Generator().manual_seed(0)
    torch.rand(2, 2, generator=generator)  # which scenes are crossed and grey is drawn before
    assert torch.equal(even, even_grid_masks((2, 64, 64), generator=generator))
