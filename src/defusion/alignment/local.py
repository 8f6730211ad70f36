"""A smooth local warp for parallax: near and far things move differently, which no matrix can follow.

Blocks vote where they lie under the matrix, and a smooth surface (uniform cubic B-splines, stiffened by its second
differences) is fitted to the votes. It is kept only if it serves the blocks that were held out of the fit. In a stack
frames are compared with their neighbours, from the reference outward, since these are alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Points, Shape, mapped
from defusion.alignment.representation import Kind, LuminancePyramid, at_level
from defusion.alignment.voting import TOLERANCE_PX, votes

#: Pieces of the surface along the longer side.
_PIECES = 10

#: How stiff the surface is. The more, the more blocks have to agree before it bends.
_STIFF = 0.01

#: Blocks that were held out must cost less than this part of what they cost without the surface.
_BETTER = 0.85

#: No warp is fitted if the blocks are off by no more than this: the root of their mean square, as a part of the
#: tolerance.
_STILL = 0.15

_ROUNDS = 8
_FEWEST = 24


class LocalWarp(NamedTuple):
    """How places of a picture move before a matrix maps them to a frame."""

    coefficients: NDArray[np.float64]
    """[rows, columns, 2] of cubic B-splines: x and y, in pixels of the picture."""
    left: float
    """Where the surface begins, in pixels of the picture. Beyond its edges it goes on as at the edge."""
    top: float
    width: float
    """Extent of the surface, in pixels of the picture."""
    height: float

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns how far the places of columns x [w] and rows y [h] move, across and down: two of [h, w]."""
        down = _splines((y - self.top) / self.height, self.coefficients.shape[0])
        across = _splines((x - self.left) / self.width, self.coefficients.shape[1])
        return down @ self.coefficients[..., 0] @ across.T, down @ self.coefficients[..., 1] @ across.T

    def of(self, points: Points) -> Points:
        """Returns where points [N, 2] move to."""
        down = _splines((points[:, 1] - self.top) / self.height, self.coefficients.shape[0])
        across = _splines((points[:, 0] - self.left) / self.width, self.coefficients.shape[1])
        return np.asarray(points + np.einsum("nr,rcd,nc->nd", down, self.coefficients, across))

    def of_part(self, left: float, top: float) -> LocalWarp:
        """Returns the warp for a part of the picture that begins at a column and row."""
        return self._replace(left=self.left - left, top=self.top - top)

    def enlarged(self, factor: float) -> LocalWarp:
        """Returns the warp for a picture that is larger by a factor."""
        left, top = (factor * (each + 0.5) - 0.5 for each in (self.left, self.top))
        return LocalWarp(self.coefficients * factor, left, top, self.width * factor, self.height * factor)

    def facts(self) -> dict[str, Any]:
        """Returns the warp as JSON has it."""
        return {**self._asdict(), "coefficients": np.round(self.coefficients, 4).tolist()}

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> LocalWarp:
        """Reads what `facts` gave.

        Raises:
            ValueError, KeyError, TypeError: These are not facts of a warp.
        """
        coefficients = np.array(facts["coefficients"], float)
        extent = [float(facts[name]) for name in ("left", "top", "width", "height")]
        if coefficients.ndim != 3 or min(coefficients.shape[:2]) < 4 or coefficients.shape[2] != 2:
            raise ValueError("a local warp has no table of four rows and columns or more, of x and y")
        if not (np.isfinite(coefficients).all() and np.isfinite(extent).all() and min(extent[2:]) > 0):
            raise ValueError("a local warp has numbers that cannot be")
        return cls(coefficients, *extent)


class Placed(NamedTuple):
    """How a frame lies in the reference."""

    matrix: Matrix
    """Maps pixels of the reference to those of the frame."""
    local: LocalWarp | None
    """Moves places of the reference before the matrix does."""


def local_warp(
    near: LuminancePyramid, moving: LuminancePyramid, placed: Placed, matrix: Matrix, kind: Kind, shape: Shape
) -> tuple[LocalWarp | None, float]:
    """Finds how a frame moves beside its matrix, by blocks of a frame that is like it and whose place is known.

    Args:
        near: The frame that is like it, such as its neighbour in a stack; or the reference itself.
        moving: The frame that is moved.
        placed: How the frame `near` lies in the reference.
        matrix: Maps pixels of the reference to those of the moved frame.
        kind: How the frames are compared.
        shape: Size of the reference.

    Returns:
        The warp; it is that of `near` unless another one fits held-out blocks better. Also the median of how far the
        blocks that agree with it are off, in pixels of the reference; infinite if none agrees.
    """
    back = np.linalg.inv(placed.matrix)
    said = votes(near, moving, matrix @ back, kind)
    to_reference = np.asarray(back @ np.linalg.inv(at_level(round(np.log2(said.scale)))), float)
    at = mapped(to_reference, said.at)
    if placed.local is not None:
        at = at - (placed.local.of(at) - at)
    asked = mapped(to_reference, said.at + said.moved) - at
    blocks = _Blocks(at, asked, np.clip(said.peak, 0.05, 1), TOLERANCE_PX * said.scale)
    best = placed.local
    if len(at) >= _FEWEST:
        halves = (said.held, ~said.held)
        cost = sum(blocks.of(~half).cost(_surface(blocks.of(half), shape)) for half in halves)
        before = blocks.cost(placed.local)
        if before > _STILL**2 * float(blocks.weight.sum()) and cost < _BETTER * before:
            best = _surface(blocks, shape)
    off = blocks.off(best)
    agree = off < blocks.tolerance
    return best, float(np.median(off[agree])) if agree.any() else np.inf


class _Blocks(NamedTuple):
    """Where blocks lie in the reference, and where they ask to be moved to."""

    at: Points
    moved: Points
    weight: NDArray[np.float64]
    tolerance: float
    """In pixels of the reference."""

    def of(self, some: NDArray[np.bool_]) -> _Blocks:
        """Returns some of the blocks."""
        return _Blocks(self.at[some], self.moved[some], self.weight[some], self.tolerance)

    def off(self, warp: LocalWarp | None) -> NDArray[np.float64]:
        """Returns how far each is off under a warp."""
        moved = self.moved if warp is None else self.moved + self.at - warp.of(self.at)
        return np.asarray(np.hypot(*moved.T))

    def cost(self, warp: LocalWarp | None) -> float:
        """Returns what blocks say against a warp."""
        return float((self.weight * np.minimum(self.off(warp) / self.tolerance, 2) ** 2).sum())


def _surface(blocks: _Blocks, shape: Shape) -> LocalWarp:
    """Fits a surface to blocks, robustly."""
    longest = max(shape)
    down, across = (max(1, round(_PIECES * side / longest)) + 3 for side in shape)
    surface = LocalWarp(np.zeros((down, across, 2)), 0.0, 0.0, shape.width - 1.0, shape.height - 1.0)
    rows = _splines(blocks.at[:, 1] / surface.height, down)
    columns = _splines(blocks.at[:, 0] / surface.width, across)
    design = np.einsum("nr,nc->nrc", rows, columns).reshape(len(blocks.at), -1)
    bend = np.concatenate(
        [
            np.kron(np.diff(np.eye(down), 2, axis=0), np.eye(across)),
            np.kron(np.eye(down), np.diff(np.eye(across), 2, axis=0)),
        ]
    )
    stiff = _STIFF * bend.T @ bend + 1e-3 * np.eye(down * across)
    weights = blocks.weight**2
    robust = weights
    for _ in range(_ROUNDS):
        normal = (design * robust[:, None]).T @ design + stiff
        solved = np.linalg.solve(normal, (design * robust[:, None]).T @ blocks.moved)
        off = np.hypot(*(design @ solved - blocks.moved).T)
        robust = weights / (1 + (off / blocks.tolerance) ** 2) ** 2
    return surface._replace(coefficients=solved.reshape(down, across, 2))


def _splines(at: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The weights [N, count] of uniform cubic B-splines at places from 0 to 1; places beyond are at the edge."""
    pieces = count - 3
    place = np.clip(at, 0, 1) * pieces
    piece = np.minimum(place.astype(int), pieces - 1)
    u = place - piece
    cubics = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], 1) / 6
    weights = np.zeros((len(place), count))
    np.put_along_axis(weights, piece[:, None] + np.arange(4), cubics, 1)
    return weights
