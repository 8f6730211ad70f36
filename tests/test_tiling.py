"""Tiling: that tiles make the picture of the whole, in bounded memory, and how far the network sees."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data
from skimage.filters import gaussian
from skimage.measure import block_reduce

from defusion import Fuser, tiling
from defusion.model import CONFIGS, DeFusion, NetworkConfig
from defusion.model.config import BLENDINGS, Blending, HeadName, TaskName, octaves_of, octaves_reach_px
from defusion.model.network import collapse, give_attention, octaves
from defusion.runtime import ENGINES, Engine, Planes, load_engine
from defusion.tiling import Band, NetworkSees, Overview, Size, View
from defusion.weights import WeightsFile

#: Of the tests' scenes, in place of `tiling.OVERVIEW_PX`.
OVERVIEW_PX = 5_000

#: Ways to blend by everything that counts, whatever the figures are that ours are blended by.
BLENDS: dict[TaskName, Blending] = {
    "exposure": Blending(detail=0.8, tone=2.0, rest=0.7, colour=0.6, verdict=0.0),
    "focus": Blending(detail=1.3, finest=1.1, verdict=0.7),
    "infrared": Blending(detail=0.0, tone=-1.5, rest=2.0, contrast=1.4, stretch=1.3, verdict=9.0, judge="opposition"),
    "generic": Blending(octaves=0),
}


IN_OCTAVES = [task for task, blending in BLENDS.items() if not blending.by_pixel]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has everything tiled, in tiles small enough for a test."""
    monkeypatch.setattr(tiling, "WHOLE_PX", 0)
    monkeypatch.setattr(tiling, "OVERVIEW_PX", OVERVIEW_PX)
    monkeypatch.setattr(tiling, "TILE_PX", 96)
    monkeypatch.setattr(tiling, "SAMPLE_PX", 96)
    monkeypatch.setattr(tiling, "WINDOW_PX", 32)


@pytest.fixture(scope="module", autouse=True)
def _blends() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for task, blending in BLENDS.items():
            patch.setitem(BLENDINGS, task, blending)
        yield


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, small_weights: WeightsFile) -> Engine:
    return load_engine(small_weights, engine=request.param)


def sources(height: int, width: int, seed: int = 0) -> tuple[Planes, Planes]:
    """Two sources that change over the picture, so that no tile has the averages of the whole."""
    a, b = np.random.default_rng(seed).random((2, 1, 3, height, width), np.float32)
    ramp = np.linspace(0, 1, width, dtype=np.float32) * np.linspace(1, 0.2, height, dtype=np.float32)[:, None]
    return a * ramp, b * (1 - ramp)


def view(planes: Planes) -> View:
    return lambda rows, columns: planes[..., rows, columns]


def joined(bands: Iterator[Band]) -> list[Planes]:
    """The pictures that bands are parts of."""
    return [np.concatenate(planes, 2) for planes in zip(*(band.planes for band in bands), strict=True)]


def fused(engine: Engine, a: Planes, b: Planes, task: TaskName, tile_px: float | None = None) -> Planes:
    with pytest.MonkeyPatch.context() as patch:
        if tile_px is not None:
            patch.setattr(tiling, "TILE_PX", tile_px)
        (made,) = joined(tiling.fuse(engine, view(a), view(b), Size(*a.shape[2:]), task))
    return made


def painted(engine: Engine, a: Planes, b: Planes, head: HeadName) -> Planes:
    (made,) = joined(tiling.paint(engine, view(a), view(b), Size(*a.shape[2:]), head))
    return made


def tiled_parts(engine: Engine, a: Planes, b: Planes) -> list[Planes]:
    return joined(tiling.parts(engine, view(a), view(b), Size(*a.shape[2:])))


def apart(engine: Engine, a: Planes, b: Planes, task: TaskName, tile_px: float) -> float:
    """Largest difference of what tiles make from what one giant tile makes."""
    tiles, whole = (fused(engine, a, b, task, each) for each in (tile_px, 10**6))
    assert tiles.shape == whole.shape == a.shape
    return float(np.abs(tiles - whole).max())


def seams(engine: Engine, a: Planes, b: Planes) -> float:
    """Largest difference of what tiles paint from what the whole paints of the same attention."""
    attention = engine.attend(*(tiling.sample(view(planes), Size(*a.shape[2:])) for planes in (a, b)))
    whole = [*engine.decompose(a, b, attention), engine.fuse(a, b, "paper", attention)]
    tiles = [*tiled_parts(engine, a, b), painted(engine, a, b, "paper")]
    assert all(found.shape == a.shape for found in tiles)
    return max(float(np.abs(found - expected).max()) for found, expected in zip(tiles, whole, strict=True))


class Watched:
    """An engine that notes what it was asked, and how many pixels the network was given at most."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.config = engine.config
        self.asked: Counter[str] = Counter()
        self.most_px: Counter[str] = Counter()

    def __getattr__(self, name: str) -> object:
        method = getattr(self.engine, name)

        def noted(a: Planes, *rest: object, **named: object) -> object:
            self.asked[name] += 1
            self.most_px[name] = max(self.most_px[name], a[0, 0].size)
            return method(a, *rest, **named)

        return noted


@pytest.mark.parametrize("task", BLENDS)
@pytest.mark.parametrize(
    ("height", "width", "finer", "tile_px"),
    [(147, 201, 2, 64), (147, 201, 2, 96), (203, 311, 2, 256), (61, 203, 1, 64), (13, 611, 1, 96), (611, 13, 1, 256)],
)
@pytest.mark.usefixtures("tiny")
def test_tiles_blend_as_one_giant_tile_does(
    engine: Engine, task: TaskName, height: int, width: int, finer: int, tile_px: int
) -> None:
    assert Overview.of(Size(height, width)).finer == finer
    assert apart(engine, *sources(height, width), task, tile_px) <= (1e-4 if BLENDS[task].by_pixel else 1e-5)


@pytest.mark.usefixtures("tiny")
def test_three_octaves_in_tiles_blend_as_one_giant_tile_does(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "OVERVIEW_PX", 1000)
    assert Overview.of(Size(151, 331)).finer == 3
    assert apart(engine, *sources(151, 331), "focus", 64) <= 1e-5


@pytest.mark.parametrize("task", IN_OCTAVES)
@pytest.mark.parametrize(("height", "width"), [(147, 201), (61, 203)])
@pytest.mark.usefixtures("tiny")
def test_overviews_of_overviews_blend_as_one_giant_tile_does(
    engine: Engine, task: TaskName, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "OVERVIEW_PX", 1000)
    monkeypatch.setattr(tiling, "MOST_FINER", 1)
    watched = Watched(engine)
    assert apart(watched, *sources(height, width), task, 64) <= 1e-5
    assert watched.asked["judge"] == (2 if BLENDS[task].asks_network else 0)


@pytest.mark.usefixtures("tiny")
def test_overviews_of_overviews_are_close_to_one_overview(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = sources(147, 201)
    one = fused(engine, a, b, "exposure")
    monkeypatch.setattr(tiling, "MOST_FINER", 1)
    assert np.abs(fused(engine, a, b, "exposure") - one).max() <= 1e-5  # each octave is weighed by itself


@pytest.mark.parametrize("task", BLENDS)
@pytest.mark.usefixtures("tiny")
def test_tiles_that_see_no_farther_than_themselves_would_show_seams(
    engine: Engine, task: TaskName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "octaves_reach_px", lambda count: 0)
    monkeypatch.setattr(type(engine.config), "network_reach_px", 0)
    assert apart(engine, *sources(147, 201), task, 64) > 1e-3


@pytest.mark.usefixtures("tiny")
def test_in_octaves_the_network_sees_the_overview_once_and_tiles_are_blended_one_by_one(engine: Engine) -> None:
    watched = Watched(engine)
    fused(watched, *sources(147, 201), "focus", 64)
    of_tiles = 3 * 4
    assert watched.asked == {"finest": 2 * of_tiles, "judge": 1, "blend": 1 + of_tiles}
    assert watched.most_px["judge"] == 37 * 51 <= OVERVIEW_PX
    halo_px = 2 * 32
    assert watched.most_px["blend"] <= (64 + halo_px) ** 2


@pytest.mark.usefixtures("tiny")
def test_where_sources_oppose_is_told_once_by_the_overview(engine: Engine) -> None:
    watched = Watched(engine)
    fused(watched, *sources(147, 201), "infrared", 64)
    assert watched.asked == {"oppose": 1, "blend": 1 + 3 * 4}
    assert watched.most_px["oppose"] == 37 * 51 <= OVERVIEW_PX


@pytest.mark.usefixtures("tiny")
def test_pixel_by_pixel_the_network_sees_every_tile_at_full_size(engine: Engine) -> None:
    watched = Watched(engine)
    made = fused(watched, *sources(147, 201), "generic", 64)
    assert watched.asked == {"attend": 1, "judge": 3 * 4, "blend": 3 * 4}
    assert watched.most_px["judge"] <= (64 + 2 * (engine.config.network_reach_px + 8)) ** 2
    assert np.abs(made - fused(engine, *sources(147, 201), "generic", 10**6)).max() <= 1e-4


@pytest.mark.usefixtures("tiny")
def test_where_the_verdict_counts_nothing_no_network_is_asked(engine: Engine) -> None:
    watched = Watched(engine)
    made = fused(watched, *sources(61, 203), "exposure")
    assert set(watched.asked) == {"blend"}
    assert np.isfinite(made).all()


@pytest.mark.usefixtures("tiny")
def test_clipped_places_take_colour_once_however_many_overviews_there_are(engine: Engine) -> None:
    blue = np.broadcast_to(np.array([0.1, 0.2, 0.6], np.float32)[:, None, None], (1, 3, 147, 201))
    tiles = fused(engine, blue, np.ones_like(blue), "exposure", 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "WHOLE_PX", 10**6)
        whole = fused(engine, blue, np.ones_like(blue), "exposure")
    assert np.ptp(whole, axis=1).min() > 0.2  # from red to blue
    np.testing.assert_allclose(tiles, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_tile_reaches_no_farther_than_it_says(count: int) -> None:
    reach_px, blending = octaves_reach_px(count), Blending(detail=1.3, finest=1.1, tone=1.0, verdict=0.0)
    side = 2 * reach_px + 64
    a, b = torch.rand(2, 1, 3, 16, side, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    touched = a.clone()
    touched[..., side // 2] += 100
    judged, rest = torch.zeros(1, 2, 8, side // 2), torch.zeros(1, 3, 16 >> count, side >> count).double()
    of_a, of_touched, of_b = (octaves(each, judged, count, blending, with_rest=False) for each in (a, touched, b))
    before, after = (collapse([x + y for x, y in zip(each, of_b, strict=True)], rest) for each in (of_a, of_touched))
    places = (before - after).abs().sum((0, 1, 2)).gt(1e-9).nonzero().flatten()
    farthest = max(side // 2 - int(places.min()), int(places.max()) - side // 2)
    assert reach_px / 4 < farthest <= reach_px


def test_scenes_up_to_the_limit_are_fused_whole(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "WHOLE_PX", 40 * 200)
    a, b = sources(40, 200)
    watched = Watched(engine)
    made = fused(watched, a, b, "generic")
    assert watched.asked == {"judge": 1, "blend": 1}
    assert np.array_equal(
        made, engine.blend(a, b, engine.judge(a, b), "generic", octaves_of(40, 200, BLENDINGS["generic"]), 2)
    )
    assert np.allclose(painted(watched, a, b, "paper"), engine.fuse(a, b, "paper"))
    assert all(map(np.allclose, tiled_parts(watched, a, b), engine.decompose(a, b)))
    assert watched.asked["attend"] == 0
    monkeypatch.setattr(tiling, "WHOLE_PX", 40 * 200 - 1)
    monkeypatch.setattr(tiling, "OVERVIEW_PX", 40 * 200 - 1)
    fused(watched, a, b, "exposure")
    assert watched.asked["blend"] > 2


def far(fused: Planes, truth: Planes) -> float:
    return float(np.abs(fused - truth).mean())


@pytest.mark.parametrize("task", ["focus", "generic"])
def test_a_large_scene_is_close_to_the_same_fused_whole(task: TaskName) -> None:
    engine = Fuser().engine
    scene = data.astronaut()[:301, 90:491].transpose(2, 0, 1)[None].astype(np.float32) / 255
    blurred = gaussian(scene, (0, 0, 3, 3)).astype(np.float32)
    left = np.arange(scene.shape[3]) < 200
    a, b = np.where(left, scene, blurred), np.where(left, blurred, scene)
    whole = fused(engine, a, b, task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "WHOLE_PX", 60_000)
        patch.setattr(tiling, "OVERVIEW_PX", 31_000)
        patch.setattr(tiling, "SAMPLE_PX", 192)
        assert Overview.of(Size(*scene.shape[2:])).finer == 1
        in_tiles = fused(engine, a, b, task, 128)
    # An overview sees all that counts; a sample may miss some.
    assert 0 < far(in_tiles, whole) < (0.01 if task == "focus" else 0.1) * far(a, b)
    assert far(in_tiles, scene) < 0.5 * far(a, scene)


@pytest.mark.parametrize(("height", "width"), [(13, 411), (411, 13), (147, 201)])
@pytest.mark.usefixtures("tiny")
def test_tiles_paint_the_picture_of_the_whole(engine: Engine, height: int, width: int) -> None:
    assert seams(engine, *sources(height, width)) <= 1e-4


@pytest.mark.parametrize("tile_px", [256, 500, 1024])
@pytest.mark.usefixtures("tiny")
def test_tiles_of_any_size_paint_the_picture_of_the_whole(
    engine: Engine, tile_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "TILE_PX", tile_px)
    assert seams(engine, *sources(13, 1307)) <= 1e-4


@pytest.mark.usefixtures("tiny")
def test_tiles_of_a_deep_network_paint_the_picture_of_the_whole(released_weights: WeightsFile) -> None:
    assert seams(load_engine(released_weights), *sources(13, 501)) <= 1e-4


@pytest.mark.usefixtures("tiny")
def test_painted_tiles_without_halo_would_show_seams(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkConfig, "network_reach_px", 0)
    assert seams(engine, *sources(61, 201)) > 0.01


@pytest.mark.usefixtures("tiny")
def test_tiles_with_attention_of_their_own_would_show_seams(engine: Engine) -> None:
    a, b = sources(61, 201)
    whole, part = engine.fuse(a, b, "paper"), engine.fuse(a[..., :104], b[..., :104], "paper")
    made = painted(engine, a, b, "paper")
    assert np.abs(whole - made)[..., :8].max() < np.abs(whole[..., :8] - part[..., :8]).max()


@pytest.mark.usefixtures("tiny")
def test_tiles_of_head_detail_are_the_whole(engine: Engine) -> None:
    a, b = sources(147, 201)
    watched = Watched(engine)
    assert np.abs(painted(watched, a, b, "detail") - engine.fuse(a, b, "detail")).max() <= 1e-5
    assert watched.asked == {"fuse": 2 * 3}


@pytest.mark.usefixtures("tiny")
def test_engines_agree_on_tiles(small_weights: WeightsFile) -> None:
    a, b = sources(75, 203)

    def everything(name: str) -> list[Planes]:
        engine = load_engine(small_weights, engine=name)
        blended = [fused(engine, a, b, task) for task in BLENDS]
        return [*blended, *tiled_parts(engine, a, b), painted(engine, a, b, "paper")]

    for made, expected in zip(*map(everything, ENGINES), strict=True):
        assert np.abs(made - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.usefixtures("tiny")
def test_painting_never_shows_the_network_more_than_a_tile_and_its_halo(engine: Engine) -> None:
    watched = Watched(engine)
    painted(watched, *sources(40, 720), "paper")
    halo_px = -(-engine.config.network_reach_px // 8) * 8
    assert watched.asked["fuse"] == 8
    assert watched.most_px["fuse"] <= 40 * (96 + 2 * halo_px) < 40 * 720


@pytest.mark.usefixtures("tiny")
def test_a_fuser_takes_tiles_for_large_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = np.ascontiguousarray(data.astronaut()[:200, 120:380])
    blurred = (gaussian(scene, 3, channel_axis=2) * 255).astype(np.uint8)
    a, b = scene.copy(), blurred.copy()
    a[:, 130:], b[:, 130:] = blurred[:, 130:], scene[:, 130:]
    fuser = Fuser()
    in_tiles, parts = fuser.fuse([a, b]), fuser.decompose(a, b)
    assert np.abs(in_tiles.astype(float) - parts.fused).max() <= 1
    monkeypatch.setattr(tiling, "WHOLE_PX", scene.size)
    whole = fuser.fuse([a, b]).astype(float)
    assert 0 < np.abs(in_tiles - whole).mean() < 1
    assert np.abs(in_tiles - scene.astype(float)).mean() < np.abs(a - scene.astype(float)).mean() / 2


@given(height=st.integers(1, 12_000), width=st.integers(1, 12_000))
def test_an_overview_is_the_whole_or_the_largest_that_is_small_enough(height: int, width: int) -> None:
    size, finer = overview = Overview.of(Size(height, width))
    assert overview == Overview.lacking(finer, Size(height, width))
    assert size == (-(-height // overview.scale), -(-width // overview.scale))
    assert overview.scale == 2**finer
    if height * width <= tiling.WHOLE_PX:
        assert finer == 0
    else:
        assert finer > 0
        assert size.height * size.width <= tiling.OVERVIEW_PX
        less = overview.scale // 2
        assert finer == 1 or -(-height // less) * -(-width // less) > tiling.OVERVIEW_PX


def test_scenes_of_known_sizes_have_known_overviews() -> None:
    assert Overview.of(Size(1000, 1500)) == ((1000, 1500), 0)
    assert Overview.of(Size(1001, 1500)) == ((501, 750), 1)
    assert Overview.of(Size(4000, 6000)) == ((500, 750), 3)
    assert Overview.of(Size(1, 3_000_001)) == ((1, 375_001), 3)


@pytest.mark.parametrize(("height", "width"), [(147, 201), (300, 13), (128, 256)])
@pytest.mark.usefixtures("tiny")
def test_pixels_of_an_overview_are_the_means_of_those_they_stand_for(height: int, width: int) -> None:
    planes, _ = sources(height, width)
    overview = Overview.of(Size(height, width))
    made, scale = overview.planes(view(planes), Size(height, width)), overview.scale
    assert scale > 1
    assert made.shape == (1, 3, *overview.size)
    padded = np.pad(planes, ((0, 0), (0, 0), (0, -height % scale), (0, -width % scale)), "edge")
    expected = block_reduce(padded, (1, 1, scale, scale), np.mean)
    assert np.abs(made - expected).max() <= 1e-6


@pytest.mark.parametrize("network", [None, "overview"])
def test_memory_needed_is_that_of_the_overview_and_of_two_bands(network: NetworkSees | None) -> None:
    config = CONFIGS["small"]
    whole, large, wide = (
        tiling.needed_bytes(config, Size(height, width), network)
        for height, width in ((1200, 1200), (1300, 1300), (650, 2600))
    )
    assert whole > large
    assert wide - large == pytest.approx(2 * 12 * tiling.TILE_PX * 1300, rel=0.05)
    gigapixel = tiling.needed_bytes(config, Size(25_000, 40_000), None)
    assert gigapixel < 1.5e9


def test_bands_are_made_without_a_copy_of_them() -> None:
    size = Size(256, 20_000)
    tracemalloc.start()
    for band in tiling.bands(
        lambda tile: [tile], [view(np.zeros((1, 3, *size), np.float32))], size, tiling.tiles(size, 8)
    ):
        assert band.planes[0].shape == (1, 3, 256, 20_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * 12 * size.height * size.width  # that of the view, and one band


def test_memory_to_paint_is_that_of_a_tile_and_its_halo() -> None:
    config = CONFIGS["released"]
    whole, large, high = (
        tiling.needed_bytes(config, Size(height, 1300), "tiles") for height in (1100, 1300, 400_000)
    )
    assert large == high
    bands = 2 * 12 * tiling.TILE_PX * 1300
    assert (large - bands) / whole == pytest.approx((tiling.TILE_PX + 2 * config.network_reach_px) ** 2 / 1100 / 1300)
    assert tiling.needed_bytes(config, Size(1100, 1300), "overview") == whole
    assert tiling.needed_bytes(config, Size(1100, 1300), None) < whole / 2


@pytest.mark.parametrize(("height", "width"), [(300, 400), (5, 9000), (900, 250)])
@pytest.mark.usefixtures("tiny")
def test_a_sample_is_windows_from_edge_to_edge_at_full_size(height: int, width: int) -> None:
    planes = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width)
    sampled = tiling.sample(view(planes), Size(height, width))
    assert sampled.size <= 2 * 96**2 + 32 * max(sampled.shape)
    assert (sampled[..., 0, 0], sampled[..., -1, -1]) == (planes[..., 0, 0], planes[..., -1, -1])
    windows = sampled[0, 0, 0].reshape(-1, 32)
    assert (np.diff(windows, axis=1) == 1).all()


@pytest.mark.parametrize("layout", ["small", "released"])
def test_a_pixel_changes_nothing_beyond_the_reach_and_something_close_to_it(layout: str) -> None:
    reach_px = CONFIGS[layout].network_reach_px
    network = DeFusion(CONFIGS[layout]).double()
    for parameter in network.parameters():  # black makes black, and no two changes cancel out
        torch.nn.init.zeros_(parameter) if parameter.ndim == 1 else parameter.data.abs_()
    places = range(256, 264)
    a, b = torch.zeros(2, len(places), 3, 8, 512, dtype=torch.double)
    for source, place in zip(a, places, strict=True):
        source[..., place] = 1
    with torch.inference_mode(), give_attention(repeat(torch.full((2, 1, 1, 1, 1), 0.5))):
        made = network(a, b, head="paper")
    changed = torch.stack(made[:4]).sum((0, 2, 3))  # place, column
    distances = [(row.nonzero() - place).abs().max() for row, place in zip(changed, places, strict=True)]
    assert reach_px - 4 <= max(distances) <= reach_px


def test_results_come_in_order_and_never_far_ahead() -> None:
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        time.sleep(0.001 * (task % 3))
        return task * task

    results = tiling.in_order(work, range(20))
    assert next(results) == 0
    time.sleep(0.02)
    assert len(begun) <= 3
    assert list(results) == [task * task for task in range(1, 20)]


def test_a_failing_task_ends_the_rest() -> None:
    def work(task: int) -> int:
        if task == 3:
            raise ValueError("three")
        return task

    with pytest.raises(ValueError, match="three"):
        list(tiling.in_order(work, range(1000)))
