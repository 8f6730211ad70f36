"""Tiling: that tiles of the paper's network make the picture of the whole, in bounded memory, and how far it sees."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import pytest
import torch

from defusion.model import CONFIGS, DeFusion, NetworkConfig
from defusion.model.network import give_attention
from defusion.runtime import ENGINES, Engine, Planes, load_engine
from defusion.tiles import paper
from defusion.tiles.grid import Band, Size, View
from defusion.tiles.sample import sample
from defusion.weights import WeightsFile


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has everything tiled, in tiles small enough for a test."""
    monkeypatch.setattr(paper, "WHOLE_PX", 0)
    monkeypatch.setattr(paper, "PAPER_TILE_PX", 96)
    monkeypatch.setattr("defusion.tiles.sample.SAMPLE_PX", 96)
    monkeypatch.setattr("defusion.tiles.sample.SAMPLE_WINDOW_PX", 32)


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


def painted(engine: Engine, a: Planes, b: Planes) -> Planes:
    (made,) = joined(paper.paint(engine, view(a), view(b), Size(*a.shape[2:])))
    return made


def tiled_parts(engine: Engine, a: Planes, b: Planes) -> list[Planes]:
    return joined(paper.parts(engine, view(a), view(b), Size(*a.shape[2:])))


def seams(engine: Engine, a: Planes, b: Planes) -> float:
    """Largest difference of what tiles paint from what the whole paints of the same attention."""
    attention = engine.attend(*(sample(view(planes), Size(*a.shape[2:])) for planes in (a, b)))
    whole = [*engine.decompose(a, b, attention), engine.fuse(a, b, attention)]
    tiles = [*tiled_parts(engine, a, b), painted(engine, a, b)]
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


@pytest.mark.parametrize(("height", "width"), [(13, 411), (411, 13), (147, 201)])
@pytest.mark.usefixtures("tiny")
def test_tiles_paint_the_picture_of_the_whole(engine: Engine, height: int, width: int) -> None:
    assert seams(engine, *sources(height, width)) <= 1e-4


@pytest.mark.parametrize("tile_px", [256, 500, 1024])
@pytest.mark.usefixtures("tiny")
def test_tiles_of_any_size_paint_the_picture_of_the_whole(
    engine: Engine, tile_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper, "PAPER_TILE_PX", tile_px)
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
    whole, part = engine.fuse(a, b), engine.fuse(a[..., :104], b[..., :104])
    made = painted(engine, a, b)
    assert np.abs(whole - made)[..., :8].max() < np.abs(whole[..., :8] - part[..., :8]).max()


@pytest.mark.usefixtures("tiny")
def test_engines_agree_on_tiles(small_weights: WeightsFile) -> None:
    a, b = sources(75, 203)

    def everything(name: str) -> list[Planes]:
        engine = load_engine(small_weights, engine=name)
        return [*tiled_parts(engine, a, b), painted(engine, a, b)]

    for made, expected in zip(*map(everything, ENGINES), strict=True):
        assert np.abs(made - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.usefixtures("tiny")
def test_painting_never_shows_the_network_more_than_a_tile_and_its_halo(engine: Engine) -> None:
    watched = Watched(engine)
    painted(watched, *sources(40, 720))
    halo_px = -(-engine.config.network_reach_px // 8) * 8
    assert watched.asked["fuse"] == 8
    assert watched.most_px["fuse"] <= 40 * (96 + 2 * halo_px) < 40 * 720


def test_bands_are_made_without_a_copy_of_them() -> None:
    size = Size(256, 20_000)
    tracemalloc.start()
    for band in paper.bands(
        lambda tile: [tile], [view(np.zeros((1, 3, *size), np.float32))], size, paper.tiles(size, 8)
    ):
        assert band.planes[0].shape == (1, 3, 256, 20_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * 12 * size.height * size.width  # that of the view, and one band


def test_memory_to_paint_is_that_of_a_tile_and_its_halo() -> None:
    config = CONFIGS["released"]
    whole, large, high = (paper.needed_bytes(config, Size(height, 1300)) for height in (1100, 1300, 400_000))
    assert large == high
    bands = 2 * 12 * paper.PAPER_TILE_PX * 1300
    seen_px = paper.PAPER_TILE_PX + 2 * config.network_reach_px
    assert (large - bands) / whole == pytest.approx(seen_px**2 / 1100 / 1300)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (5, 9000), (900, 250)])
@pytest.mark.usefixtures("tiny")
def test_a_sample_is_windows_from_edge_to_edge_at_full_size(height: int, width: int) -> None:
    planes = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width)
    sampled = sample(view(planes), Size(height, width))
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
        made = network(a, b)
    changed = torch.stack(made[:4]).sum((0, 2, 3))  # place, column
    distances = [(row.nonzero() - place).abs().max() for row, place in zip(changed, places, strict=True)]
    assert reach_px - 4 <= max(distances) <= reach_px
