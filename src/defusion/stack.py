"""Any number of frames of a scene, in memory that does not grow with their number.

Odds need no partner: the octaves of each frame, times their odds, are added up, and so are the odds; one over the
other makes the picture. The network compares two pictures; where it is asked, each frame is compared with one
reference, the mean of all frames, at the size of the overview. No frame is fused twice, so detail does not fade with
their number, and no frame comes before another, so their order does not matter.

Frames are opened one at a time: for the sums, and once before for the reference, where the network is asked. The sums
are as large as the scene; so a large scene is worked through in slabs, from top to bottom, with a halo as wide as the
finest octaves see, and frames are opened once for each. Of a TIFF in strips or tiles only the slab is decoded then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from defusion.model.config import (
    BLENDINGS,
    DETAIL_REACH_PX,
    SIZE_MULTIPLE,
    TaskName,
    octaves_of,
    octaves_reach_px,
)
from defusion.runtime import Engine, Planes
from defusion.tiling import (
    TILE_PX,
    Band,
    Overview,
    Progress,
    Report,
    Size,
    Source,
    Span,
    Tiles,
    View,
    bands,
    scaled,
    smaller,
    spans,
    tiles,
    verdict_of,
)

#: Opens the frames, one after the other.
Frames = Callable[[], Iterable[View]]

#: A slab has about so many pixels at most, its halo aside.
SLAB_PX = 2**25

#: Bytes that sums take for each pixel of a slab: three colours and odds, and a third more for coarser octaves.
SUMS_BYTES = 22


def sums_bytes(size: Size) -> int:
    """Returns about how much memory a stack takes at once beside what a pair takes."""
    return SUMS_BYTES * min(size.height * size.width, SLAB_PX)


def fuse(
    engine: Engine, frames: Frames, count: int, size: Size, task: TaskName, report: Report | None = None
) -> Iterator[Band]:
    """Fuses the frames of a scene by head `pyramid`, band by band.

    Args:
        engine: Judges the frames.
        frames: Two or more, in any order.
        count: How many frames.
        size: Of every frame.
        task: What kind of scene they show.
        report: Is told how far the work has come.
    """
    overview = Overview.of(size)
    asked = BLENDINGS[task].asks_network
    slabs = _slabs(size, octaves_reach_px(overview.finer), 2 * overview.scale)
    progress = _Reported(report, count, size, openings=asked + len(slabs))
    sum_of_frames = np.zeros((1, 3, *overview.size))  # in float64, where their order does not change it
    for frame in progress.of(frames()) if asked else ():
        sum_of_frames += overview.planes(frame, size)
    reference = (sum_of_frames / count).astype(np.float32)
    octaves_of_overview = octaves_of(*overview.size, BLENDINGS[task])
    coarse: list[Planes] = []
    judged = np.zeros((1, 2, *(-(-side // 2) for side in overview.size)), np.float32)
    for slab in slabs:
        part = _Slab(slab, size)
        fine = [
            np.zeros((1, 4, *(-(-side >> octave) for side in part.size)), np.float32)
            for octave in range(overview.finer)
        ]
        for frame in progress.of(frames()):
            if asked or slab == slabs[0]:
                of_frame, finest = overview.with_finest(engine, Source(frame), size, task)
                if asked:
                    judged = _lead(verdict_of(engine, of_frame, reference, task))
            if slab == slabs[0]:
                octaves = engine.octaves(
                    of_frame, judged, task, octaves_of_overview, 2, with_rest=True, finest=finest
                )
                coarse = [total + each for total, each in zip(coarse, octaves, strict=True)] if coarse else octaves
            views = [part.view(frame), part.view(smaller(judged, 2 * overview.scale))]
            for band in _finest(engine, views, part.size, overview, task):
                progress.within(band.rows.stop / part.size.height)
                for octave, (total, each) in enumerate(zip(fine, band.planes, strict=True)):
                    total[:, :, scaled(band.rows, 1 << octave)] += each
        fused = engine.collapse(coarse)[..., : overview.size.height, : overview.size.width]
        if overview.finer == 0:
            yield Band(slab.core, [fused])
            return

        def make(rest: Planes, *octaves: Planes) -> Sequence[Planes]:
            return [engine.collapse(octaves, rest)]

        of_octaves = (smaller(each, 1 << octave) for octave, each in enumerate(fine))
        views = [part.view(smaller(fused, overview.scale)), *of_octaves]
        cut = Tiles(octaves_reach_px(overview.finer), overview.scale, TILE_PX)
        yield from part.cores(bands(make, views, part.size, cut))


def fuse_by_detail(
    engine: Engine, frames: Frames, count: int, size: Size, report: Report | None = None
) -> Iterator[Band]:
    """Fuses the frames of a scene by head `detail`, which asks no network; see `fuse`."""

    def make(tile: Planes) -> Sequence[Planes]:
        odds = engine.detail(tile)
        return [np.concatenate([tile * odds, odds], 1)]

    slabs = _slabs(size, DETAIL_REACH_PX, SIZE_MULTIPLE)
    progress = _Reported(report, count, size, openings=len(slabs))
    for slab in slabs:
        part = _Slab(slab, size)
        total = np.zeros((1, 4, *part.size), np.float32)
        for frame in progress.of(frames()):
            for rows, (each,) in bands(make, [part.view(frame)], part.size, tiles(size, DETAIL_REACH_PX)):
                progress.within(rows.stop / part.size.height)
                total[:, :, rows] += each
        tops = range(0, part.size.height, TILE_PX)
        rows_of_bands = [slice(top, min(top + TILE_PX, part.size.height)) for top in tops]
        yield from part.cores(Band(rows, [total[:, :3, rows] / total[:, 3:, rows]]) for rows in rows_of_bands)


def _slabs(size: Size, reach_px: int, multiple: int) -> list[Span]:
    """The rows of a scene in even slabs."""
    return list(spans(size.height, Tiles(reach_px, multiple, max(TILE_PX, SLAB_PX // size.width))))


class _Slab:
    """A slab of a scene, with its halo, as a scene of its own."""

    def __init__(self, span: Span, size: Size) -> None:
        self._span = span
        self.size = Size(span.seen.stop - span.seen.start, size.width)

    def view(self, scene: View) -> View:
        """A view of the slab, where there is one of the scene."""
        top = self._span.seen.start
        return lambda rows, columns: scene(slice(rows.start + top, rows.stop + top), columns)

    def cores(self, made: Iterable[Band]) -> Iterator[Band]:
        """What bands of the slab are of the scene, without its halo."""
        inner, down = self._span.inner, self._span.core.start - self._span.inner.start
        for rows, planes in made:
            first, last = max(rows.start, inner.start), min(rows.stop, inner.stop)
            if first < last:
                inside = slice(first - rows.start, last - rows.start)
                yield Band(slice(first + down, last + down), [each[:, :, inside] for each in planes])


class _Reported:
    """Reports frames from the moment that they are opened, and how far the work on each has come."""

    def __init__(self, report: Report | None, count: int, size: Size, openings: int) -> None:
        self._report, self._count, self._height = report, count, size.height
        self._of_rows = openings * count * size.height
        self._done = 0
        self._frame = 1

    def of(self, frames: Iterable[View]) -> Iterator[View]:
        """Gives the frames, one after the other; each is told before it is opened."""
        self._frame = 1
        self.within(0)
        for number, frame in enumerate(frames, 1):
            yield frame
            self._done += self._height
            self._frame = min(number + 1, self._count)
            self.within(0)

    def within(self, part: float) -> None:
        """Says how much of the frame is done."""
        if self._report is not None:
            rows = self._done + round(self._height * part)
            self._report(Progress(min(rows, self._of_rows), self._of_rows, self._frame, self._count))


def _lead(judged: Planes) -> Planes:
    """The verdict on a frame, [1, 2, h, w], its score as a lead over the reference."""
    lead = judged[:1].copy()
    lead[:, 0] -= judged[1:, 0]
    return lead


def _finest(engine: Engine, views: Sequence[View], size: Size, overview: Overview, task: TaskName) -> Iterator[Band]:
    """The octaves of a frame that the overview lacks, weighed, [1, 4, h/2^k, W/2^k] for k from 0.

    Args:
        engine: Takes the frame apart.
        views: Of a frame, or a slab of it, and of what was judged of it.
        size: Of the slab.
        overview: Of the scene.
        task: What kind of scene it is.
    """
    if overview.finer == 0:
        return iter(())
    scale = 2 * overview.scale

    def make(tile: Planes, of_judged: Planes) -> Sequence[Planes]:
        return engine.octaves(tile, of_judged, task, overview.finer, scale, with_rest=False)

    scales = [1 << octave for octave in range(overview.finer)]
    return bands(make, views, size, overview.tiles(scale), scales)
