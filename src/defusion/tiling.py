"""Scenes of any size in bounded memory: an overview of the whole first, then the finest octaves, tile by tile.

Head `pyramid` blends octaves of detail, each by weights of its own. So a large scene is fused whole at a smaller
size, which settles everything but the finest octaves; those take a few pixels' surroundings, and the overview's
verdict if one counts, so that tiles with a halo of that width are what the whole would be, by construction. What an
overview shows no more but its octaves go by, the detail of the scene's finest octave, is brought along. How far an
octave sees doubles with each; so a scene that lacks more than a few in its overview has an overview between, which
is fused in the same way.

Task `generic` has no octaves and is judged by the network at full size; head `paper` and the parts are painted by it
there. Split attention weighs branches by their average over the plane, so a tile on its own would be weighed unlike
its neighbour, and their seam would show. There a sample of the scene runs first and its weights are kept; the tiles
are given them. What is left of the network sees no farther than `NetworkConfig` says.
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
    FINEST_REACH_PX,
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

#: Octaves of a pair that an overview lacks at most. At six, as of a gigapixel, tiles would be nine times as large as
#: their cores.
MOST_FINER = 3

#: Largest side of a tile, without its halo.
TILE_PX = 640

#: Memory that the network takes, in bytes for each pixel that it sees at once and each channel of the encoder at full
#: size: OpenVINO took 23 to 31 in float32, for two layouts.
BYTES_PER_CHANNEL = 30

#: The same of a head that asks no network, for each pixel: 291 were taken.
HEAD_BYTES = 300

#: A pixel of planes: three floats.
_PIXEL_BYTES = 12

#: The same of what is brought along of a source's finest octave.
_FINEST_BYTES = 4

#: Side of a square of as many pixels as the sample has, from which tiles of head `paper` have their attention.
SAMPLE_PX = 768

#: Side of the windows that a sample is made of. 128 stood 1 to 5 dB lower: few windows miss much of the scene.
WINDOW_PX = 64

#: What the network sees of a large scene: tiles at full size, or its overview, as of the frames of a stack.
NetworkSees = Literal["tiles", "overview"]

#: Gives a part of a scene, its rows and columns, as planes [1, 3, h, w].
View = Callable[[slice, slice], Planes]


class Source(NamedTuple):
    """A source, or an overview of it."""

    pixels: View
    finest: View | None = None
    """Of an overview: how much detail the scene's finest octave has, [1, 1, h, w]; None where that counts nothing."""


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
    """0 while the frames of a stack are looked at first, one after the other."""
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


def needed_bytes(config: NetworkConfig, size: Size, network: NetworkSees | None) -> int:
    """Returns about how much memory fusing a scene takes at once: for the whole, a tile, or its overview.

    Beside that, a scene in tiles has two bands of its result, and its first overview of both sources, what is
    brought along with them, and the result.

    Args:
        config: Of the network.
        size: Of the scene.
        network: What it sees; None where it is not asked.
    """
    in_tiles = size.height * size.width > WHOLE_PX
    small, finer = Overview.of(size)
    first = Overview.lacking(min(finer, MOST_FINER), size).size
    seen_px = small.height * small.width
    held = 2 * _PIXEL_BYTES * min(TILE_PX, size.height) * size.width if in_tiles else 0
    if network == "tiles" and in_tiles:
        seen_px = math.prod(min(TILE_PX + 2 * config.network_reach_px, side) for side in size)
    elif in_tiles:
        held += (3 * _PIXEL_BYTES + 2 * _FINEST_BYTES) * first.height * first.width
    channels = config.stem + config.encoder[0].width
    return (HEAD_BYTES if network is None else BYTES_PER_CHANNEL * channels) * seen_px + held


class Overview(NamedTuple):
    """A scene at a smaller size, at which it is fused first."""

    size: Size
    finer: int
    """Octaves that it lacks."""

    @classmethod
    def of(cls, size: Size) -> Overview:
        """Returns the overview of a scene: itself, up to `WHOLE_PX`."""
        overview = cls(size, 0)
        while overview.size.height * overview.size.width > (OVERVIEW_PX if overview.finer else WHOLE_PX):
            overview = cls.lacking(overview.finer + 1, size)
        return overview

    @classmethod
    def lacking(cls, finer: int, size: Size) -> Overview:
        """Returns a scene without so many of its finest octaves."""
        return cls(Size(*(-(-side >> finer) for side in size)), finer)

    @property
    def scale(self) -> int:
        """How many pixels of the scene are one of the overview."""
        return 1 << self.finer

    def tiles(self, multiple: int) -> Tiles:
        """How the scene is cut for the octaves that the overview lacks; a tile has to begin at a multiple."""
        return Tiles(octaves_reach_px(self.finer), multiple, TILE_PX)

    def planes(self, view: View, size: Size) -> Planes:
        """Makes the overview of a view of the scene, [1, 3, h, w]: pixels are the means of those they stand for."""
        if self.finer == 0:
            return view(*everything(size))
        (planes,) = self._of_tiles(lambda tile: [tile], [view], size)
        return planes

    def with_finest(self, engine: Engine, source: Source, size: Size, task: TaskName) -> tuple[Planes, Planes | None]:
        """The same, and the detail of the scene's finest octave in each place of it, [1, 1, h, w], if that counts."""
        if self.finer == 0:
            return source.pixels(*everything(size)), source.finest and source.finest(*everything(size))
        if BLENDINGS[task].finest == 0:
            return self.planes(source.pixels, size), None

        def make(tile: Planes, *finest: Planes) -> Sequence[Planes]:
            return [tile, *(finest or [engine.finest(tile)])]

        views, reach_px = ([source.pixels, source.finest], 0) if source.finest else ([source.pixels], FINEST_REACH_PX)
        planes, finest = self._of_tiles(make, views, size, reach_px, count=2)
        return planes, finest

    def _of_tiles(
        self,
        make: Callable[..., Sequence[Planes]],
        views: Sequence[View],
        size: Size,
        reach_px: int = 0,
        *,
        count: int = 1,
    ) -> list[Planes]:
        """Makes so many planes of each tile of the scene, and of those the overview."""

        def reduced(*tiles: Planes) -> Sequence[Planes]:
            return [_reduced(plane, self.scale) for plane in make(*tiles)]

        cut = Tiles(reach_px, 2 * self.scale, TILE_PX)
        return joined(bands(reduced, views, size, cut, [self.scale] * count), self.size, self.scale)


class Judged(NamedTuple):
    """What a verdict on sources is read off, and how large it is beside a scene."""

    planes: Planes
    """[S, 2, h, w]"""
    scale: int
    """How many pixels of the scene are one of it."""

    def of_finer(self, overview: Overview, size: Size, task: TaskName) -> Judged:
        """The same for the scene that this is of the overview of."""
        if BLENDINGS[task].verdict:
            return Judged(self.planes, self.scale * overview.scale)
        # Nobody reads it, so tiles need not begin where a pixel of it does.
        scale = 2 * overview.scale
        shape = (*self.planes.shape[:2], *(-(-side // scale) for side in size))
        return Judged(np.zeros(shape, np.float32), scale)

    def view(self) -> View:
        """Gives it by rows and columns of the scene."""
        return smaller(self.planes, self.scale)


def fuse(engine: Engine, a: View, b: View, size: Size, task: TaskName) -> Iterator[Band]:
    """Fuses one pair by head `pyramid`, band by band."""
    # A generator of its own, so that nothing is worked on before the first band is asked for.
    if BLENDINGS[task].by_pixel:
        yield from _fused_by_pixel(engine, a, b, size, task)
    else:
        yield from _fused(engine, Source(a), Source(b), size, task, Overview.of(size).finer, with_colour=True)[0]


def _fused_by_pixel(engine: Engine, a: View, b: View, size: Size, task: TaskName) -> Iterator[Band]:
    """Fuses a scene of a task that has no octaves: judged and blended at full size, in tiles."""
    asked = BLENDINGS[task].asks_network
    attention = attention_of(engine, a, b, size) if asked else None

    def make(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
        judged = verdict_of(engine, tile_a, tile_b, task, attention)
        return [engine.blend(tile_a, tile_b, judged, task, 0, 2)]

    return bands(make, [a, b], size, tiles(size, engine.config.network_reach_px if asked else FINEST_REACH_PX))


def _fused(
    engine: Engine, a: Source, b: Source, size: Size, task: TaskName, finer: int, *, with_colour: bool
) -> tuple[Iterator[Band], Judged]:
    """Fuses a scene from which so many octaves have to be taken away before it is fused whole."""
    overview = Overview.lacking(min(finer, MOST_FINER), size)
    (of_a, finest_a), (of_b, finest_b) = (overview.with_finest(engine, source, size, task) for source in (a, b))
    if overview.finer == 0:
        judged = Judged(verdict_of(engine, of_a, of_b, task), 2)
        finest = None if finest_a is None or finest_b is None else np.concatenate([finest_a, finest_b])
        count = octaves_of(*size, BLENDINGS[task])
        fused = engine.blend(
            of_a, of_b, judged.planes, task, count, judged.scale, finest=finest, with_colour=with_colour
        )
        return iter([Band(slice(0, size.height), [fused])]), judged
    small_a, small_b = (
        Source(smaller(planes, 1), None if finest is None else smaller(finest, 1))
        for planes, finest in ((of_a, finest_a), (of_b, finest_b))
    )
    finer_small = finer - overview.finer
    of_small, judged_small = _fused(engine, small_a, small_b, overview.size, task, finer_small, with_colour=False)
    (rest,) = joined(of_small, overview.size)
    judged = judged_small.of_finer(overview, size, task)

    def make(tile_a: Planes, tile_b: Planes, rest: Planes, of_judged: Planes, *of_finest: Planes) -> Sequence[Planes]:
        finest = np.concatenate(of_finest) if of_finest else None
        fused = engine.blend(
            *(tile_a, tile_b, of_judged, task, overview.finer, judged.scale),
            rest=rest,
            finest=finest,
            with_colour=with_colour,
        )
        return [fused]

    of_finest = [each.finest for each in (a, b) if each.finest]
    views = [a.pixels, b.pixels, smaller(rest, overview.scale), judged.view(), *of_finest]
    return bands(make, views, size, overview.tiles(judged.scale)), judged


def verdict_of(engine: Engine, a: Planes, b: Planes, task: TaskName, attention: Attention | None = None) -> Planes:
    """Judges a pair, [2, 2, h/2, w/2], by the network or without; where the verdict counts nothing, not at all."""
    if BLENDINGS[task].asks_network:
        return engine.judge(a, b, attention)
    if BLENDINGS[task].asks_opposition:
        height, width = a.shape[2:]
        return engine.oppose(a, b, octaves_of(height, width, BLENDINGS[task]))
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
        band: list[Planes] = []
        for across in columns:
            # Each part is put in its place as it comes: a list of them and the band would be twice the memory.
            for number, part in enumerate(next(made)):
                scale = scales[number] if scales else 1
                if len(band) == number:
                    band.append(np.empty((*part.shape[:3], -(-size.width // scale)), np.float32))
                band[number][..., scaled(across.core, scale)] = part
        yield Band(down.core, band)


def joined(made: Iterable[Band], size: Size, scale: int = 1) -> list[Planes]:
    """Makes the pictures that bands are of, each [1, C, h, w]; `scale` pixels of the scene are one of them."""
    whole: list[Planes] = []
    for band in made:
        for number, part in enumerate(band.planes):
            if len(whole) == number:
                whole.append(np.empty((*part.shape[:2], *size), np.float32))
            whole[number][:, :, scaled(band.rows, scale)] = part
    return whole


def everything(size: Size) -> tuple[slice, slice]:
    """The rows and columns of all of a scene."""
    return slice(0, size.height), slice(0, size.width)


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
        return view(*everything(size))
    scale = SAMPLE_PX / math.sqrt(size.height * size.width)
    rows, columns = (_windows(length_px, scale) for length_px in size)
    return np.concatenate([np.concatenate([view(down, across) for across in columns], 3) for down in rows], 2)


def _windows(length_px: int, scale: float) -> list[slice]:
    window_px = min(WINDOW_PX, length_px)
    starts = np.linspace(0, length_px - window_px, math.ceil(length_px * scale / window_px)).astype(int)
    return [slice(start, start + window_px) for start in starts.tolist()]
