"""Scenes of any size in bounded memory: an overview of the whole first, then the finest octaves, tile by tile.

Head `pyramid` blends octaves of detail, each by weights of its own. So a large scene is fused whole at a smaller
size, network and all, which settles everything but the finest octaves; those take a few pixels' surroundings and the
overview's verdict, so that tiles with a halo of that width are what the whole would be, by construction.

Head `paper` and the parts are painted by the network at full size. Split attention weighs branches by their average
over the plane, so a tile on its own would be weighed unlike its neighbour, and their seam would show. There a sample
of the scene runs first and its weights are kept; the tiles are given them. What is left of the network sees no
farther than `NetworkConfig` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from defusion.model.config import (
    BLENDINGS,
    DETAIL_REACH_PX,
    SIZE_MULTIPLE,
    HeadName,
    NetworkConfig,
    TaskName,
    octaves_of,
    octaves_reach_px,
)
from defusion.runtime import Attention, Engine, Planes

#: Pictures of up to so many pixels run whole.
WHOLE_PX = 1_500_000

#: The overview of a larger one has at most so many.
OVERVIEW_PX = 750_000

#: Largest side of a tile, without its halo.
TILE_PX = 512

#: Memory that the network takes, in bytes for each pixel that it sees at once and each channel of the encoder at full
#: size: OpenVINO took 23 to 31 in float32, for two layouts.
BYTES_PER_CHANNEL = 30

#: The same of a head that asks no network, for each pixel: 291 were taken.
HEAD_BYTES = 300

#: Side of a square of as many pixels as the sample has, from which tiles of head `paper` have their attention.
SAMPLE_PX = 768

#: Side of the windows that a sample is made of. 128 stood 1 to 5 dB lower: few windows miss much of the scene.
WINDOW_PX = 64

#: What a network is asked for: its picture or the parts at full size, or its verdict, of the overview.
NetworkWork = Literal["paints", "judges"]

#: Gives a part of a scene, its rows and columns, as planes [1, 3, h, w].
View = Callable[[slice, slice], Planes]


class Size(NamedTuple):
    """Of a scene, in pixels."""

    height: int
    width: int


class Band(NamedTuple):
    """A part of a result as wide as the scene; bands come from top to bottom."""

    rows: slice
    """Of the scene, even where a result is smaller."""
    planes: list[Planes]
    """Each [S, C, h, W]: one of each picture that is made."""


class Progress(NamedTuple):
    """How far the fusing of a scene has come."""

    rows: int
    """Rows that are worked through: those of a stack once for each time that a frame is opened."""
    of_rows: int
    frame: int = 1
    """The one that was worked on last, from 1."""
    frames: int = 1
    """Frames that are worked on one after the other: 1 where two are fused as a pair."""


#: Is told how far the work has come.
Report = Callable[[Progress], None]


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


def needed_bytes(config: NetworkConfig, size: Size, network: NetworkWork | None) -> int:
    """Returns about how much memory fusing a scene takes at once: for the whole, a tile, or its overview.

    Args:
        config: Of the network.
        size: Of the scene.
        network: What it is asked for; None where it is not asked.
    """
    small = Overview.of(size).size
    seen_px = small.height * small.width
    if network is None:
        return HEAD_BYTES * seen_px
    if network == "paints" and size.height * size.width > WHOLE_PX:
        seen_px = (TILE_PX + 2 * config.network_reach_px) ** 2
    return BYTES_PER_CHANNEL * (config.stem + config.encoder[0].width) * seen_px


class Overview(NamedTuple):
    """A scene at a size at which it is fused whole."""

    size: Size
    finer: int
    """Octaves that it lacks."""

    @classmethod
    def of(cls, size: Size) -> Overview:
        """Returns the overview of a scene: itself, up to `WHOLE_PX`."""
        finer, small = 0, size
        while small.height * small.width > (OVERVIEW_PX if finer else WHOLE_PX):
            finer += 1
            small = Size(-(-size.height >> finer), -(-size.width >> finer))
        return cls(small, finer)

    @property
    def scale(self) -> int:
        """How many pixels of the scene are one of the overview."""
        return 1 << self.finer

    @property
    def tiles(self) -> Tiles:
        """How the scene is cut for the octaves that the overview lacks."""
        return Tiles(octaves_reach_px(self.finer), 2 * self.scale, TILE_PX)

    def planes(self, view: View, size: Size) -> Planes:
        """Makes the overview of a view of the scene, [1, 3, h, w]: pixels are the means of those they stand for."""

        def make(tile: Planes) -> Sequence[Planes]:
            return [_reduced(tile, self.scale)]

        if self.finer == 0:
            return view(slice(0, size.height), slice(0, size.width))
        made = bands(make, [view], size, Tiles(0, 2 * self.scale, TILE_PX), scales=(self.scale,))
        return np.concatenate([band.planes[0] for band in made], 2)


def fuse(engine: Engine, a: View, b: View, size: Size, task: TaskName) -> Iterator[Band]:
    """Fuses one pair by head `pyramid`, band by band."""
    overview = Overview.of(size)
    of_a, of_b = (overview.planes(view, size) for view in (a, b))
    judged = verdict_of(engine, of_a, of_b, task)
    fused = engine.blend(of_a, of_b, judged, task, octaves_of(*overview.size, BLENDINGS[task]), 2)
    if overview.finer == 0:
        yield Band(slice(0, size.height), [fused])
        return
    scale = overview.scale

    def make(tile_a: Planes, tile_b: Planes, rest: Planes, of_judged: Planes) -> Sequence[Planes]:
        return [engine.blend(tile_a, tile_b, of_judged, task, overview.finer, 2 * scale, rest)]

    yield from bands(make, [a, b, smaller(fused, scale), smaller(judged, 2 * scale)], size, overview.tiles)


def verdict_of(engine: Engine, a: Planes, b: Planes, task: TaskName) -> Planes:
    """Judges a pair, [2, 2, h/2, w/2]; where the verdict counts nothing for a task, no network is asked."""
    if BLENDINGS[task].asks_network:
        return engine.judge(a, b)
    return np.zeros((2, 2, *(-(-side // 2) for side in a.shape[2:])), np.float32)


def paint(engine: Engine, a: View, b: View, size: Size, head: HeadName) -> Iterator[Band]:
    """Makes the picture of head `paper` or `detail` of one pair, band by band."""

    def make(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
        return [engine.fuse(tile_a, tile_b, head, attention)]

    attention = None if head == "detail" else attention_of(engine, a, b, size)
    reach_px = DETAIL_REACH_PX if head == "detail" else engine.config.network_reach_px
    return bands(make, [a, b], size, tiles(size, reach_px))


def parts(engine: Engine, a: View, b: View, size: Size) -> Iterator[Band]:
    """Decomposes one pair, band by band: common, unique_a and unique_b."""
    attention = attention_of(engine, a, b, size)

    def make(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
        return engine.decompose(tile_a, tile_b, attention)

    return bands(make, [a, b], size, tiles(size, engine.config.network_reach_px))


def attention_of(engine: Engine, a: View, b: View, size: Size) -> Attention | None:
    """Returns the split attention that the tiles of a pair need; None where the scene runs whole."""
    if size.height * size.width <= WHOLE_PX:
        return None
    return engine.attend(sample(a, size), sample(b, size))


def bands(
    make: Callable[..., Sequence[Planes]],
    views: Sequence[View],
    size: Size,
    cut: Tiles,
    scales: Sequence[int] | None = None,
) -> Iterator[Band]:
    """Makes pictures of views of one scene, tile by tile.

    Args:
        make: Takes one plane of each view, and gives planes [S, C, h, w].
        views: The sources.
        size: Of the scene.
        cut: How it is cut.
        scales: How many pixels of the scene are one of each plane that is made; one where None.
    """
    rows, columns = (list(spans(length_px, cut)) for length_px in size)

    def tile(place: tuple[Span, Span]) -> list[Planes]:
        down, across = place
        made = make(*(view(down.seen, across.seen) for view in views))
        of_planes = zip(made, scales or [1] * len(made), strict=True)
        return [plane[(..., scaled(down.inner, scale), scaled(across.inner, scale))] for plane, scale in of_planes]

    places = list(product(rows, columns))
    made = in_order(tile, places) if len(places) > 1 else map(tile, places)
    for down in rows:
        of_band = [next(made) for _ in columns]
        yield Band(down.core, [np.concatenate(planes, 3) for planes in zip(*of_band, strict=True)])


def smaller(planes: Planes, scale: int) -> View:
    """A view of planes of a scene that are smaller than it, by its rows and columns."""
    return lambda rows, columns: planes[..., scaled(rows, scale), scaled(columns, scale)]


def _reduced(tile: Planes, scale: int) -> Planes:
    """The mean of squares of pixels; the right and bottom edge is repeated to make them whole."""
    bottom, right = (-side % scale for side in tile.shape[2:])
    if bottom or right:
        tile = np.pad(tile, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
    count, channels, height, width = tile.shape
    of_rows = tile.reshape(count, channels, height // scale, scale, width).mean(3)
    reduced: Planes = of_rows.reshape(count, channels, height // scale, width // scale, scale).mean(4)
    return reduced


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
