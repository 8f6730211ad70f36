"""Any number of frames of a scene, in memory that does not grow with their number.

Odds need no partner: the octaves of each frame, times their odds, are added up, and so are the odds; one over the
other makes the picture. The network compares two pictures; where it is asked, each frame is compared with one
reference, the mean of all frames, at the size of the overview. No frame is fused twice, so detail does not fade with
their number, and no frame comes before another, so their order does not matter.

Frames are opened one at a time: for the sums, and once before for the reference, where the network is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from defusion.model.config import BLENDINGS, DETAIL_REACH_PX, TaskName, octaves_of, octaves_reach_px
from defusion.runtime import Engine, Planes
from defusion.tiling import (
    TILE_PX,
    Band,
    Overview,
    Progress,
    Report,
    Size,
    Tiles,
    View,
    bands,
    scaled,
    smaller,
    tiles,
    verdict_of,
)

#: Opens the frames, one after the other.
Frames = Callable[[], Iterable[View]]


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
        report: Is told how far the work has come, a frame at a time.
    """
    overview = Overview.of(size)
    asked = BLENDINGS[task].asks_network
    reported = _Reported(report, count, size, openings=1 + asked)
    reference = np.zeros((1, 3, *overview.size), np.float32)
    for frame in reported(frames()) if asked else ():
        reference += overview.planes(frame, size) / np.float32(count)
    octaves_of_overview = octaves_of(*overview.size, BLENDINGS[task])
    coarse: list[Planes] = []
    fine = [np.zeros((1, 4, *(-(-side >> octave) for side in size)), np.float32) for octave in range(overview.finer)]
    for frame in reported(frames()):
        of_frame = overview.planes(frame, size)
        judged = _lead(verdict_of(engine, of_frame, reference, task))
        octaves = engine.octaves(of_frame, judged, task, octaves_of_overview, 2, with_rest=True)
        coarse = [total + part for total, part in zip(coarse, octaves, strict=True)] if coarse else octaves
        for band in _finest(engine, frame, judged, size, overview, task):
            for octave, (total, part) in enumerate(zip(fine, band.planes, strict=True)):
                total[:, :, scaled(band.rows, 1 << octave)] += part
    fused = engine.collapse(coarse)[..., : overview.size.height, : overview.size.width]
    if overview.finer == 0:
        yield Band(slice(0, size.height), [fused])
        return

    def make(rest: Planes, *octaves: Planes) -> Sequence[Planes]:
        return [engine.collapse(octaves, rest)]

    views = [smaller(fused, overview.scale), *(smaller(each, 1 << octave) for octave, each in enumerate(fine))]
    cut = Tiles(octaves_reach_px(overview.finer), overview.scale, TILE_PX)
    yield from bands(make, views, size, cut)


def fuse_by_detail(
    engine: Engine, frames: Frames, count: int, size: Size, report: Report | None = None
) -> Iterator[Band]:
    """Fuses the frames of a scene by head `detail`, which asks no network; see `fuse`. Frames are opened once."""

    def make(tile: Planes) -> Sequence[Planes]:
        odds = engine.detail(tile)
        return [np.concatenate([tile * odds, odds], 1)]

    total = np.zeros((1, 4, *size), np.float32)
    for frame in _Reported(report, count, size, openings=1)(frames()):
        for rows, (part,) in bands(make, [frame], size, tiles(size, DETAIL_REACH_PX)):
            total[:, :, rows] += part
    for top in range(0, size.height, TILE_PX):
        rows = slice(top, min(top + TILE_PX, size.height))
        yield Band(rows, [total[:, :3, rows] / total[:, 3:, rows]])


class _Reported:
    """Reports frames as they are worked through."""

    def __init__(self, report: Report | None, count: int, size: Size, openings: int) -> None:
        self._report, self._count, self._rows = report, count, size.height
        self._of_rows = openings * count * size.height
        self._done = 0

    def __call__(self, frames: Iterable[View]) -> Iterator[View]:
        for number, frame in enumerate(frames, 1):
            yield frame
            self._done += self._rows
            if self._report is not None:
                self._report(Progress(self._done, self._of_rows, number, self._count))


def _lead(judged: Planes) -> Planes:
    """The verdict on a frame, [1, 2, h, w], its score as a lead over the reference."""
    lead = judged[:1].copy()
    lead[:, 0] -= judged[1:, 0]
    return lead


def _finest(
    engine: Engine, frame: View, judged: Planes, size: Size, overview: Overview, task: TaskName
) -> Iterator[Band]:
    """The octaves of a frame that the overview lacks, weighed, [1, 4, h/2^k, W/2^k] for k from 0."""
    if overview.finer == 0:
        return iter(())
    scale = overview.scale

    def make(tile: Planes, of_judged: Planes) -> Sequence[Planes]:
        return engine.octaves(tile, of_judged, task, overview.finer, 2 * scale, with_rest=False)

    scales = [1 << octave for octave in range(overview.finer)]
    return bands(make, [frame, smaller(judged, 2 * scale)], size, overview.tiles, scales)
