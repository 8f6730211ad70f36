"""Refines a matrix that is about right to fractions of a pixel, by comparing the representations of both frames
directly.

It uses Gauss-Newton on the most informative pixels, with the mean of both frames' gradients (efficient second-order
minimisation, Benhimane and Malis 2004), and with weights that fall where the frames contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Model, design, mapped, motion, parameters_of, to_unit
from defusion.alignment.representation import Kind, LuminancePyramid, Plane, at_level, gradients

_ROUNDS = 10
_ENOUGH_PX = 0.005
_LONGEST_STEP_PX = 6.0
_FEWEST = 60


def refined(
    reference: LuminancePyramid,
    moving: LuminancePyramid,
    matrix: Matrix,
    kind: Kind,
    model: Model,
    levels: Sequence[int],
    pixels: int = 20000,
) -> Matrix:
    """Refines a matrix level by level.

    Args:
        reference: The frame that stays.
        moving: The frame that is moved.
        matrix: Right to a few pixels of the first level.
        kind: What is compared.
        model: The model of motion.
        levels: Levels of the reference, from coarse to fine.
        pixels: About how many pixels are used at each level.
    """
    for level in levels if model != "identity" else ():
        scale = at_level(level)
        small = _at(reference, moving, matrix @ np.linalg.inv(scale), kind, model, level, pixels)
        if small is not None:
            matrix = matrix @ np.linalg.inv(scale) @ small @ scale
            matrix = matrix / matrix[2, 2]
    return matrix


class _Pixels(NamedTuple):
    """The most informative pixels of the reference."""

    x: NDArray[np.intp]
    y: NDArray[np.intp]


def _at(
    reference: LuminancePyramid,
    moving: LuminancePyramid,
    matrix: Matrix,
    kind: Kind,
    model: Model,
    level: int,
    pixels: int,
) -> Matrix | None:
    """Returns the motion of the reference's pixels at a level that has to be applied before the matrix."""
    import cv2

    shape = reference.shape_of(level)
    fixed = reference.seen(level, kind)
    other = moving.warped(matrix, shape, kind)
    right, down = gradients(fixed.values)
    chosen = _telling((right * right + down * down).sum(2) * fixed.told * (other.told > 0.5), pixels)
    if len(chosen.x) < _FEWEST:
        return None
    unit = to_unit(shape)
    back = np.linalg.inv(unit)
    per_unit = 1 / unit[0, 0]
    points = mapped(unit, np.stack([chosen.x, chosen.y], 1).astype(float))
    across, along = (each.astype(np.float32) for each in design(points, model))
    here = fixed.values[chosen.y, chosen.x]
    right_here, down_here = right[chosen.y, chosen.x] * per_unit, down[chosen.y, chosen.x] * per_unit
    right_there, down_there = gradients(other.values)
    basis = parameters_of(model).T
    small = np.eye(3)
    for _ in range(_ROUNDS):
        at = mapped(back @ small, points).astype(np.float32)

        def sample(plane: Plane, at: NDArray[np.float32] = at) -> Plane:
            table = np.resize(at, (-(-len(at) // 64), 64, 2))  # OpenCV accepts no column of 2^15 or more
            taken = cv2.remap(plane, table[..., 0], table[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            return np.asarray(taken, np.float32).reshape(table.size // 2, -1)[: len(at)]

        told = sample(other.told)[:, 0]
        if (told > 0.5).sum() < _FEWEST:
            return None
        there = sample(other.values)
        x_slope = 0.5 * (right_here + sample(right_there) * per_unit)
        y_slope = 0.5 * (down_here + sample(down_there) * per_unit)
        gain = 1.0
        if kind == "detail":  # contrast of the whole block, which defocus lowers
            gain = float(
                np.clip((told[:, None] * there * here).sum() / max((told[:, None] * there**2).sum(), 1e-9), 0.3, 3)
            )
        off = gain * there - here
        square = (off * off).sum(1)
        usual = max(2 * float(np.median(square[told > 0.5])), 1e-4)
        weight = told / (1 + square / usual) ** 2
        slopes = x_slope[:, :, None] * across[:, None] + y_slope[:, :, None] * along[:, None]
        flat = slopes.reshape(-1, slopes.shape[2])
        weighted = (slopes * weight[:, None, None]).reshape(flat.shape)
        normal = (weighted.T @ flat).astype(float)
        normal[np.diag_indices_from(normal)] *= 1.0001
        try:
            step = -np.linalg.solve(normal, (weighted.T @ off.reshape(-1)).astype(float))
        except np.linalg.LinAlgError:
            return None
        parameters = basis @ step
        far = np.abs(mapped(motion(parameters), _BOX) - _BOX).max() * per_unit
        if far > _LONGEST_STEP_PX:
            parameters *= _LONGEST_STEP_PX / far
        small = small @ motion(parameters)
        if far < _ENOUGH_PX:
            break
    return back @ small @ unit


_BOX = np.array([[-1, -0.7], [1, -0.7], [1, 0.7], [-1, 0.7]])


def _telling(energy: Plane, count: int) -> _Pixels:
    """Returns the pixels with the strongest gradients, four in each cell, so that they are spread over
    the picture.
    """
    energy = energy.copy()
    energy[:3] = energy[-3:] = 0
    energy[:, :3] = energy[:, -3:] = 0
    height, width = energy.shape
    cell = max(2, int(np.ceil(np.sqrt(4 * energy.size / count))))
    down, across = height // cell, width // cell
    if min(down, across) < 2:
        y, x = np.nonzero(energy > 0)
        return _Pixels(x, y)
    squares = energy[: down * cell, : across * cell].reshape(down, cell, across, cell)
    cells = squares.transpose(0, 2, 1, 3).reshape(down * across, -1)
    best = np.argpartition(cells, -4, axis=1)[:, -4:]
    of_row, of_column = np.divmod(np.arange(len(cells))[:, None], across)
    y, x = of_row * cell + best // cell, of_column * cell + best % cell
    values = energy[y, x]
    shown = values > 0
    enough = values > (0.15 * np.median(values[shown]) if shown.any() else 0)
    return _Pixels(x[enough], y[enough])
