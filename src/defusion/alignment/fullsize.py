"""The last fractions of a pixel for large frames: small crops at full size, from all over the picture, vote once
more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from defusion.alignment.geometry import Matrix, Model, Shape, mapped, shifted
from defusion.alignment.pair import PairAlignment
from defusion.alignment.representation import Kind, Plane, represented
from defusion.alignment.voting import BlockVotes, agreed, best_match
from defusion.alignment.warp import Warped
from defusion.imaging import Picture, luminance

_CROP_PX = 96
_REACH_PX = 8
_ROOM_PX = _CROP_PX + 2 * _REACH_PX
_ACROSS, _DOWN = 8, 6

#: Least correlation at which a crop votes.
_LEAST_CORRELATION = 0.3


class ReferenceCrops:
    """Crops of a reference. All frames of a stack are compared with the same ones, so they are made once."""

    def __init__(self, picture: Picture) -> None:
        self.shape = Shape(picture.height, picture.width)
        self._picture = picture
        self._made: dict[tuple[int, int, Kind], Plane] = {}

    def at(self, left: int, top: int, kind: Kind) -> Plane:
        """Returns a representation of the square with this corner."""
        if (left, top, kind) not in self._made:
            self._made[left, top, kind] = _crop(self._picture, np.eye(3), left, top, kind)
        return self._made[left, top, kind]


def polished(reference: ReferenceCrops, frame: Picture, found: PairAlignment, freest: Model) -> Matrix:
    """Refines a matrix that was found on smaller pictures.

    Args:
        reference: Crops of the reference at full size.
        frame: The frame at full size.
        found: Its matrix maps full-size pixels of the reference to pixels of the frame.
        freest: The most general model allowed.

    Returns:
        The matrix, if it is better by held-out crops; otherwise the given one.
    """
    shape, room = reference.shape, _ROOM_PX
    if min(shape) < 2 * room:
        return found.matrix
    at, moved, peak, held = [], [], [], []
    for i, top in enumerate(np.linspace(0, shape.height - room, _DOWN).astype(int)):
        for j, left in enumerate(np.linspace(0, shape.width - room, _ACROSS).astype(int)):
            corners = np.array([[left, top], [left + room, top + room]], float)
            inside = mapped(found.matrix, corners)
            if inside.min() < 0 or inside[:, 0].max() >= frame.width or inside[:, 1].max() >= frame.height:
                continue
            here = reference.at(left, top, found.kind)
            there = _crop(frame, found.matrix, left, top, found.kind)
            inner = slice(_REACH_PX, -_REACH_PX)
            block = here[inner, inner]
            if float((block * block).sum(2).mean()) < 0.02:
                continue
            down, right, score = best_match(block, there)
            if score > _LEAST_CORRELATION:
                middle = (room - 1) / 2
                at.append((left + middle, top + middle))
                moved.append((right - _REACH_PX, down - _REACH_PX))
                peak.append(score)
                held.append(bool((i + j) % 2))
    said = BlockVotes(
        np.array(at, float).reshape(-1, 2),
        np.array(moved, float).reshape(-1, 2),
        np.array(peak, float),
        np.array(held, bool),
        1.0,
        _REACH_PX,
        shape,
        1.0,
    )
    fit = agreed(said, freest)
    if fit is None or fit.hits < 0.5:
        return found.matrix
    matrix = found.matrix @ fit.motion
    return np.asarray(matrix / matrix[2, 2])


def _crop(picture: Picture, matrix: Matrix, left: int, top: int, kind: Kind) -> Plane:
    """Returns a representation of a square of a picture, in the coordinates of the reference."""
    samples = Warped(picture.samples, matrix @ shifted(left, top), Shape(_ROOM_PX, _ROOM_PX))
    pixels = replace(picture, samples=samples, alpha=None).region(slice(None), slice(None))
    plane = pixels[..., 0] if picture.grey else luminance(pixels)[..., 0]
    return represented(np.ascontiguousarray(plane), np.ones_like(plane), kind).values
