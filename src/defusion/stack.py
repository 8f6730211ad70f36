"""Any number of frames of a scene, in memory that does not grow with their number.

The network compares two pictures. In a stack each frame is compared with one reference, the mean of all frames: how
far it is ahead gives its odds, and odds over the sum of all odds are its weight. No frame is fused twice, so detail
does not fade with their number, and no frame comes before another, so their order does not matter.

Frames are opened one at a time, once for each sum: of the reference, of the odds, and of the weighted frames. Heads
without octaves have the last two in one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from defusion.model.config import BLENDINGS, DETAIL_REACH_PX, HeadName, octaves_reach_px, size_multiple
from defusion.runtime import Engine, Planes
from defusion.tiling import TILE_PX, Band, Size, View, bands, judge, tiles

#: Opens the frames, one after the other.
Frames = Callable[[], Iterable[View]]


def fuse(engine: Engine, frames: Frames, size: Size, head: HeadName) -> Iterator[Band]:
    """Fuses the frames of a scene, band by band.

    Args:
        engine: Judges the frames.
        frames: Two or more, in any order; they are opened two or three times, for head "detail" once.
        size: Of every frame.
        head: "detail", which asks no network, or one of `BLENDINGS`.
    """
    if head == "detail":
        return _in_bands(_weighted_mean((_by_detail(engine, frame, size) for frame in frames()), size), size)
    reference = _view(_weighted_mean((_evenly(frame, size) for frame in frames()), size))
    if not BLENDINGS[head].octaves:
        judged = (_by_verdict(engine, frame, reference, size, head) for frame in frames())
        return _in_bands(_weighted_mean(judged, size), size)
    odds = np.zeros((1, 1, *size), np.float32)
    for frame in frames():
        for rows, (share,) in _by_verdict(engine, frame, reference, size, head):
            odds[:, :, rows] += share[:, 3:]
    fused = np.zeros((1, 3, *size), np.float32)
    for frame in frames():
        for rows, (part,) in _parts(engine, frame, reference, _view(odds), size, head):
            fused[:, :, rows] += part
    return _in_bands(fused, size)


def _evenly(frame: View, size: Size) -> Iterator[Band]:
    """A frame and even odds, [1, 4, h, W]."""

    def make(tile: Planes) -> Sequence[Planes]:
        return [np.concatenate([tile, np.ones_like(tile[:, :1])], 1)]

    return bands(make, [frame], size, tiles(size, 0))


def _by_detail(engine: Engine, frame: View, size: Size) -> Iterator[Band]:
    """A frame and its odds by fine detail, [1, 4, h, W]."""

    def make(tile: Planes) -> Sequence[Planes]:
        return [np.concatenate([tile, engine.detail(tile)], 1)]

    return bands(make, [frame], size, tiles(size, DETAIL_REACH_PX))


def _by_verdict(engine: Engine, frame: View, reference: View, size: Size, head: HeadName) -> Iterator[Band]:
    """A frame as the head takes it and its odds against the reference, [1, 4, h, W]."""

    def make(tile: Planes, of_reference: Planes, judged: Planes) -> Sequence[Planes]:
        return [engine.share(tile, of_reference, judged, head)]

    judged = judge(engine, frame, reference, size)
    return bands(make, [frame, reference, judged], size, tiles(size, DETAIL_REACH_PX))


def _parts(engine: Engine, frame: View, reference: View, odds: View, size: Size, head: HeadName) -> Iterator[Band]:
    """A frame's part in the picture, octave by octave, [1, 3, h, W]; `odds` are the sum of all frames'."""

    def make(tile: Planes, of_reference: Planes, of_odds: Planes, judged: Planes) -> Sequence[Planes]:
        share = engine.share(tile, of_reference, judged, head)
        return [engine.part(share[:, :3], share[:, 3:] / of_odds, head)]

    judged = judge(engine, frame, reference, size)
    cut = tiles(size, DETAIL_REACH_PX + octaves_reach_px(head), size_multiple(head))
    return bands(make, [frame, reference, odds, judged], size, cut)


def _weighted_mean(shares: Iterable[Iterator[Band]], size: Size) -> Planes:
    """The mean [1, 3, H, W] of all frames, weighed by their odds."""
    total = np.zeros((1, 4, *size), np.float32)
    for of_frame in shares:
        for rows, (share,) in of_frame:
            total[:, :3, rows] += share[:, :3] * share[:, 3:]
            total[:, 3:, rows] += share[:, 3:]
    total[:, :3] /= total[:, 3:]
    return total[:, :3]


def _view(planes: Planes) -> View:
    return lambda rows, columns: planes[:, :, rows, columns]


def _in_bands(fused: Planes, size: Size) -> Iterator[Band]:
    for top in range(0, size.height, TILE_PX):
        rows = slice(top, min(top + TILE_PX, size.height))
        yield Band(rows, [fused[:, :, rows]])
