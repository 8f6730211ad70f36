"""Matrices that map pixels to pixels, their models of motion, and how they are fitted.

A matrix [3, 3] maps pixel coordinates of a reference (x right, y down, the centre of the first pixel at 0, 0) to
those of another frame. Small motions are fitted in unit coordinates: the origin in the middle, the longest side from
-1 to 1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]
Points: TypeAlias = NDArray[np.float64]
Model = Literal["identity", "translation", "scale", "similarity", "affine", "homography"]

#: From special to general. "scale" is a change of size about a centre, as focusing a lens causes it.
MODELS: tuple[Model, ...] = ("identity", "translation", "scale", "similarity", "affine", "homography")


def freer(a: Model, b: Model) -> Model:
    """Returns the more general of two models."""
    return max(a, b, key=MODELS.index)


def stiffer(a: Model, b: Model) -> Model:
    """Returns the less general of two models."""
    return min(a, b, key=MODELS.index)


#: A fit is settled if its parameters change by less than this part of the tolerance.
_SETTLED = 1e-3


class Shape(NamedTuple):
    """Height and width of a plane, in pixels."""

    height: int
    width: int

    @property
    def corners(self) -> Points:
        """Centres of the four corner pixels, [4, 2]."""
        right, bottom = self.width - 1, self.height - 1
        return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], float)


def mapped(matrix: Matrix, points: Points) -> Points:
    """Maps points [N, 2]."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, :2] / moved[:, 2:]


def shifted(x: float, y: float) -> Matrix:
    """Returns the matrix of a shift."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def enlarged(factor_x: float, factor_y: float) -> Matrix:
    """Returns the matrix that maps pixels to those of a picture enlarged by these factors, area on area."""
    return np.array([[factor_x, 0, factor_x / 2 - 0.5], [0, factor_y, factor_y / 2 - 0.5], [0, 0, 1.0]])


def corner_distance(a: Matrix, b: Matrix, shape: Shape) -> float:
    """Returns the mean distance between the corners of a reference as two matrices map them, in pixels of
    the frame.
    """
    with np.errstate(all="ignore"):
        apart = mapped(a, shape.corners) - mapped(b, shape.corners)
    return float(np.nan_to_num(np.hypot(*apart.T), nan=np.inf).mean())


def in_whole_pixels(matrix: Matrix, shape: Shape, tolerance_px: float) -> Matrix | None:
    """Returns the shift by whole pixels that a matrix nearly is; None if it is not."""
    middle = np.array([[(shape.width - 1) / 2, (shape.height - 1) / 2]])
    whole = shifted(*np.rint(mapped(matrix, middle) - middle)[0])
    return whole if corner_distance(matrix, whole, shape) < tolerance_px else None


def is_plausible(matrix: Matrix, shape: Shape) -> bool:
    """Says whether a matrix can belong to a frame: not mirrored, torn or strongly slanted."""
    moved = shape.corners @ matrix[:, :2].T + matrix[:, 2]
    if not np.isfinite(moved).all() or (moved[:, 2] <= 0.2).any():
        return False
    corners = moved[:, :2] / moved[:, 2:]
    sides = np.roll(corners, -1, 0) - corners
    lengths = np.hypot(*sides.T) / np.hypot(*(np.roll(shape.corners, -1, 0) - shape.corners).T)
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    return bool((turns > 0).all() and lengths.max() < 1.35 * lengths.min())


def scale_of(matrix: Matrix, shape: Shape) -> float:
    """Returns how many pixels of the frame one pixel of the reference is, in the middle."""
    x, y = (shape.width - 1) / 2, (shape.height - 1) / 2
    around = mapped(matrix, np.array([[x + 1, y], [x - 1, y], [x, y + 1], [x, y - 1]]))
    across, down = around[0] - around[1], around[2] - around[3]
    return float(np.sqrt(abs(across[0] * down[1] - across[1] * down[0])) / 2)


def to_unit(shape: Shape) -> Matrix:
    """Returns the matrix that maps pixels to unit coordinates."""
    half = max(shape) / 2
    return np.array(
        [[1 / half, 0, -(shape.width - 1) / 2 / half], [0, 1 / half, -(shape.height - 1) / 2 / half], [0, 0, 1.0]]
    )


def parameters_of(model: Model) -> NDArray[np.float64]:
    """Returns how a model's parameters map to the eight parameters of a homography, [k, 8]."""
    e = np.eye(8)
    return {
        "identity": e[:0],
        "translation": e[[2, 5]],
        "scale": np.stack([e[0] + e[4], e[2], e[5]]),
        "similarity": np.stack([e[0] + e[4], e[1] - e[3], e[2], e[5]]),
        "affine": e[:6],
        "homography": e,
    }[model]


def motion(parameters: NDArray[np.float64]) -> Matrix:
    """Returns the matrix for eight parameters; it is the identity for zeros."""
    return np.append(parameters, 0.0).reshape(3, 3) + np.eye(3)


def terms(points: Points) -> NDArray[np.float64]:
    """Returns the products of coordinates that motions are made of, [N, 6]: x, y, 1, x², xy, y²."""
    x, y = points.T
    return np.stack([x, y, np.ones_like(x), x * x, x * y, y * y], 1)


#: How x and y move with the eight parameters of a homography near the identity, by the terms, [6, 8].
_ACROSS, _DOWN = np.zeros((2, 6, 8))
_ACROSS[[0, 1, 2], [0, 1, 2]], _ACROSS[[3, 4], [6, 7]] = 1, -1
_DOWN[[0, 1, 2], [3, 4, 5]], _DOWN[[4, 5], [6, 7]] = 1, -1


def design_of_terms(model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns how x and y move with a model's parameters near the identity, by `terms`: two arrays [6, k]."""
    basis = parameters_of(model).T
    return _ACROSS @ basis, _DOWN @ basis


def design(points: Points, model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the same for points: two arrays [N, k]."""
    of_terms, across, down = terms(points), *design_of_terms(model)
    return of_terms @ across, of_terms @ down


def fitted(
    points: Points, moved: Points, weights: NDArray[np.float64], model: Model, tolerance: float, rounds: int = 12
) -> Matrix:
    """Fits a small motion to displaced points, robustly: the farther a point is from the motion, the less it counts.

    Args:
        points: [N, 2] in unit coordinates.
        moved: Their displacements, [N, 2].
        weights: Weights of the points, [N].
        model: The model of motion.
        tolerance: A displacement this far from the motion counts one quarter.
        rounds: Number of times that weights are recomputed.
    """
    across, down = design(points, model)
    jacobian = np.concatenate([across, down])
    target = np.concatenate([moved[:, 0], moved[:, 1]])
    parameters = np.zeros(across.shape[1])
    if not len(parameters):
        return np.eye(3)
    robust = weights
    for _ in range(rounds):
        both = np.tile(robust, 2)[:, None] * jacobian
        normal = both.T @ jacobian
        normal.flat[:: len(normal) + 1] += 1e-6 * (1 + np.trace(normal))
        before, parameters = parameters, np.linalg.solve(normal, both.T @ target)
        if np.abs(parameters - before).max() < _SETTLED * tolerance:
            break
        off = np.hypot(across @ parameters - moved[:, 0], down @ parameters - moved[:, 1])
        robust = weights / (1 + (off / tolerance) ** 2) ** 2
    return motion(parameters_of(model).T @ parameters)
