"""Finds where a frame lies in another without any guess: all shifts at once, for several scales and turns, on few
pixels. Several pairs of two fixed cameras are searched together: what they have in common adds up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Shape, corner_distance, shifted
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


#: A frame whose coordinates the result is in, and the frame that is searched for in it.
Pair = tuple[LuminancePyramid, LuminancePyramid]


def likely_places(pairs: Sequence[Pair], kind: Kind, most: int, *, resized: bool = True) -> list[Place]:
    """Searches at all usual scales and turns, and returns the best places that differ, the best first.

    Args:
        pairs: As for `places`.
        kind: What is compared.
        most: Number of places at most.
        resized: Frames may be resized and turned, not only shifted.
    """
    reference, moving = (each.shape for each in pairs[0])
    turns = np.deg2rad([-3, 0, 3])
    if not resized:
        parts, turns = np.ones(1), np.zeros(1)
    elif reference != moving:
        parts = np.exp(np.arange(np.log(0.2), np.log(1.25), np.log(1.07)))
    elif kind == "detail":
        parts = np.array([0.92, 1, 1.09])
    else:
        parts = np.array([0.87, 0.93, 1, 1.075, 1.15])
    ratio = max(reference) / max(moving)

    def are_near(a: Place, b: Place) -> bool:
        apart = corner_distance(a.matrix, b.matrix, reference)
        return bool(abs(np.log(a.scale / b.scale)) < 0.1 and apart < 0.04 * max(moving))

    different: list[Place] = []
    for found in places(pairs, kind, list(parts * ratio), list(turns)):
        if not any(are_near(found, each) for each in different):
            different.append(found)
        if len(different) == most:
            break
    return different


def places(pairs: Sequence[Pair], kind: Kind, scales: Sequence[float], turns: Sequence[float]) -> list[Place]:
    """Finds the best shift for each scale and turn. The best places come first.

    Args:
        pairs: One pair of frames, or more that have the same sizes and lie alike.
        kind: What is compared.
        scales: Pixels of the reference for one pixel of the other frame.
        turns: Radians; the outer ones are tried only at the half of the scales that fits better.
    """
    spectra: dict[tuple[int, int, int, int], _Spectra] = {}

    def place(scale: float, turn: float) -> Place | None:
        return _place(pairs, kind, scale, turn, spectra)

    straight = [found for each in scales if (found := place(each, 0.0)) is not None]
    straight.sort(key=lambda found: -found.score)
    likely = straight[: max(3, len(straight) // 3)]
    turned = [place(found.scale, turn) for found in likely for turn in turns if turn]
    return sorted([*straight, *(each for each in turned if each is not None)], key=lambda found: -found.score)


class _Spectra(NamedTuple):
    """Fourier transforms, packed into real planes as OpenCV does."""

    values: list[Plane]
    told: Plane
    energy: Plane
    area: float

    @classmethod
    def of(cls, seen: Seen, size: tuple[int, int]) -> _Spectra:
        import cv2

        told = seen.told.copy()
        told[:3] = told[-3:] = 0
        told[:, :3] = told[:, -3:] = 0
        values = seen.values * told[..., None]
        height, width = told.shape

        def spectrum(plane: Plane) -> Plane:
            padded = np.zeros(size, np.float32)
            padded[:height, :width] = plane
            return np.asarray(cv2.dft(padded, nonzeroRows=height))

        return cls(
            [spectrum(values[..., channel]) for channel in range(values.shape[2])],
            spectrum(told),
            spectrum((values * values).sum(2)),
            float(told.sum()),
        )


def _place(
    pairs: Sequence[Pair],
    kind: Kind,
    scale: float,
    turn: float,
    spectra: dict[tuple[int, int, int, int], _Spectra],
) -> Place | None:
    """Slides the frames, at one scale and turn, over their references."""
    reference, moving = (each.shape for each in pairs[0])
    covered = min(max(moving) * scale, max(reference))
    level = int(np.clip(round(np.log2(max(covered / _SIDE_PX, 1))), 0, len(pairs[0][0]) - 1))
    at = pairs[0][0].shape_of(level)
    step = 2.0**level / scale
    window = Shape(*(round(side / step) for side in moving))
    if min(window) < 24:
        return None
    cosine, sine = step * np.cos(turn), step * np.sin(turn)
    middle = np.array([(moving.width - 1) / 2, (moving.height - 1) / 2])
    to_moving = np.eye(3)
    to_moving[:2, :2] = [[cosine, -sine], [sine, cosine]]
    to_moving[:2, 2] = middle - to_moving[:2, :2] @ [(window.width - 1) / 2, (window.height - 1) / 2]
    height, width = (_quick_length(a + b - 1) for a, b in zip(at, window, strict=True))
    scores, enough = np.zeros((height, width), np.float32), np.zeros((height, width), np.bool_)
    for number, (fixed, other) in enumerate(pairs):
        key = number, level, height, width
        if key not in spectra:
            spectra[key] = _Spectra.of(fixed.seen(level, kind), (height, width))
        each, overlaps = _scores(spectra[key], _Spectra.of(other.warped(to_moving, window, kind), (height, width)))
        scores += each
        enough |= overlaps
    if not enough.any():
        return None
    usual = scores[enough]
    scores[~enough] = -np.inf
    down, right = divmod(int(scores.argmax()), width)
    score = float((scores[down, right] - usual.mean()) / max(float(usual.std()), 1e-3 * len(pairs)))
    down -= height if down >= window.height else 0
    right -= width if right >= window.width else 0
    return Place(score, to_moving @ shifted(right, down) @ at_level(level), scale, turn)


def _scores(fixed: _Spectra, other: _Spectra) -> tuple[Plane, NDArray[np.bool_]]:
    """Returns the correlation of two frames for every shift of the second, and at which shifts they overlap enough.
    Elsewhere the correlation is zero.
    """
    correlated = _shifts(zip(other.values, fixed.values, strict=True))
    energy = _shifts([(other.energy, fixed.told)]) * _shifts([(other.told, fixed.energy)])
    overlap = _shifts([(other.told, fixed.told)])
    area = min(fixed.area, other.area)
    enough = overlap > _LEAST_OVERLAP * area
    floor = 1e-6 + 1e-3 * float(energy.max())
    scores = np.where(enough, correlated / np.sqrt(np.maximum(energy, floor)), 0)
    scores *= np.sqrt(np.minimum(1, np.maximum(overlap, 0) / (0.6 * max(area, 1e-6))))
    return np.asarray(scores, np.float32), enough


def _shifts(pairs: Iterable[tuple[Plane, Plane]]) -> Plane:
    """Returns sums of products of two planes, for every shift of the first."""
    import cv2

    total = sum(np.asarray(cv2.mulSpectrums(a, b, 0, conjB=True)) for a, b in pairs)
    return np.asarray(cv2.idft(np.asarray(total), flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT))


def _quick_length(length: int) -> int:
    import cv2

    return int(cv2.getOptimalDFTSize(length))
