"""Scenes of any size in bounded memory: a sample of the whole first, then tiles.

Split attention weighs branches by their average over the plane, so a tile on its own would be weighed unlike its
neighbour, and their seam would show. Here a sample of the scene runs first and its weights are kept; the tiles are
given them. What is left of the network sees no farther than `NetworkConfig` says, so that tiles with a halo of that
width are what the whole would be with these weights, by construction.

The verdict comes in tiles of its own, at half size, and runs a little ahead of the tiles that blend the sources by
it: so each kind of tile has no more halo than it needs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np

from defusion.model.config import (
    BLENDINGS,
    DETAIL_REACH_PX,
    SIZE_MULTIPLE,
    HeadName,
    NetworkConfig,
    octaves_reach_px,
    size_multiple,
)
from defusion.runtime import Attention, Engine, Planes

#: Pictures of up to so many pixels run whole.
WHOLE_PX = 1_500_000

#: Largest side of a tile, without its halo.
TILE_PX = 512

#: Memory that the network and the head take, in bytes for each pixel of a tile and each channel of the encoder at
#: full size: OpenVINO took 23 to 31 in float32, for two layouts.
BYTES_PER_CHANNEL = 30

#: Side of a square of as many pixels as the sample has. Against the whole run at once, 14 pairs of 0.8 to 2
#: megapixels stood at 43 to 59 dB, median 50 (`benchmarks/tiles.md`); of a side of 384, median 41. With an earlier
#: head, the whole scaled down to as many pixels stood 7 to 13 dB lower than windows at full size.
SAMPLE_PX = 768

#: Side of the windows that a sample is made of. With an earlier head, 128 stood 1 to 5 dB lower: few windows miss
#: much of the scene.
WINDOW_PX = 64

#: Gives a part of a scene, its rows and columns, as planes [1, 3, h, w].
View = Callable[[slice, slice], Planes]


class Size(NamedTuple):
    """Of a scene, in pixels."""

    height: int
    width: int


class Band(NamedTuple):
    """A part of a result as wide as the scene; bands come from top to bottom."""

    rows: slice
    """Of the scene, even where the result has half of its size."""
    planes: list[Planes]
    """Each [S, C, h, W]: one of each picture that is made."""


class Tiles(NamedTuple):
    """How a scene is cut."""

    reach_px: int
    """How far a tile has to see beyond its core."""
    multiple: int = SIZE_MULTIPLE
    """Where a tile has to begin."""
    side_px: float = math.inf
    """Largest side of a core."""


def tiles(size: Size, reach_px: int, multiple: int = SIZE_MULTIPLE) -> Tiles:
    """Cuts a scene: up to `WHOLE_PX` not at all."""
    return Tiles(reach_px, multiple, math.inf if size.height * size.width <= WHOLE_PX else TILE_PX)


def needed_bytes(config: NetworkConfig, size: Size) -> int:
    """Returns about how much memory the network takes for a tile of a scene, or for the whole of a small one."""
    whole_px = size.height * size.width
    tile_px = whole_px if whole_px <= WHOLE_PX else (TILE_PX + 2 * config.verdict_reach_px) ** 2
    return BYTES_PER_CHANNEL * (config.stem + config.encoder[0].width) * tile_px


def fuse(engine: Engine, a: View, b: View, size: Size, head: HeadName) -> Iterator[Band]:
    """Fuses one pair, band by band."""
    if head not in BLENDINGS:

        def whole(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
            return [engine.fuse(tile_a, tile_b, head, attention)]

        attention = None if head == "detail" else attention_of(engine, a, b, size, head)
        return bands(whole, [a, b], size, tiles(size, engine.config.reach_px(head)))

    def combine(tile_a: Planes, tile_b: Planes, judged: Planes) -> Sequence[Planes]:
        return [engine.combine(tile_a, tile_b, judged, head)]

    reach_px = DETAIL_REACH_PX + octaves_reach_px(head)
    return bands(combine, [a, b, judge(engine, a, b, size)], size, tiles(size, reach_px, size_multiple(head)))


def judge(engine: Engine, a: View, b: View, size: Size) -> View:
    """Returns a view of what the network judges of a pair, at half size, [2, 3, h/2, w/2]; see `Ahead`."""
    attention = attention_of(engine, a, b, size, engine.config.heads[0])

    def make(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
        return [engine.judge(tile_a, tile_b, attention)]

    return Ahead(bands(make, [a, b], size, tiles(size, engine.config.verdict_reach_px), scale=2))


def parts(engine: Engine, a: View, b: View, size: Size) -> Iterator[Band]:
    """Decomposes one pair, band by band: common, unique_a and unique_b."""
    attention = attention_of(engine, a, b, size, "paper")

    def make(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
        return engine.decompose(tile_a, tile_b, "paper", attention)[:3]

    return bands(make, [a, b], size, tiles(size, engine.config.network_reach_px))


def attention_of(engine: Engine, a: View, b: View, size: Size, head: HeadName) -> Attention | None:
    """Returns the split attention that the tiles of a pair need; None where the scene runs whole."""
    if size.height * size.width <= WHOLE_PX:
        return None
    return engine.attend(sample(a, size), sample(b, size), head)


def bands(
    make: Callable[..., Sequence[Planes]], views: Sequence[View], size: Size, cut: Tiles, scale: int = 1
) -> Iterator[Band]:
    """Makes pictures of views of one scene, tile by tile.

    Args:
        make: Takes one plane of each view, and gives planes [S, C, h, w], smaller by the scale.
        views: The sources.
        size: Of the scene.
        cut: How it is cut.
        scale: How many pixels of the scene are one of the result.
    """
    rows, columns = (list(spans(length_px, cut)) for length_px in size)

    def tile(place: tuple[Span, Span]) -> list[Planes]:
        down, across = place
        made = make(*(view(down.seen, across.seen) for view in views))
        inner = scaled(down.inner, scale), scaled(across.inner, scale)
        return [plane[(..., *inner)] for plane in made]

    places = list(product(rows, columns))
    made = in_order(tile, places) if len(places) > 1 else map(tile, places)
    for down in rows:
        of_band = [next(made) for _ in columns]
        yield Band(down.core, [np.concatenate(planes, 3) for planes in zip(*of_band, strict=True)])


class Ahead:
    """A view of bands at half size that are made when they are looked at, from top to bottom."""

    def __init__(self, made: Iterator[Band]) -> None:
        self._made = made
        self._kept: deque[Band] = deque()

    def __call__(self, rows: slice, columns: slice) -> Planes:
        """Gives a part of the scene, its rows and columns, of half as many."""
        while not self._kept or self._kept[-1].rows.stop < rows.stop:
            self._kept.append(next(self._made))
        while self._kept[0].rows.stop <= rows.start:
            self._kept.popleft()
        top = self._kept[0].rows.start
        within = scaled(slice(rows.start - top, rows.stop - top), 2)
        seen = [band.planes[0][..., scaled(columns, 2)] for band in self._kept if band.rows.start < rows.stop]
        return np.concatenate(seen, 2)[:, :, within]


def scaled(extent: slice, scale: int) -> slice:
    """The extent in a result that is smaller by the scale."""
    return slice(extent.start // scale, -(-extent.stop // scale))


Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """Works on tasks one after the other, and on the next while the last result is used."""
    with ThreadPoolExecutor(1) as pool:
        running: Future[Result] | None = None
        try:
            for task in tasks:
                last, running = running, pool.submit(work, task)
                if last is not None:
                    yield last.result()
            if running is not None:
                yield running.result()
        finally:
            pool.shutdown(cancel_futures=True)


class Span(NamedTuple):
    """A tile's extent along one side of the picture."""

    seen: slice
    """What the network sees of the sources: core and halo."""
    core: slice
    """What the tile paints of the result."""
    inner: slice
    """Where the core is in what is seen."""


def spans(length_px: int, cut: Tiles) -> Iterator[Span]:
    """Cuts a side into even spans that begin, with and without their halo, at a multiple.

    A halo ends at the picture's edge: there a tile is padded as the whole is.
    """
    count = math.ceil(length_px / cut.side_px)
    step = math.ceil(length_px / max(count, 1) / cut.multiple) * cut.multiple
    halo = math.ceil(cut.reach_px / cut.multiple) * cut.multiple
    for start in range(0, length_px, step):
        stop = min(start + step, length_px)
        first, last = max(start - halo, 0), min(stop + halo, length_px)
        yield Span(slice(first, last), slice(start, stop), slice(start - first, stop - first))


def sample(view: View, size: Size) -> Planes:
    """Lays windows from all over a scene side by side, at the scale of the whole.

    The scene scaled down would be the nearer thought, but its averages depend on its scale: out of focus by ten
    pixels is sharp at a tenth of the size. A scene of fewer pixels than the sample is given as it is.
    """
    if size.height * size.width <= SAMPLE_PX**2:
        return view(slice(0, size.height), slice(0, size.width))
    scale = SAMPLE_PX / math.sqrt(size.height * size.width)
    rows, columns = (_windows(length_px, scale) for length_px in size)
    return np.concatenate([np.concatenate([view(down, across) for across in columns], 3) for down in rows], 2)


def _windows(length_px: int, scale: float) -> list[slice]:
    window_px = min(WINDOW_PX, length_px)
    starts = np.linspace(0, length_px - window_px, math.ceil(length_px * scale / window_px)).astype(int)
    return [slice(start, start + window_px) for start in starts.tolist()]
