"""Scenes of any size in bounded memory: a sample of the whole first, then tiles.

Split attention weighs branches by their average over the plane, so a tile on its own would be weighed unlike its
neighbour, and their seam would show. Here a sample of the scene runs first and its weights are kept; the tiles are
given them. What is left of the network sees no farther than `NetworkConfig.reach_px`, so that tiles with a halo of
that width are what the whole would be with these weights, by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from defusion.model.config import HeadName, size_multiple
from defusion.runtime import Attention, Engine, Pictures, Planes

#: Pictures of up to so many pixels run whole, in about 0.8 GiB a megapixel.
WHOLE_PX = 4_000_000

#: Largest side of a tile, without its halo.
TILE_PX = 1024

#: Side of a square of as many pixels as the sample has. Against the whole run at once, shipped weights, head
#: `blend`, three exposure pairs of 1 to 2 megapixels stood at 57, 70 and 53 dB and a focus pair of 3 at 45. Of as
#: many pixels, the whole scaled down gave 49, 63, 40 and 37.
SAMPLE_PX = 768

#: Side of the windows that a sample is made of. Of 128, the pairs stood at 53, 69, 48 and 41 dB: few windows miss
#: much of the scene.
WINDOW_PX = 64


def fuse(engine: Engine, a: Planes, b: Planes, head: HeadName) -> Planes:
    """Fuses one pair as the engine does; above `WHOLE_PX` in tiles."""
    if a[0, 0].size <= WHOLE_PX:
        return engine.fuse(a, b, head)
    (fused,) = _in_tiles(lambda *tile: [engine.fuse(*tile)], engine, a, b, head)
    return fused


def decompose(engine: Engine, a: Planes, b: Planes, head: HeadName) -> Pictures:
    """Decomposes one pair as the engine does; above `WHOLE_PX` in tiles."""
    if a[0, 0].size <= WHOLE_PX:
        return engine.decompose(a, b, head)
    return Pictures(*_in_tiles(engine.decompose, engine, a, b, head))


def _in_tiles(
    make: Callable[[Planes, Planes, HeadName, Attention], Sequence[Planes]],
    engine: Engine,
    a: Planes,
    b: Planes,
    head: HeadName,
) -> list[Planes]:
    """Makes the pictures of a pair [1, 3, H, W] tile by tile."""
    attention = engine.attend(sample(a), sample(b))
    reach_px, multiple = engine.config.reach_px(head), size_multiple(head)
    pictures: list[Planes] = []
    for rows, columns in product(*(spans(length_px, reach_px, multiple) for length_px in a.shape[2:])):
        made = make(a[..., rows.seen, columns.seen], b[..., rows.seen, columns.seen], head, attention)
        pictures = pictures or [np.empty_like(a) for _ in made]
        for picture, tile in zip(pictures, made, strict=True):
            picture[..., rows.core, columns.core] = tile[..., rows.inner, columns.inner]
    return pictures


class Span(NamedTuple):
    """A tile's extent along one side of the picture."""

    seen: slice
    """What the network sees of the sources: core and halo."""
    core: slice
    """What the tile paints of the result."""
    inner: slice
    """Where the core is in what is seen."""


def spans(length_px: int, reach_px: int, multiple: int) -> Iterator[Span]:
    """Cuts a side into even spans that begin, with and without their halo, at a multiple.

    A halo ends at the picture's edge: there a tile is padded as the whole is.
    """
    step = math.ceil(length_px / math.ceil(length_px / TILE_PX) / multiple) * multiple
    halo = math.ceil(reach_px / multiple) * multiple
    for start in range(0, length_px, step):
        stop = min(start + step, length_px)
        first, last = max(start - halo, 0), min(stop + halo, length_px)
        yield Span(slice(first, last), slice(start, stop), slice(start - first, stop - first))


def sample(planes: Planes) -> Planes:
    """Lays windows from all over the planes side by side, at the scale of the whole.

    The planes scaled down would be the nearer thought, but a scene's averages depend on its scale: out of focus by
    ten pixels is sharp at a tenth of the size.
    """
    scale = SAMPLE_PX / math.sqrt(planes[0, 0].size)
    for axis in (2, 3):
        length_px = planes.shape[axis]
        window_px = min(WINDOW_PX, length_px)
        starts = np.linspace(0, length_px - window_px, math.ceil(length_px * scale / window_px)).astype(int)
        planes = planes.take(np.add.outer(starts, np.arange(window_px)).ravel(), axis)
    return planes
