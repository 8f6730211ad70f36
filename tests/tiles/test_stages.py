"""Scenes of any size and number of sources: that stages, tiles and slabs leave no trace, and hardly a difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from skimage import data
from skimage.filters import gaussian

from defusion.runtime import Engine, Planes, load_engine
from defusion.runtime import engine as engines
from defusion.runtime.engine import Decided
from defusion.tiles import grid, relevance, stages
from defusion.tiles.grid import Size
from defusion.tiles.progress import FusingProgress
from defusion.tiles.views import SourceViews
from defusion.weights import WeightsFile, resolve


@pytest.fixture(scope="module")
def shipped() -> Engine:
    return load_engine(WeightsFile.open(resolve(None)))


@pytest.fixture(scope="module")
def random(pyramid_weights: WeightsFile) -> Engine:
    return load_engine(pyramid_weights)


def noise(count: int, height: int, width: int) -> Planes:
    """Sources that change from place to place, and over the picture."""
    planes = np.random.default_rng(3).random((count, 3, height, width), np.float32)
    ramp = np.linspace(0, 1, width, dtype=np.float32)
    return np.stack([plane * (ramp if number % 2 else 1 - ramp) for number, plane in enumerate(planes)])


HEIGHT, WIDTH = 157, 263


def photographs(count: int, height: int = HEIGHT, width: int = WIDTH, blur: float = 3) -> Planes:
    """One scene, each source sharp in a part of its own."""
    scene = np.tile(data.astronaut(), (2, 2, 1))[:height, 90 : 90 + width].astype(np.float32) / 255
    soft = gaussian(scene, blur, channel_axis=2).astype(np.float32)
    owner = np.arange(width) * count // width
    return np.stack([np.where((owner == k)[:, None], scene, soft) for k in range(count)]).transpose(0, 3, 1, 2)


def fused(
    engine: Engine, planes: Planes, confidence: Sequence[Planes | None] | None = None, *, parts: bool = False
) -> list[Planes]:
    """All of what the bands of a scene are parts of."""
    nothing = np.zeros((1, 1, 0, 0), np.float32)

    def opened() -> Iterator[SourceViews]:
        for number, plane in enumerate(planes):
            trust = None if confidence is None else confidence[number]
            yield SourceViews(
                lambda rows, columns, plane=plane: plane[None, :, rows, columns],
                lambda rows, columns, trust=trust: nothing if trust is None else trust[None, :, rows, columns],
            )

    bands = list(stages.fuse(engine, opened, len(planes), Size(*planes.shape[2:]), parts=parts))
    assert [band.rows.start for band in bands] == [0, *(band.rows.stop for band in bands[:-1])]
    return [np.concatenate(each, 2) for each in zip(*(band.planes for band in bands), strict=True)]


@pytest.fixture(params=["closely", "from afar"])
def _looks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has all tiles looked at closely, or none: one large tile is if any place of it is to be."""
    closely = request.param == "closely"
    monkeypatch.setattr(engines, "MASK_COUNTS", -1 if closely else 2)
    monkeypatch.setattr(engines, "TRUSTED", 2 if closely else -1)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize(("height", "width", "tile_px"), [(147, 203, 64), (203, 135, 64)])
@pytest.mark.usefixtures("_looks")
def test_tiles_of_any_size_make_what_one_large_tile_makes(
    random: Engine, height: int, width: int, tile_px: int, parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "AT_ONCE_PX", 12_000)
    planes, confidence = noise(2, height, width), [None, np.ones((1, height, width), np.float32)]
    confidence[1][:, 40:90, 20:60] = 0
    assert len(grid.scales_of(Size(height, width), 2)) == 2
    monkeypatch.setattr(grid, "tile_px", lambda count: 10**6)
    whole = fused(random, planes, confidence, parts=parts)
    monkeypatch.setattr(grid, "tile_px", lambda count: tile_px)
    tiles = fused(random, planes, confidence, parts=parts)
    assert [each.shape for each in whole] == [(1, 3, height, width), (2, 3, height, width)][: 1 + parts]
    for found, expected in zip(tiles, whole, strict=True):
        assert np.abs(found - expected).max() < 1e-5


def test_tiles_that_see_no_farther_than_themselves_would_show_seams(
    random: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "AT_ONCE_PX", 12_000)
    (whole,) = fused(random, noise(2, 147, 203))
    monkeypatch.setattr(grid, "REACH_PX", 0)
    monkeypatch.setattr(grid, "tile_px", lambda count: 64)
    (seams,) = fused(random, noise(2, 147, 203))
    assert np.abs(seams - whole).max() > 1e-3


@pytest.mark.parametrize(("at_once_px", "count"), [(60_000, 2), (20_000, 3)])
def test_stages_make_nearly_what_the_whole_makes(
    shipped: Engine, at_once_px: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = photographs(2, 521, 523)
    (whole,) = fused(shipped, planes)
    monkeypatch.setattr(grid, "AT_ONCE_PX", at_once_px)
    assert len(grid.scales_of(Size(521, 523), 2)) == count
    (staged,) = fused(shipped, planes)
    assert staged.shape == whole.shape
    assert np.abs(staged - whole).mean() < 0.02


def test_three_stages_have_parts_that_add_up(random: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "AT_ONCE_PX", 20_000)
    planes = photographs(2, 521, 523)
    assert len(grid.scales_of(Size(521, 523), 2)) == 3
    (picture,) = fused(random, planes)
    common, uniques = fused(random, planes, parts=True)
    assert np.abs(common + uniques.sum(0, keepdims=True) - picture).max() < 1e-5


def test_a_stack_in_slabs_is_the_stack_in_memory(shipped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "AT_ONCE_PX", 100_000)
    planes = photographs(5)
    (in_memory,) = fused(shipped, planes)
    monkeypatch.setattr(stages, "HELD_BYTES", 1)
    (in_slabs,) = fused(shipped, planes)
    assert np.abs(in_slabs - in_memory).max() < 1e-6
    monkeypatch.setattr(relevance, "LEAST_SHARE", -1.0)
    (of_all,) = fused(shipped, planes)  # those of no weight were left out of tiles
    assert np.abs(of_all - in_memory).mean() < 0.01


def test_a_deep_stack_shows_all_that_is_in_focus(shipped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made small, its frames look alike: the coarser stage cannot tell which of them matter."""
    planes = photographs(24, 300, 520, blur=1)
    sharp = planes.max(0)
    for number, plane in enumerate(planes):
        strip = slice(-(-number * 520 // 24), -(-(number + 1) * 520 // 24))
        sharp[..., strip] = plane[..., strip]
    monkeypatch.setattr(grid, "AT_ONCE_PX", 300_000)
    assert len(grid.scales_of(Size(300, 520), 24)) == 2
    (picture,) = fused(shipped, planes)
    assert np.abs(picture[0] - sharp).mean() < 0.25 * np.abs(planes.mean(0) - sharp).mean()


@pytest.mark.parametrize("at_once_px", [10**6, 60_000])
def test_a_place_that_a_source_lacks_never_shows(
    shipped: Engine, at_once_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "AT_ONCE_PX", at_once_px)
    a, b = photographs(2)
    confidence = np.ones((1, HEIGHT, WIDTH), np.float32)
    hole = (slice(30, 130), slice(150, 250))
    confidence[:, *hole] = 0
    made = []
    for fill in (0.0, 1.0):
        filled = a.copy()
        filled[:, *hole] = fill
        made.append(fused(shipped, np.stack([filled, b]), [confidence, None])[0])
    inside = (..., slice(40, 120), slice(160, 240))
    assert np.abs(made[0] - made[1])[inside].max() < 0.02
    assert np.abs(made[0] - b)[inside].mean() < 0.02


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (17, 400)])
@pytest.mark.parametrize("at_once_px", [10**6, 1000])
def test_any_size_and_number_of_sources(
    shipped: Engine, height: int, width: int, count: int, at_once_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "AT_ONCE_PX", at_once_px)
    planes = np.full((count, 3, height, width), 0.5, np.float32)
    (picture,) = fused(shipped, planes)
    assert picture.shape == (1, 3, height, width)
    assert np.abs(picture - 0.5).max() < 0.02


@pytest.mark.parametrize("count", [2, 4])
def test_how_far_the_work_has_come_is_told(shipped: Engine, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "AT_ONCE_PX", 60_000)
    told: list[FusingProgress] = []
    planes = photographs(count)
    sources = [
        SourceViews(
            lambda rows, columns, plane=plane: plane[None, :, rows, columns],
            lambda rows, columns: np.zeros((1, 1, 0, 0), np.float32),
        )
        for plane in planes
    ]
    for _ in stages.fuse(shipped, lambda: sources, count, Size(HEIGHT, WIDTH), told.append):
        pass
    frames = count if count > 2 else 1
    assert told[-1] == FusingProgress(HEIGHT, HEIGHT, frames, frames)
    assert [each.rows for each in told] == sorted(each.rows for each in told)


def test_memory_needed_grows_with_neither_size_nor_sources_without_bound() -> None:
    small, large, many = (
        stages.needed_bytes(Size(*size), count)
        for size, count in [((500, 500), 2), ((5000, 5000), 2), ((5000, 5000), 100)]
    )
    assert small < large < 2e9
    assert many < 5e9


def test_sources_that_a_mask_chooses_are_kept_in_tiles() -> None:
    """A focus stack is put together by the mask: by the weights alone the frame in focus would be left out."""
    by_weight, by_mask = np.zeros((3, 1, 8, 8), np.float32), np.zeros((3, 1, 8, 8), np.float32)
    by_weight[0] = by_mask[2] = 1
    plane = np.zeros((1, 3, 8, 8), np.float32)
    everywhere = np.ones((1, 1, 8, 8), np.float32)
    small, ones = everywhere[..., :2, :2], np.ones_like(by_weight)
    decided = Decided((plane,), (plane,), by_weight, small, by_weight, everywhere, ones, by_mask)
    known = stages._kept(decided, Size(8, 8))
    assert 2 in relevance.relevant(known.share, np.zeros((3, 1, 1), np.float32))
    np.testing.assert_array_equal(known.share, by_mask)
