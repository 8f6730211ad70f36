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
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.machine import cores, in_order
from defusion.model.pyramid import FINE_LEVELS, Coarser, levels_of
from defusion.relevance import BLOCK_PX, MOST_SOURCES, Detail, coarser_detail, detail_of, relevant
from defusion.runtime import Engine, Planes
from defusion.runtime.engine import Decided
from defusion.tiling import Band, FusingProgress, Report, Size, View

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

#: Pixels in a tile, counted over all its sources, and memory for each of them.
AT_ONCE_PX = 1_200_000
PIXEL_BYTES = 300

#: Most tiles that are computed at the same time, since each needs its own memory.
TILES_AT_ONCE = 3

#: Smallest side of a tile, without its halo. If too many sources matter even in such a tile, the most important ones
#: are taken.
LEAST_TILE_PX = 64

#: Bytes of samples that are held at once for the frames of a stack.
HELD_BYTES = 400_000_000


class SourceViews(NamedTuple):
    """Pixels and confidence of a source. Both can be read in parts."""

    pixels: View
    """[1, C, h, w] in [0, 1]; C is 3, or 1 where no source has colours."""
    confidence: View
    """[1, 1, h, w] in [0, 1]; or [1, 1, 0, 0] if all of it counts."""


#: Opens the sources, one after the other.
Sources = Callable[[], Iterable[SourceViews]]


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


class Tile(NamedTuple):
    """A part of a stage: the rows and columns that it computes, and those that it reads."""

    rows: slice
    columns: slice
    seen_rows: slice
    seen_columns: slice


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
    scales = scales_of(size, count)
    kept = list(sources()) if count == 2 else None
    opened = sources if kept is None else lambda: kept
    tell = _Told(report, count, size)
    if len(scales) == 1:
        pixels, confidence = _whole(opened(), size)
        decided = _decide_whole(engine, pixels, confidence, parts)
        made = [plane[..., : size.height, : size.width] for plane in decided.made]
        if saw is not None:
            share = decided.share[..., : size.height, : size.width]
            saw(slice(0, size.height), slice(0, size.width), share, made[0])
        yield Band(slice(0, size.height), made)
        tell.rows(size.height)
        return
    pixels, confidence, detail = _reduced(opened(), count, size, tell)
    known = _known(engine, pixels, confidence, _coarser(detail), parts)
    del pixels, confidence
    for rows, seen, held in _slabs(opened, count, size, kept, tell):
        cut = list(_tiles(Size(rows.stop, size.width), rows.start, count, Size(size.height, size.width)))
        made = []
        for tile, decided in _refined(engine, held, cut, size, known, detail, parts, first=seen.start):
            inner = _inner(tile)
            if saw is not None:
                saw(tile.rows, tile.columns, decided.share[(..., *inner)], decided.made[0][(..., *inner)])
            for number, plane in enumerate(decided.made):
                if len(made) == number:
                    made.append(np.empty((*plane.shape[:2], rows.stop - rows.start, size.width), np.float32))
                down = slice(tile.rows.start - rows.start, tile.rows.stop - rows.start)
                made[number][:, :, down, tile.columns] = plane[..., inner[0], inner[1]]
            if tile.columns.stop == size.width:
                tell.rows(tile.rows.stop)
        yield Band(rows, made)


def alone(source: SourceViews, size: Size) -> Iterator[Band]:
    """Yields the bands of a source that is alone: it stays as it is."""
    step = max(1, AT_ONCE_PX // size.width)
    for top in range(0, size.height, step):
        rows = slice(top, min(top + step, size.height))
        yield Band(rows, [source.pixels(rows, slice(0, size.width))])


def needed_bytes(size: Size, count: int) -> int:
    """Returns about how much memory fusing takes at once, not counting the sources themselves."""
    small = reduced_size(size, STEP)
    coarser = count * math.prod(small) * (12 + 12) if len(scales_of(size, count)) > 1 else 0
    held = min(HELD_BYTES, 12 * count * math.prod(size)) if count > 2 else 0
    tiles = PIXEL_BYTES * min(tiles_at_once() * AT_ONCE_PX, count * math.prod(size))
    return tiles + coarser + held


def tiles_at_once() -> int:
    """Returns how many tiles are computed at the same time, one for each core."""
    return min(cores(), TILES_AT_ONCE)


def _decide_whole(engine: Engine, pixels: Planes, confidence: Planes | None, parts: bool) -> Decided:
    count = levels_of(*pixels.shape[2:])
    padded, trusted = _padded(pixels, 1 << count), None if confidence is None else _padded(confidence, 1 << count)
    return engine.decide(padded, trusted, count, parts=parts)


def _known(engine: Engine, pixels: Planes, confidence: Planes | None, detail: Detail | None, parts: bool) -> Known:
    """Decides on a stage whose sources are in memory, [S, C, h, w]."""
    size, count = Size(*pixels.shape[2:]), len(pixels)
    if len(scales_of(size, count)) == 1:
        return _kept(_decide_whole(engine, pixels, confidence, parts), size)
    known = _known(engine, *_smaller(pixels, confidence), _coarser(detail), parts)
    views = [_views(each, None if confidence is None else confidence[i : i + 1]) for i, each in enumerate(pixels)]
    made: Known | None = None
    for tile, decided in _refined(engine, views, _tiles(size, 0, count, size), size, known, detail, parts):
        if made is None:
            small = reduced_size(size, STATE_STEP)
            made = Known(
                np.zeros((count, decided.state.shape[1], *small), np.float16),
                tuple(np.zeros((*plane.shape[:2], *small), np.float32) for plane in decided.before),
                np.zeros((1, 1, *small), np.float32),
                np.zeros((count, 1, *size), np.float16),
                np.zeros((1, 1, *size), np.bool_),
            )
        part = _kept(decided, Size(*decided.weight.shape[2:]))
        inner = _inner(tile)
        of_state = [_scaled(each, STATE_STEP) for each in inner]
        place = [_scaled(each, STATE_STEP) for each in (tile.rows, tile.columns)]
        made.state[..., place[0], place[1]] = part.state[..., of_state[0], of_state[1]]
        for whole, each in zip((*made.before, made.one_light), (*part.before, part.one_light), strict=True):
            whole[..., place[0], place[1]] = each[..., of_state[0], of_state[1]]
        made.share[..., tile.rows, tile.columns] = part.share[..., inner[0], inner[1]]
        made.closely[..., tile.rows, tile.columns] = part.closely[..., inner[0], inner[1]]
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
    """Decides on tiles of a stage, starting from what the coarser stage decided; see `fuse`.

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
        rows, columns = _scaled(tile.seen_rows, STEP), _scaled(tile.seen_columns, STEP)
        closely = bool(known.closely[..., rows, columns].any())
        rows, columns = (_scaled(each, STEP * STATE_STEP) for each in (tile.seen_rows, tile.seen_columns))
        sides = tuple(side >> LEVELS for side in pixels.shape[2:])
        state = _fitted(known.state[chosen][..., rows, columns].astype(np.float32), sides)
        *before, one_light = (_fitted(plane[..., rows, columns], sides) for plane in (*known.before, known.one_light))
        coarser = Coarser(state, tuple(before), one_light)
        decided = engine.decide(pixels, confidence, LEVELS, coarser=coarser, closely=closely, parts=parts)
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
    pixels = _padded(np.concatenate([each.pixels(*seen) for each in sources]), MULTIPLE)
    confidences = [each.confidence(*seen) for each in sources]
    if not any(each.size for each in confidences):
        return pixels, None
    shape = (1, 1, seen[0].stop - seen[0].start, seen[1].stop - seen[1].start)
    filled = [each if each.size else np.ones(shape, np.float32) for each in confidences]
    return pixels, _padded(np.concatenate(filled), MULTIPLE)


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
            share[..., _scaled(rows, STEP), _scaled(columns, STEP)],
            detail[:, _scaled(rows, BLOCK_PX), _scaled(columns, BLOCK_PX)],
        )
        seen_px = (rows.stop - rows.start) * (columns.stop - columns.start)
        too_much = len(chosen) > MOST_SOURCES and len(chosen) * seen_px > AT_ONCE_PX
        if too_much and (halves := list(_halves(tile, size))):
            yield from _with_sources(halves, size, share, detail)
        else:
            yield tile, sorted(chosen[: max(MOST_SOURCES, AT_ONCE_PX // seen_px)])


def _halves(tile: Tile, size: Size) -> Iterator[Tile]:
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
        yield Tile(*part, _seen(part[0], size.height), _seen(part[1], size.width))


def _kept(decided: Decided, size: Size) -> Known:
    """Keeps what the next stage needs of a decision."""
    small = reduced_size(size, STATE_STEP)
    return Known(
        decided.state[..., : small.height, : small.width].astype(np.float16),
        tuple(plane[..., : small.height, : small.width] for plane in decided.before),
        decided.one_light[..., : small.height, : small.width],
        decided.share[..., : size.height, : size.width].astype(np.float16),
        decided.worth_a_look[..., : size.height, : size.width],
    )


def _tiles(size: Size, top: int, count: int, scene: Size) -> Iterator[Tile]:
    """Cuts the rows from `top` on into tiles that start at multiples. A halo ends at the border of the scene."""
    side = tile_px(count)
    for row in range(top, size.height, side):
        rows = slice(row, min(row + side, size.height))
        for column in range(0, size.width, side):
            columns = slice(column, min(column + side, size.width))
            yield Tile(rows, columns, _seen(rows, scene.height), _seen(columns, scene.width))


def tile_px(count: int) -> int:
    """Returns the side of a tile for this many sources, without its halo."""
    seen = math.sqrt(AT_ONCE_PX / min(count, MOST_SOURCES))
    return max(int(seen - 2 * REACH_PX) // LEAST_TILE_PX, 1) * LEAST_TILE_PX


def _seen(core: slice, length: int) -> slice:
    return slice(max(core.start - REACH_PX, 0), min(core.stop + REACH_PX, length))


def _inner(tile: Tile) -> tuple[slice, slice]:
    """Returns the rows and columns, within a tile's planes, that the tile computes."""
    return (
        slice(tile.rows.start - tile.seen_rows.start, tile.rows.stop - tile.seen_rows.start),
        slice(tile.columns.start - tile.seen_columns.start, tile.columns.stop - tile.seen_columns.start),
    )


def _scaled(extent: slice, scale: int) -> slice:
    return slice(extent.start // scale, -(-extent.stop // scale))


def _among(planes: Planes, chosen: Sequence[int], count: int, others: float = 0.0) -> Planes:
    """Puts planes of the chosen sources in their places among all sources."""
    whole = np.full((count, *planes.shape[1:]), others, planes.dtype)
    whole[list(chosen)] = planes
    return whole


def _padded(planes: Planes, multiple: int) -> Planes:
    """Repeats the right and bottom edge until both sides are a multiple."""
    height, width = planes.shape[2:]
    return _fitted(planes, (height + -height % multiple, width + -width % multiple))


def _fitted(planes: Planes, sides: Sequence[int]) -> Planes:
    """Repeats the right and bottom edge until a size is reached."""
    bottom, right = (side - now for side, now in zip(sides, planes.shape[2:], strict=True))
    if bottom or right:
        planes = np.pad(planes, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
    return np.ascontiguousarray(planes)


def _whole(sources: Iterable[SourceViews], size: Size) -> tuple[Planes, Planes | None]:
    everything = (slice(0, size.height), slice(0, size.width))
    pixels, confidences = [], []
    for source in sources:
        pixels.append(source.pixels(*everything))
        confidences.append(source.confidence(*everything))
    return np.concatenate(pixels), _joined(confidences, size)


def _joined(confidences: Sequence[Planes], size: Size) -> Planes | None:
    """Returns the confidences of all sources, [S, 1, h, w]; None if every place of every source counts."""
    if not any(each.size for each in confidences):
        return None
    ones = np.ones((1, 1, *size), np.float32)
    return np.concatenate([each if each.size else ones for each in confidences])


def _coarser(detail: Detail | None) -> Detail | None:
    return None if detail is None else coarser_detail(detail, STEP)


def _views(pixels: Planes, confidence: Planes | None) -> SourceViews:
    """Makes a source from planes in memory, [C, h, w] and [1, 1, h, w]."""
    none = np.zeros((1, 1, 0, 0), np.float32)
    return SourceViews(
        lambda rows, columns: pixels[None, :, rows, columns],
        lambda rows, columns: none if confidence is None else confidence[:, :, rows, columns],
    )


def _reduced(
    sources: Iterable[SourceViews], count: int, size: Size, tell: _Told
) -> tuple[Planes, Planes | None, Detail | None]:
    """Makes the sources of the next coarser stage, and measures their detail if they are more than two. Reads each
    source once, a few rows at a time.
    """
    small = reduced_size(size, STEP)
    pixels, confidences, detail = [], [], []
    step = max(BLOCK_PX, (AT_ONCE_PX // size.width) // BLOCK_PX * BLOCK_PX)
    for source in sources:
        parts, trusts, details = [], [], []
        for top in range(0, size.height, step):
            part = (slice(top, min(top + step, size.height)), slice(0, size.width))
            plane, confidence = source.pixels(*part), _or_none(source.confidence(*part))
            each, trust = _smaller(plane, confidence)
            parts.append(each)
            trusts.append(np.ones((1, 1, *each.shape[2:]), np.float32) if trust is None else trust)
            if count > 2:
                details.append(detail_of(plane, confidence))
        pixels.append(np.concatenate(parts, 2))
        whole = np.concatenate(trusts, 2)
        confidences.append(np.zeros((1, 1, 0, 0), np.float32) if (whole == 1).all() else whole)
        if count > 2:
            detail.append(np.concatenate(details, 1))
        tell.frame()
    return np.concatenate(pixels), _joined(confidences, small), np.concatenate(detail) if count > 2 else None


def _or_none(confidence: Planes) -> Planes | None:
    return confidence if confidence.size else None


def _smaller(pixels: Planes, confidence: Planes | None) -> tuple[Planes, Planes | None]:
    """Reduces planes to a quarter of their size. Pixels are means, weighted by confidence."""
    if confidence is None:
        return _means(pixels), None
    small = _means(confidence)
    sums = _means(pixels * confidence)
    return np.divide(sums, np.maximum(small, np.float32(1e-6)), dtype=np.float32), small


def _means(planes: Planes) -> Planes:
    planes = _padded(planes, STEP)
    count, channels, height, width = planes.shape
    of_rows = planes.reshape(count, channels, height // STEP, STEP, width).mean(3)
    whole: Planes = of_rows.reshape(count, channels, height // STEP, width // STEP, STEP).mean(4)
    return whole


def _slabs(
    opened: Sources, count: int, size: Size, kept: Sequence[SourceViews] | None, tell: _Told
) -> Iterator[tuple[slice, slice, Sequence[SourceViews]]]:
    """Yields rows of tiles, the rows that they read, and sources that hold those. Of a stack, one slab of frames is
    held at a time.
    """
    side = tile_px(count)
    if kept is not None:
        for top in range(0, size.height, side):
            yield slice(top, min(top + side, size.height)), slice(0, size.height), kept
        return
    held_rows = HELD_BYTES // (12 * count * size.width)
    height = max((held_rows - 2 * REACH_PX) // side, 1) * side
    for top in range(0, size.height, height):
        slab = slice(top, min(top + height, size.height))
        seen = _seen(slab, size.height)
        held = []
        for source in opened():
            part = (seen, slice(0, size.width))
            held.append(_views(source.pixels(*part)[0], _or_none(source.confidence(*part))))
            tell.frame()
        for start in range(slab.start, slab.stop, side):
            yield slice(start, min(start + side, slab.stop)), seen, held


class _Told:
    """Reports the progress of the work on a scene."""

    def __init__(self, report: Report | None, count: int, size: Size) -> None:
        self._report, self._size, self._frame, self._done = report, size, 0, 0
        self._count = count if count > 2 else 1

    def frame(self) -> None:
        """Counts a frame that was looked at."""
        self._frame = self._frame % self._count + 1
        if self._report is not None:
            self._report(FusingProgress(self._done, self._size.height, self._frame, self._count))

    def rows(self, done: int) -> None:
        """Counts rows that are done."""
        self._done = done
        if self._report is not None:
            self._report(FusingProgress(done, self._size.height, self._count, self._count))
