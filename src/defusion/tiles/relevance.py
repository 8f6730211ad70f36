"""Chooses the sources that matter in a part of a scene, so that no memory is spent on the others.

Two measures decide: the share of the detail that each source gave at the coarser stage, and the fine detail that each
source shows. A deep focus stack needs the second: its frames look alike at a quarter of their size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defusion.runtime import Planes

Detail = NDArray[np.float32]

#: Side of the squares whose detail is measured, in pixels of the stage. Shares come at a quarter of the stage's size.
BLOCK_PX = 16
_SHARE_STEP = 4

#: Detail is what a Gaussian of this many pixels removes. It may be noise if its mean square is below the second, for
#: pixels in [0, 1].
_FINE_PX = 1.0
_NOISE = (1.5 / 255) ** 2

#: A source is left out if it gives less than this share of the detail everywhere. Two sources always stay.
LEAST_SHARE = 0.02

#: Most sources that are chosen by their shares.
MOST_SOURCES = 8

#: Further sources are chosen by their detail. The chosen sources together show some part of the best detail, on
#: average over the squares. A source is added if it raises that part by this much.
LEAST_GAIN = 0.005


def detail_of(pixels: Planes, confidence: Planes | None) -> Detail:
    """Measures the fine detail that a source shows in each square.

    Args:
        pixels: [1, C, h, w] in [0, 1].
        confidence: [1, 1, h, w] in [0, 1]; None where all places count.

    Returns:
        [1, ceil(h / 16), ceil(w / 16)], mean squares.
    """
    import cv2

    light = np.ascontiguousarray(pixels[0].mean(0))
    square = (light - cv2.GaussianBlur(light, (0, 0), _FINE_PX, borderType=cv2.BORDER_REPLICATE)) ** 2
    if confidence is not None:
        square = square * confidence[0, 0]
    height, width = square.shape
    filled = np.pad(square, ((0, -height % BLOCK_PX), (0, -width % BLOCK_PX)), mode="edge")
    size = filled.shape[1] // BLOCK_PX, filled.shape[0] // BLOCK_PX
    return np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_AREA), np.float32)[None]


def coarser_detail(detail: Detail, step: int) -> Detail:
    """Returns the detail for a stage that is smaller by a factor: the largest value of each group of squares."""
    return _most(detail, step)


def relevant(share: NDArray[np.float16], detail: Detail) -> list[int]:
    """Chooses the sources that matter in a part of a scene, at least two, most important first.

    Args:
        share: Share of the detail that each source gave at the coarser stage, [S, 1, h / 4, w / 4].
        detail: Fine detail that each source shows, [S, h / 16, w / 16].
    """
    count = len(share)
    most = share.max((1, 2, 3)).astype(np.float32)
    best = detail.max(0)
    of_best = detail / np.maximum(best, _NOISE * 1e-3) * (best / (best + _NOISE)) ** 2
    worth = np.concatenate([each.reshape(count, -1) for each in (of_best, _most(share[:, 0], _SHARE_STEP))], 1)
    squares = best.size
    chosen: list[int] = []
    shown = np.zeros(worth.shape[1], np.float32)
    while len(chosen) < count:
        gains = np.maximum(worth - shown, 0).sum(1)
        gains[chosen] = -1
        next_one = int(gains.argmax())
        if gains[next_one] < LEAST_GAIN * squares:
            break
        chosen.append(next_one)
        shown = np.maximum(shown, worth[next_one])
    for each in np.argsort(-most, kind="stable"):
        if len(chosen) >= MOST_SOURCES or (len(chosen) >= 2 and most[each] < LEAST_SHARE):
            break
        if each not in chosen:
            chosen.append(int(each))
    return chosen


def _most(planes: NDArray[np.floating], step: int) -> Detail:
    """Returns the largest value of each square of the given side, [S, ceil(h / step), ceil(w / step)]."""
    height, width = planes.shape[1:]
    filled = np.pad(planes, ((0, 0), (0, -height % step), (0, -width % step)), mode="edge")
    squares = filled.reshape(len(planes), filled.shape[1] // step, step, filled.shape[2] // step, step)
    return np.asarray(squares.max((2, 4)), np.float32)
