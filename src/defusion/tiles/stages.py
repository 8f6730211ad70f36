"""Fuses scenes of any size and any number of sources, from coarse to fine, in bounded memory.

The pyramid network decides from the coarsest level to the finest. A level needs two things from the next coarser one:
a state for each source, and the picture so far. So a large scene is first decided at a quarter of its size; that
stage is first decided at a quarter of its own size, and so on until a stage fits into memory. Each finer stage then
runs in tiles, which start from what the coarser stage decided. A tile has a halo as wide as its levels can see, so
there are no seams.

In a tile of a stack only few sources matter, and the others are left out (`relevance.py`). Where many matter, tiles
are smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defusion.model.decisions import Coarser
from defusion.model.pyramid import levels_of
from defusion.runtime import Engine, Planes
from defusion.runtime.engine import Decided
from defusion.system.machine import cores, in_order
from defusion.tiles import grid
from defusion.tiles.grid import Band, Size, Tile
from defusion.tiles.overview import reduced, smaller
from defusion.tiles.progress import Report, Told
from defusion.tiles.relevance import BLOCK_PX, MOST_SOURCES, Detail, coarser_detail, relevant
from defusion.tiles.views import Sources, SourceViews, fitted, in_memory, or_none, padded, read_whole

#: Memory for each pixel in a tile.
PIXEL_BYTES = 300

#: Most tiles that are computed at the same time, since each needs its own memory.
TILES_AT_ONCE = 3

#: Bytes of samples that are held at once for the frames of a stack.
HELD_BYTES = 400_000_000


@dataclass
class Known:
    """What a stage has decided, as the next finer stage needs it."""

    state: NDArray[np.float16]
    """State of each source, [S, C, h/4, w/4]."""
    before: tuple[Planes, ...]
    """The picture, or its parts, without the fine levels; as large as the state."""
    one_light: Planes
    """How far a mask decides; as large as the state, [1, 1, h/4, w/4]."""
    share: NDArray[np.float16]
    """Share of the detail that each source gives, [S, 1, h, w]."""
    closely: NDArray[np.bool_]
    """Where a close look is worth its time, [1, 1, h, w]."""


#: Called with what was decided on a part of a scene: its rows and columns, the share of the detail that each source
#: gives there, [S, 1, h, w], and the fused picture, [1, C, h, w].
Saw = Callable[[slice, slice, Planes, Planes], None]


def fuse(
    engine: Engine,
    sources: Sources,
    count: int,
    size: Size,
    report: Report | None = None,
    *,
    parts: bool = False,
    saw: Saw | None = None,
) -> Iterator[Band]:
    """Fuses the sources of a scene, band by band.

    Args:
        engine: Runs the pyramid network.
        sources: Opens the sources, in any order. Two sources are opened once.
        count: Number of sources.
        size: Size of each source.
        report: Called with the progress of the work.
        parts: Compute the common and the unique parts of two sources instead of the fused picture.
        saw: Called with what was decided, tile by tile.

    Yields:
        Bands of one plane, [1, C, h, W]; with `parts` of two, common [1, C, h, W] and unique [S, C, h, W].
    """
    scales = grid.scales_of(size, count)
    kept = list(sources()) if count == 2 else None
    opened = sources if kept is None else lambda: kept
    tell = Told(report, count, size)
    if len(scales) == 1:
        pixels, confidence = read_whole(opened(), size)
        decided = _decide_whole(engine, pixels, confidence, parts)
        made = [plane[..., : size.height, : size.width] for plane in decided.made]
        if saw is not None:
            share = decided.share[..., : size.height, : size.width]
            saw(slice(0, size.height), slice(0, size.width), share, made[0])
        yield Band(slice(0, size.height), made)
        tell.rows(size.height)
        return
    pixels, confidence, detail = reduced(opened(), count, size, tell)
    known = _known(engine, pixels, confidence, _coarser(detail), parts)
    del pixels, confidence
    for rows, seen, held in _slabs(opened, count, size, kept, tell):
        cut = list(grid.tiles(Size(rows.stop, size.width), rows.start, count, Size(size.height, size.width)))
        made = []
        for tile, decided in _refined(engine, held, cut, size, known, detail, parts, first=seen.start):
            height, width = tile.size
            if saw is not None:
                share, picture = (plane[..., :height, :width] for plane in (decided.share, decided.made[0]))
                saw(tile.rows, tile.columns, share, picture)
            for number, plane in enumerate(decided.made):
                if len(made) == number:
                    made.append(np.empty((*plane.shape[:2], rows.stop - rows.start, size.width), np.float32))
                down = slice(tile.rows.start - rows.start, tile.rows.stop - rows.start)
                made[number][:, :, down, tile.columns] = plane[..., :height, :width]
            if tile.columns.stop == size.width:
                tell.rows(tile.rows.stop)
        yield Band(rows, made)


def alone(source: SourceViews, size: Size) -> Iterator[Band]:
    """Yields the bands of a source that is alone: it stays as it is."""
    step = max(1, grid.AT_ONCE_PX // size.width)
    for top in range(0, size.height, step):
        rows = slice(top, min(top + step, size.height))
        yield Band(rows, [source.pixels(rows, slice(0, size.width))])


def needed_bytes(size: Size, count: int) -> int:
    """Returns about how much memory fusing takes at once, not counting the sources themselves."""
    small = grid.reduced_size(size, grid.STEP)
    coarser = count * math.prod(small) * (12 + 12) if len(grid.scales_of(size, count)) > 1 else 0
    held = min(HELD_BYTES, 12 * count * math.prod(size)) if count > 2 else 0
    tiles = PIXEL_BYTES * min(tiles_at_once() * grid.AT_ONCE_PX, count * math.prod(size))
    return tiles + coarser + held


def tiles_at_once() -> int:
    """Returns how many tiles are computed at the same time, one for each core."""
    return min(cores(), TILES_AT_ONCE)


def _decide_whole(engine: Engine, pixels: Planes, confidence: Planes | None, parts: bool) -> Decided:
    count = levels_of(*pixels.shape[2:])
    trusted = None if confidence is None else padded(confidence, 1 << count)
    return engine.decide(padded(pixels, 1 << count), trusted, count, parts=parts)


def _known(engine: Engine, pixels: Planes, confidence: Planes | None, detail: Detail | None, parts: bool) -> Known:
    """Decides on a stage whose sources are in memory, [S, C, h, w]."""
    size, count = Size(*pixels.shape[2:]), len(pixels)
    if len(grid.scales_of(size, count)) == 1:
        return _kept(_decide_whole(engine, pixels, confidence, parts), size)
    known = _known(engine, *smaller(pixels, confidence), _coarser(detail), parts)
    views = [in_memory(each, None if confidence is None else confidence[i : i + 1]) for i, each in enumerate(pixels)]
    made: Known | None = None
    for tile, decided in _refined(engine, views, grid.tiles(size, 0, count, size), size, known, detail, parts):
        if made is None:
            small = grid.reduced_size(size, grid.STATE_STEP)
            made = Known(
                np.zeros((count, decided.state.shape[1], *small), np.float16),
                tuple(np.zeros((*plane.shape[:2], *small), np.float32) for plane in decided.before),
                np.zeros((1, 1, *small), np.float32),
                np.zeros((count, 1, *size), np.float16),
                np.zeros((1, 1, *size), np.bool_),
            )
        part = _kept(decided, tile.size)
        place = [grid.scaled(each, grid.STATE_STEP) for each in (tile.rows, tile.columns)]
        made.state[..., place[0], place[1]] = part.state
        for into, each in zip((*made.before, made.one_light), (*part.before, part.one_light), strict=True):
            into[..., place[0], place[1]] = each
        made.share[..., tile.rows, tile.columns] = part.share
        made.closely[..., tile.rows, tile.columns] = part.closely
    assert made is not None
    return made


def _refined(
    engine: Engine,
    sources: Sequence[SourceViews],
    tiles: Iterable[Tile],
    size: Size,
    known: Known,
    detail: Detail | None,
    parts: bool,
    *,
    first: int = 0,
) -> Iterator[tuple[Tile, Decided]]:
    """Decides on tiles of a stage, starting from what the coarser stage decided; see `fuse`. What is decided has the
    size of a tile's core, padded to a multiple.

    Args:
        engine: Runs the network.
        sources: Sources of the stage.
        tiles: Tiles of the stage.
        size: Size of the stage.
        known: What the coarser stage decided.
        detail: Detail of the sources, [S, h / 16, w / 16]; None of two, which both always matter.
        parts: As for `fuse`.
        first: The first row that the sources hold.
    """

    def looked() -> Iterator[tuple[Tile, list[int], Planes, Planes | None]]:
        for tile, chosen in _with_sources(tiles, size, known.share, detail):
            seen = (slice(tile.seen_rows.start - first, tile.seen_rows.stop - first), tile.seen_columns)
            yield tile, chosen, *_looked([sources[number] for number in chosen], seen)

    def decide(work: tuple[Tile, list[int], Planes, Planes | None]) -> tuple[Tile, Decided]:
        tile, chosen, pixels, confidence = work
        rows, columns = grid.scaled(tile.seen_rows, grid.STEP), grid.scaled(tile.seen_columns, grid.STEP)
        closely = bool(known.closely[..., rows, columns].any())
        rows, columns = (
            grid.scaled(each, grid.STEP * grid.STATE_STEP) for each in (tile.seen_rows, tile.seen_columns)
        )
        sides = tuple(side >> grid.LEVELS for side in pixels.shape[2:])
        state = fitted(known.state[chosen][..., rows, columns].astype(np.float32), sides)
        *before, one_light = (fitted(plane[..., rows, columns], sides) for plane in (*known.before, known.one_light))
        coarser = Coarser(state, tuple(before), one_light)
        decided = engine.decide(
            pixels, confidence, grid.LEVELS, coarser=coarser, closely=closely, parts=parts, core=tile.inner
        )
        if len(chosen) < len(sources):
            decided = decided._replace(
                state=_among(decided.state, chosen, len(sources)),
                weight=_among(decided.weight, chosen, len(sources)),
                trusted=None if decided.trusted is None else _among(decided.trusted, chosen, len(sources), 1.0),
                mask=None if decided.mask is None else _among(decided.mask, chosen, len(sources)),
            )
        return tile, decided

    return in_order(decide, looked(), tiles_at_once())


def _looked(sources: Sequence[SourceViews], seen: tuple[slice, slice]) -> tuple[Planes, Planes | None]:
    """Reads a part of the sources and pads it to a size that the network takes."""
    pixels = padded(np.concatenate([each.pixels(*seen) for each in sources]), grid.MULTIPLE)
    confidences = [each.confidence(*seen) for each in sources]
    if all((each == 1).all() for each in confidences):
        return pixels, None
    shape = (1, 1, seen[0].stop - seen[0].start, seen[1].stop - seen[1].start)
    filled = [each if each.size else np.ones(shape, np.float32) for each in confidences]
    return pixels, padded(np.concatenate(filled), grid.MULTIPLE)


def _with_sources(
    tiles: Iterable[Tile], size: Size, share: NDArray[np.float16], detail: Detail | None
) -> Iterator[tuple[Tile, list[int]]]:
    """Chooses the sources of each tile. A tile for which they are too many is cut into halves first."""
    for tile in tiles:
        if detail is None:
            yield tile, list(range(len(share)))
            continue
        rows, columns = tile.seen_rows, tile.seen_columns
        chosen = relevant(
            share[..., grid.scaled(rows, grid.STEP), grid.scaled(columns, grid.STEP)],
            detail[:, grid.scaled(rows, BLOCK_PX), grid.scaled(columns, BLOCK_PX)],
        )
        seen_px = (rows.stop - rows.start) * (columns.stop - columns.start)
        too_much = len(chosen) > MOST_SOURCES and len(chosen) * seen_px > grid.AT_ONCE_PX
        if too_much and (halves := list(grid.halves(tile, size))):
            yield from _with_sources(halves, size, share, detail)
        else:
            yield tile, sorted(chosen[: max(MOST_SOURCES, grid.AT_ONCE_PX // seen_px)])


def _kept(decided: Decided, size: Size) -> Known:
    """Keeps what the next stage needs of a decision."""
    small = grid.reduced_size(size, grid.STATE_STEP)
    return Known(
        decided.state[..., : small.height, : small.width].astype(np.float16),
        tuple(plane[..., : small.height, : small.width] for plane in decided.before),
        decided.one_light[..., : small.height, : small.width],
        decided.share[..., : size.height, : size.width].astype(np.float16),
        decided.worth_a_look[..., : size.height, : size.width],
    )


def _among(planes: Planes, chosen: Sequence[int], count: int, others: float = 0.0) -> Planes:
    """Puts planes of the chosen sources in their places among all sources."""
    whole = np.full((count, *planes.shape[1:]), others, planes.dtype)
    whole[list(chosen)] = planes
    return whole


def _slabs(
    opened: Sources, count: int, size: Size, kept: Sequence[SourceViews] | None, tell: Told
) -> Iterator[tuple[slice, slice, Sequence[SourceViews]]]:
    """Yields rows of tiles, the rows that they read, and sources that hold those. Of a stack, one slab of frames is
    held at a time.
    """
    side = grid.tile_px(count)
    if kept is not None:
        for top in range(0, size.height, side):
            yield slice(top, min(top + side, size.height)), slice(0, size.height), kept
        return
    held_rows = HELD_BYTES // (12 * count * size.width)
    height = max((held_rows - 2 * grid.REACH_PX) // side, 1) * side
    for top in range(0, size.height, height):
        slab = slice(top, min(top + height, size.height))
        seen = grid.seen(slab, size.height)
        held = []
        for source in opened():
            part = (seen, slice(0, size.width))
            held.append(in_memory(source.pixels(*part)[0], or_none(source.confidence(*part))))
            tell.frame()
        for start in range(slab.start, slab.stop, side):
            yield slice(start, min(start + side, slab.stop)), seen, held


def _coarser(detail: Detail | None) -> Detail | None:
    return None if detail is None else coarser_detail(detail, grid.STEP)
