"""Pixels and confidence of the sources, read in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from defusion.runtime import Planes
from defusion.tiles.grid import Size, View, everything


class SourceViews(NamedTuple):
    """Pixels and confidence of a source. Both can be read in parts."""

    pixels: View
    """[1, C, h, w] in [0, 1]; C is 3, or 1 where no source has colours."""
    confidence: View
    """[1, 1, h, w] in [0, 1]; or [1, 1, 0, 0] if all of it counts."""


#: Opens the sources, one after the other.
Sources = Callable[[], Iterable[SourceViews]]


def in_memory(pixels: Planes, confidence: Planes | None) -> SourceViews:
    """Makes a source from planes in memory, [C, h, w] and [1, 1, h, w]."""
    none = np.zeros((1, 1, 0, 0), np.float32)
    return SourceViews(
        lambda rows, columns: pixels[None, :, rows, columns],
        lambda rows, columns: none if confidence is None else confidence[:, :, rows, columns],
    )


def read_whole(sources: Iterable[SourceViews], size: Size) -> tuple[Planes, Planes | None]:
    """Reads pixels and confidence of all sources, [S, C, h, w] and [S, 1, h, w]."""
    pixels, confidences = [], []
    for source in sources:
        pixels.append(source.pixels(*everything(size)))
        confidences.append(source.confidence(*everything(size)))
    return np.concatenate(pixels), joined(confidences, size)


def joined(confidences: Sequence[Planes], size: Size) -> Planes | None:
    """Returns the confidences of all sources, [S, 1, h, w]; None if every place of every source counts."""
    if not any(each.size for each in confidences):
        return None
    ones = np.ones((1, 1, *size), np.float32)
    return np.concatenate([each if each.size else ones for each in confidences])


def or_none(confidence: Planes) -> Planes | None:
    """Returns None if all places count."""
    return confidence if confidence.size else None


def padded(planes: Planes, multiple: int) -> Planes:
    """Repeats the right and bottom edge until both sides are a multiple."""
    height, width = planes.shape[2:]
    return fitted(planes, (height + -height % multiple, width + -width % multiple))


def fitted(planes: Planes, sides: Sequence[int]) -> Planes:
    """Repeats the right and bottom edge until a size is reached."""
    bottom, right = (side - now for side, now in zip(sides, planes.shape[2:], strict=True))
    if bottom or right:
        planes = np.pad(planes, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
    return np.ascontiguousarray(planes)
