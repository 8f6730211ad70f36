"""How a scene is cut: its stages from coarse to fine, and the tiles of a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from defusion.model.pyramid import FINE_LEVELS
from defusion.runtime import Planes
from defusion.tiles.relevance import MOST_SOURCES

#: Factor between the sides of a stage and of the next finer one.
STEP = 4

#: A stage passes its state on at this fraction of its size. The next stage then runs this many levels itself: those
#: between the two stages, and its own fine levels, which have no state.
STATE_STEP = 1 << FINE_LEVELS
LEVELS = 2 + FINE_LEVELS

#: A scene of this size or smaller has no coarser stage, which would be too small to hold a state.
LEAST_PX = 128

#: Halo of a tile, in pixels: how far those levels and the close look see. Tiles start at multiples of the second.
REACH_PX = 80
MULTIPLE = 1 << LEVELS

#: Most pixels in a tile, counted over all its sources.
AT_ONCE_PX = 1_200_000

#: Smallest side of a tile, without its halo. If too many sources matter even in such a tile, the most important ones
#: are taken.
LEAST_TILE_PX = 64

#: Returns a part of a scene, given its rows and columns, as planes [1, C, h, w].
View = Callable[[slice, slice], Planes]


class Size(NamedTuple):
    """Size of a scene, in pixels."""

    height: int
    width: int


class Band(NamedTuple):
    """A part of a result, as wide as the scene. Bands come from top to bottom."""

    rows: slice
    """Rows of the scene, even if the result is smaller."""
    planes: list[Planes]
    """Planes [S, C, h, W], one for each picture that is made."""


class Tile(NamedTuple):
    """A part of a stage: the rows and columns that it computes, and those that it reads."""

    rows: slice
    columns: slice
    seen_rows: slice
    seen_columns: slice

    @property
    def inner(self) -> tuple[slice, slice]:
        """Position of what it computes within what it reads, both padded to a multiple."""
        rows, columns = (
            slice(core.start - seen.start, core.stop - seen.start + (seen.start - core.stop) % MULTIPLE)
            for core, seen in ((self.rows, self.seen_rows), (self.columns, self.seen_columns))
        )
        return rows, columns

    @property
    def size(self) -> Size:
        """Size of what it computes."""
        return Size(self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)


def scales_of(size: Size, sources: int) -> list[int]:
    """Returns the scale of each stage, in pixels of the scene for one of the stage, from the coarsest stage to the
    scene.
    """
    scales = [1]
    while (
        sources * math.prod(reduced_size(size, scales[0])) > AT_ONCE_PX
        and min(reduced_size(size, scales[0])) > LEAST_PX
    ):
        scales.insert(0, scales[0] * STEP)
    return scales


def reduced_size(size: Size, scale: int) -> Size:
    """Returns the size of the stage with this scale."""
    return Size(*(-(-side // scale) for side in size))


def tiles(size: Size, top: int, count: int, scene: Size) -> Iterator[Tile]:
    """Cuts the rows from `top` on into tiles that start at multiples. A halo ends at the border of the scene."""
    side = tile_px(count)
    for row in range(top, size.height, side):
        rows = slice(row, min(row + side, size.height))
        for column in range(0, size.width, side):
            columns = slice(column, min(column + side, size.width))
            yield Tile(rows, columns, seen(rows, scene.height), seen(columns, scene.width))


def tile_px(count: int) -> int:
    """Returns the side of a tile for this many sources, without its halo."""
    seen_px = math.sqrt(AT_ONCE_PX / min(count, MOST_SOURCES))
    return max(int(seen_px - 2 * REACH_PX) // LEAST_TILE_PX, 1) * LEAST_TILE_PX


def halves(tile: Tile, size: Size) -> Iterator[Tile]:
    """Cuts a tile in two across its longer side. A tile of the least size is not cut."""
    rows, columns = tile.rows, tile.columns
    down, across = rows.stop - rows.start, columns.stop - columns.start
    if max(down, across) <= LEAST_TILE_PX:
        return
    half = max(down, across) // 2 // LEAST_TILE_PX * LEAST_TILE_PX or LEAST_TILE_PX
    if down >= across:
        parts = [(slice(*each), columns) for each in pairwise((rows.start, rows.start + half, rows.stop))]
    else:
        parts = [(rows, slice(*each)) for each in pairwise((columns.start, columns.start + half, columns.stop))]
    for part in parts:
        yield Tile(*part, seen(part[0], size.height), seen(part[1], size.width))


def seen(core: slice, length: int) -> slice:
    """Returns what a tile reads along one side: its core and a halo on both ends."""
    return slice(max(core.start - REACH_PX, 0), min(core.stop + REACH_PX, length))


def scaled(extent: slice, scale: int) -> slice:
    """Returns an extent in pixels of a smaller stage, rounded outwards."""
    return slice(extent.start // scale, -(-extent.stop // scale))


def everything(size: Size) -> tuple[slice, slice]:
    """Returns the rows and columns of a whole scene."""
    return slice(0, size.height), slice(0, size.width)
