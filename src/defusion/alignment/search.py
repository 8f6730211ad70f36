"""Finds where a frame lies in another without any guess: all shifts at once, for several scales and turns, on few
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Shape, shifted
from defusion.alignment.representation import Kind, LuminancePyramid, Plane, Seen, at_level

#: Longest side, in pixels, of the part of the reference that a frame covers during the search.
_SIDE_PX = 144

#: Least fraction of the smaller frame that has to lie in the other.
_LEAST_OVERLAP = 0.35


class Place(NamedTuple):
    """A place of a frame in the reference, found by search."""

    score: float
    """How many standard deviations its correlation is above that of other shifts. Small frames correlate anywhere."""
    matrix: Matrix
    scale: float
    """Pixels of the reference for one pixel of the frame."""
    turn: float
    """Radians."""


def places(
    reference: LuminancePyramid, moving: LuminancePyramid, kind: Kind, scales: Sequence[float], turns: Sequence[float]
) -> list[Place]:
    """Finds the best shift for each scale and turn. The best places come first.

    Args:
        reference: The frame whose coordinates the result is in.
        moving: The frame that is searched for.
        kind: What is compared.
        scales: Pixels of the reference for one pixel of the other frame.
        turns: Radians; the outer ones are only tried at the better half of the scales.
    """
    spectra: dict[tuple[int, int, int], _Spectra] = {}

    def place(scale: float, turn: float) -> Place | None:
        return _place(reference, moving, kind, scale, turn, spectra)

    straight = [found for each in scales if (found := place(each, 0.0)) is not None]
    straight.sort(key=lambda found: -found.score)
    likely = straight[: max(3, len(straight) // 3)]
    turned = [place(found.scale, turn) for found in likely for turn in turns if turn]
    return sorted([*straight, *(each for each in turned if each is not None)], key=lambda found: -found.score)


class _Spectra(NamedTuple):
    values: list[NDArray[np.complex64]]
    told: NDArray[np.complex64]
    energy: NDArray[np.complex64]
    area: float

    @classmethod
    def of(cls, seen: Seen, size: tuple[int, int]) -> _Spectra:
        told = seen.told.copy()
        told[:3] = told[-3:] = 0
        told[:, :3] = told[:, -3:] = 0
        values = seen.values * told[..., None]

        def spectrum(plane: Plane) -> NDArray[np.complex64]:
            return np.fft.rfft2(plane, size).astype(np.complex64, copy=False)

        return cls(
            [spectrum(values[..., channel]) for channel in range(values.shape[2])],
            spectrum(told),
            spectrum((values * values).sum(2)),
            float(told.sum()),
        )


def _place(
    reference: LuminancePyramid,
    moving: LuminancePyramid,
    kind: Kind,
    scale: float,
    turn: float,
    spectra: dict[tuple[int, int, int], _Spectra],
) -> Place | None:
    """Slides the frame, at one scale and turn, over the reference."""
    covered = min(max(moving.shape) * scale, max(reference.shape))
    level = int(np.clip(round(np.log2(max(covered / _SIDE_PX, 1))), 0, len(reference) - 1))
    at = reference.shape_of(level)
    step = 2.0**level / scale
    window = Shape(*(round(side / step) for side in moving.shape))
    if min(window) < 24:
        return None
    cosine, sine = step * np.cos(turn), step * np.sin(turn)
    middle = np.array([(moving.shape.width - 1) / 2, (moving.shape.height - 1) / 2])
    to_moving = np.eye(3)
    to_moving[:2, :2] = [[cosine, -sine], [sine, cosine]]
    to_moving[:2, 2] = middle - to_moving[:2, :2] @ [(window.width - 1) / 2, (window.height - 1) / 2]
    seen = moving.warped(to_moving, window, kind)
    height, width = (_quick_length(a + b - 1) for a, b in zip(at, window, strict=True))
    key = level, height, width
    if key not in spectra:
        spectra[key] = _Spectra.of(reference.seen(level, kind), (height, width))
    fixed, other = spectra[key], _Spectra.of(seen, (height, width))
    correlated = _shifts([(a, b) for a, b in zip(other.values, fixed.values, strict=True)], (height, width))
    energy = _shifts([(other.energy, fixed.told)], (height, width)) * _shifts(
        [(other.told, fixed.energy)], (height, width)
    )
    overlap = _shifts([(other.told, fixed.told)], (height, width))
    enough = overlap > _LEAST_OVERLAP * min(fixed.area, other.area)
    if not enough.any():
        return None
    floor = 1e-6 + 1e-3 * float(energy.max())
    scores = np.where(enough, correlated / np.sqrt(np.maximum(energy, floor)), -1)
    scores *= np.sqrt(np.minimum(1, np.maximum(overlap, 0) / (0.6 * min(fixed.area, other.area))))
    down, right = divmod(int(scores.argmax()), width)
    usual = scores[enough]
    score = float((scores[down, right] - usual.mean()) / max(float(usual.std()), 1e-3))
    down -= height if down >= window.height else 0
    right -= width if right >= window.width else 0
    return Place(score, to_moving @ shifted(right, down) @ at_level(level), scale, turn)


def _shifts(pairs: Sequence[tuple[NDArray[np.complex64], NDArray[np.complex64]]], size: tuple[int, int]) -> Plane:
    """Returns sums of products of two planes, for every shift of the first."""
    return np.asarray(np.fft.irfft2(sum(a * np.conj(b) for a, b in pairs), size), np.float32)


def _quick_length(length: int) -> int:
    import cv2

    return int(cv2.getOptimalDFTSize(length))
