"""Tiling: that tiles make the picture of the whole, in bounded memory, and how far the network sees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import pytest
import torch
from skimage import data
from skimage.filters import gaussian

from defusion import Fuser, tiling
from defusion.model import CONFIGS, DeFusion, NetworkConfig
from defusion.model.config import HeadName
from defusion.model.network import give_attention
from defusion.runtime import ENGINES, Engine, Planes, load_engine
from defusion.tiling import Band, Size, View
from defusion.weights import WeightsFile


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has everything tiled, in tiles small enough for a test."""
    monkeypatch.setattr(tiling, "WHOLE_PX", 0)
    monkeypatch.setattr(tiling, "TILE_PX", 128)
    monkeypatch.setattr(tiling, "SAMPLE_PX", 96)
    monkeypatch.setattr(tiling, "WINDOW_PX", 32)


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


def tiled(engine: Engine, a: Planes, b: Planes, head: HeadName) -> Planes:
    (fused,) = joined(tiling.fuse(engine, view(a), view(b), Size(*a.shape[2:]), head))
    return fused


def tiled_parts(engine: Engine, a: Planes, b: Planes, head: HeadName) -> list[Planes]:
    size = Size(*a.shape[2:])
    return [*joined(tiling.parts(engine, view(a), view(b), size)), tiled(engine, a, b, head)]


def seams(engine: Engine, a: Planes, b: Planes, head: HeadName) -> float:
    """Largest difference of what tiles make from what the whole makes of the same attention."""
    attention = engine.attend(*(tiling.sample(view(planes), Size(*a.shape[2:])) for planes in (a, b)), "paper")
    whole = engine.decompose(a, b, head, attention)
    tiles = tiled_parts(engine, a, b, head)
    assert all(found.shape == a.shape for found in tiles)
    return max(float(np.abs(found - expected).max()) for found, expected in zip(tiles, whole, strict=True))


@pytest.mark.parametrize("head", ["blend", "pyramid", "sensors", "paper"])
@pytest.mark.parametrize(("height", "width"), [(13, 411), (411, 13), (147, 201)])
@pytest.mark.usefixtures("tiny")
def test_tiles_make_the_picture_of_the_whole(engine: Engine, head: HeadName, height: int, width: int) -> None:
    assert seams(engine, *sources(height, width), head) <= 1e-4


@pytest.mark.parametrize("tile_px", [256, 500, 1024])
@pytest.mark.usefixtures("tiny")
def test_tiles_of_any_size_make_the_picture_of_the_whole(
    engine: Engine, tile_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "TILE_PX", tile_px)
    assert seams(engine, *sources(21, 2307), "blend") <= 1e-4


@pytest.mark.usefixtures("tiny")
def test_tiles_of_a_deep_network_make_the_picture_of_the_whole(released_weights: WeightsFile) -> None:
    assert seams(load_engine(released_weights), *sources(13, 501), "paper") <= 1e-4


@pytest.mark.usefixtures("tiny")
def test_tiles_without_halo_would_show_seams(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkConfig, "verdict_reach_px", 0)
    assert seams(engine, *sources(61, 201), "blend") > 0.01


@pytest.mark.usefixtures("tiny")
def test_tiles_with_attention_of_their_own_would_show_seams(engine: Engine) -> None:
    a, b = sources(61, 201)
    whole, part = engine.fuse(a, b, "blend"), engine.fuse(a[..., :104], b[..., :104], "blend")
    assert np.abs(whole - tiled(engine, a, b, "blend")).max() < np.abs(whole[..., :8] - part[..., :8]).max()


@pytest.mark.parametrize("head", ["blend", "pyramid", "sensors", "paper"])
@pytest.mark.usefixtures("tiny")
def test_engines_agree_on_tiles(small_weights: WeightsFile, head: HeadName) -> None:
    vino, reference = (
        tiled_parts(load_engine(small_weights, engine=name), *sources(75, 203), head) for name in ENGINES
    )
    for made, expected in zip(vino, reference, strict=True):
        assert np.abs(made - expected).max() <= 1e-4 * np.abs(expected).max()


class Watched:
    """An engine that notes how many pixels it was given at most."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.config = engine.config
        self.most_px = 0

    def __getattr__(self, name: str) -> object:
        method = getattr(self.engine, name)

        def noted(a: Planes, b: Planes, *rest: object) -> object:
            if name != "combine":  # which asks no network
                self.most_px = max(self.most_px, a[0, 0].size)
            return method(a, b, *rest)

        return noted


@pytest.mark.usefixtures("tiny")
def test_the_network_never_sees_more_than_a_tile_and_its_halo(small_weights: WeightsFile) -> None:
    watched = Watched(load_engine(small_weights))
    tiled(watched, *sources(360, 420), "blend")
    assert watched.most_px <= (128 + 2 * 96) ** 2


def test_pictures_up_to_the_limit_run_whole(small_weights: WeightsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "WHOLE_PX", 40 * 200)
    watched = Watched(load_engine(small_weights))
    a, b = sources(40, 200)
    fused = tiled(watched, a, b, "blend")
    assert watched.most_px == 40 * 200
    assert np.array_equal(fused, watched.engine.fuse(a, b, "blend"))
    whole = watched.engine.decompose(a, b, "blend")
    assert all(map(np.allclose, tiled_parts(watched, a, b, "blend"), whole))


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
    reach_px = CONFIGS[layout].reach_px("paper")
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


@pytest.mark.parametrize("head", ["blend", "pyramid"])
def test_heads_reach_no_farther_than_they_say(head: HeadName) -> None:
    reach_px = CONFIGS["small"].reach_px(head)
    network = DeFusion(CONFIGS["small"]).double()
    side = 2 * reach_px + 64
    a, b = torch.rand(2, 1, 3, 64, side, dtype=torch.double)
    touched = a.clone()
    touched[..., side // 2] += 100
    with torch.inference_mode(), give_attention(repeat(torch.full((2, 1, 1, 1, 1), 0.5))):
        before, after = (network(source, b, head=head).fused for source in (a, touched))
    places = (before != after).sum((0, 1, 2)).nonzero().flatten()
    assert max(side // 2 - int(places.min()), int(places.max()) - side // 2) <= reach_px


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
