"""Runs the paper's network on a scene of any size, in tiles at full size.

Split attention weights branches by their average over the plane. A tile on its own would get other weights than its
neighbour, and a seam would show. So a sample of the scene runs first, and all tiles use its attention. The rest of
the network sees no farther than `NetworkConfig` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from defusion.model.config import SIZE_MULTIPLE, NetworkConfig
from defusion.runtime import Attention, Engine, Planes
from defusion.system.machine import in_order
from defusion.tiles.grid import Band, Size, View
from defusion.tiles.sample import sample

#: Pictures of up to this many pixels run whole.
WHOLE_PX = 1_500_000


#: Largest side of a tile, without its halo.
PAPER_TILE_PX = 640

#: Memory of the network in bytes, for each pixel that it sees at once and each channel of the encoder at full size.
#: OpenVINO took 23 to 31 in float32, for two layouts.
BYTES_PER_CHANNEL = 30


#: Bytes of one pixel of planes: three floats.
_PIXEL_BYTES = 12


class Tiles(NamedTuple):
    """How a scene is cut into tiles."""

    reach_px: int
    """Halo: how far a tile reads beyond its core."""
    multiple: int = SIZE_MULTIPLE
    """Tiles start at multiples of this."""
    side_px: float = math.inf
    """Largest side of a core."""


def tiles(size: Size, reach_px: int, multiple: int = SIZE_MULTIPLE) -> Tiles:
    """Decides how a scene is cut. Up to `WHOLE_PX` pixels it stays whole."""
    return Tiles(reach_px, multiple, math.inf if size.height * size.width <= WHOLE_PX else PAPER_TILE_PX)


def needed_bytes(config: NetworkConfig, size: Size) -> int:
    """Returns about how much memory the paper's network takes at once, for a scene or for a tile of it."""
    in_tiles = size.height * size.width > WHOLE_PX
    held = 2 * _PIXEL_BYTES * min(PAPER_TILE_PX, size.height) * size.width if in_tiles else 0
    seen_px = math.prod(min(PAPER_TILE_PX + 2 * config.network_reach_px, side) if in_tiles else side for side in size)
    return BYTES_PER_CHANNEL * (config.stem + config.encoder[0].width) * seen_px + held


def paint(engine: Engine, a: View, b: View, size: Size) -> Iterator[Band]:
    """Fuses one pair by head `paper`, band by band."""
    attention = attention_of(engine, a, b, size)

    def make(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
        return [engine.fuse(tile_a, tile_b, attention)]

    return bands(make, [a, b], size, _tiles_of_network(engine, size))


def parts(engine: Engine, a: View, b: View, size: Size) -> Iterator[Band]:
    """Decomposes one pair, band by band: common, unique_a and unique_b."""
    attention = attention_of(engine, a, b, size)

    def make(tile_a: Planes, tile_b: Planes) -> Sequence[Planes]:
        return engine.decompose(tile_a, tile_b, attention)

    return bands(make, [a, b], size, _tiles_of_network(engine, size))


def _tiles_of_network(engine: Engine, size: Size) -> Tiles:
    assert isinstance(engine.config, NetworkConfig)
    return tiles(size, engine.config.network_reach_px)


def attention_of(engine: Engine, a: View, b: View, size: Size) -> Attention | None:
    """Returns the split attention for the tiles of a pair; None if the scene runs whole."""
    if size.height * size.width <= WHOLE_PX:
        return None
    return engine.attend(sample(a, size), sample(b, size))


def bands(make: Callable[..., Sequence[Planes]], views: Sequence[View], size: Size, cut: Tiles) -> Iterator[Band]:
    """Makes pictures from the views of one scene, tile by tile.

    Args:
        make: Takes one plane of each view and returns planes [S, C, h, w].
        views: The sources.
        size: Size of the scene.
        cut: How it is cut.
    """
    rows, columns = (list(spans(length_px, cut)) for length_px in size)

    def tile(place: tuple[Span, Span]) -> list[Planes]:
        down, across = place
        made = make(*(view(down.seen, across.seen) for view in views))
        return [plane[(..., down.inner, across.inner)] for plane in made]

    places = list(product(rows, columns))
    made = in_order(tile, places, threads=1) if len(places) > 1 else map(tile, places)
    for down in rows:
        band: list[Planes] = []
        for across in columns:
            # Each part is put in its place at once: a list of parts beside the band would double the memory.
            for number, part in enumerate(next(made)):
                if len(band) == number:
                    band.append(np.empty((*part.shape[:3], size.width), np.float32))
                band[number][..., across.core] = part
        yield Band(down.core, band)


class Span(NamedTuple):
    """The extent of a tile along one side of the picture."""

    seen: slice
    """What the network reads of the sources: core and halo."""
    core: slice
    """What the tile computes of the result."""
    inner: slice
    """Position of the core within `seen`."""


def spans(length_px: int, cut: Tiles) -> Iterator[Span]:
    """Cuts a side into spans of even length. Core and halo each start at a multiple.

    A halo ends at the border of the picture, where a tile is padded just as the whole picture is.
    """
    count = math.ceil(length_px / cut.side_px)
    step = math.ceil(length_px / max(count, 1) / cut.multiple) * cut.multiple
    halo = math.ceil(cut.reach_px / cut.multiple) * cut.multiple
    for start in range(0, length_px, step):
        stop = min(start + step, length_px)
        first, last = max(start - halo, 0), min(stop + halo, length_px)
        yield Span(slice(first, last), slice(start, stop), slice(start - first, stop - first))
