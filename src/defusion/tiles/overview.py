"""Makes the sources of the next coarser stage, at a quarter of the size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from defusion.runtime import Planes
from defusion.tiles import grid
from defusion.tiles.grid import STEP, Size
from defusion.tiles.progress import Told
from defusion.tiles.relevance import BLOCK_PX, Detail, detail_of
from defusion.tiles.views import SourceViews, joined, or_none, padded


def reduced(
    sources: Iterable[SourceViews], count: int, size: Size, tell: Told
) -> tuple[Planes, Planes | None, Detail | None]:
    """Makes the sources of the next coarser stage, and measures their detail if they are more than two. Reads each
    source once, a few rows at a time.
    """
    small = grid.reduced_size(size, STEP)
    pixels, confidences, detail = [], [], []
    step = max(BLOCK_PX, (grid.AT_ONCE_PX // size.width) // BLOCK_PX * BLOCK_PX)
    for source in sources:
        parts, trusts, details = [], [], []
        for top in range(0, size.height, step):
            part = (slice(top, min(top + step, size.height)), slice(0, size.width))
            plane, confidence = source.pixels(*part), or_none(source.confidence(*part))
            each, trust = smaller(plane, confidence)
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
    return np.concatenate(pixels), joined(confidences, small), np.concatenate(detail) if count > 2 else None


def smaller(pixels: Planes, confidence: Planes | None) -> tuple[Planes, Planes | None]:
    """Reduces planes to a quarter of their size. Pixels are means, weighted by confidence."""
    if confidence is None:
        return _means(pixels), None
    small = _means(confidence)
    sums = _means(pixels * confidence)
    return np.divide(sums, np.maximum(small, np.float32(1e-6)), dtype=np.float32), small


def _means(planes: Planes) -> Planes:
    planes = padded(planes, STEP)
    count, channels, height, width = planes.shape
    of_rows = planes.reshape(count, channels, height // STEP, STEP, width).mean(3)
    whole: Planes = of_rows.reshape(count, channels, height // STEP, width // STEP, STEP).mean(4)
    return whole
