"""Refines a matrix that is about right to fractions of a pixel, by comparing the representations of both frames
directly.

It uses Gauss-Newton on the most informative pixels, with the mean of both frames' gradients (efficient second-order
minimisation, Benhimane and Malis 2004), and with weights that fall where the frames contradict each other.

The less two frames have in common, the more are its steps too short: gradients that only one frame has count as if
the other could slide along them. After 30 steps, three pairs of two sensors were still .2 to .5 pixels from where 150
led. So in the end, the last few steps are extrapolated (Anderson 1965). Before that it is better not to arrive: what
agrees best at coarse levels can be many pixels off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Model, design_of_terms, mapped, motion, parameters_of, terms, to_unit
from defusion.alignment.representation import Kind, LuminancePyramid, Plane, Seen, at_level, gradients

_ROUNDS = 10
_ENOUGH_PX = 0.005
_LONGEST_STEP_PX = 6.0

#: The same for a refinement to the end.
_ROUNDS_TO_THE_END = 20
_ENOUGH_IN_THE_END_PX = 0.002

#: Number of earlier steps by which a step is extrapolated, and how many times longer that can make it.
_MEMORY = 3
_LONGER = 15.0

#: If a step is longer than the one before by this factor, earlier ones are forgotten.
_ASTRAY = 1.5

#: A pixel that is off by this many times the median counts one quarter: in squares. In the end, more of them count:
#: agreement of 13 pairs of exposures was .07 by 2 and .05 by 4, and of 26 pairs of two sensors .16 and .17, with nine
#: of ten within 4.1 and .6.
_USUAL = 2.0
_USUAL_IN_THE_END = 4.0
_FEWEST = 60

#: Pixels are sampled in rows of so many, because OpenCV accepts no row or column of 2^15 or more.
_ROW = 64


def refined(
    reference: LuminancePyramid,
    moving: LuminancePyramid,
    matrix: Matrix,
    kind: Kind,
    model: Model,
    levels: Sequence[int],
    pixels: int = 20000,
    to_the_end: bool = False,
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
        to_the_end: Goes on until hardly anything moves, for matrices that are right to about a pixel.
    """
    for level in levels if model != "identity" else ():
        scale = at_level(level)
        small = _at(reference, moving, matrix @ np.linalg.inv(scale), kind, model, level, pixels, to_the_end)
        if small is not None:
            matrix = matrix @ np.linalg.inv(scale) @ small @ scale
            matrix = matrix / matrix[2, 2]
    return matrix


class _Pixels(NamedTuple):
    """The most informative pixels of a level of the reference."""

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    values: Plane
    """[C, N]."""
    right: Plane
    """How they change to the right, [C, N]."""
    down: Plane
    """How they change downward, [C, N]."""

    def where(self, chosen: NDArray[np.bool_]) -> _Pixels:
        """Returns a part of the pixels."""
        planes = (each[:, chosen] for each in (self.values, self.right, self.down))
        return _Pixels(self.x[chosen], self.y[chosen], *planes)


def _at(
    reference: LuminancePyramid,
    moving: LuminancePyramid,
    matrix: Matrix,
    kind: Kind,
    model: Model,
    level: int,
    pixels: int,
    to_the_end: bool,
) -> Matrix | None:
    """Returns the motion of the reference's pixels at a level that has to be applied before the matrix."""
    import cv2

    shape = reference.shape_of(level)
    other = moving.warped(matrix, shape, kind)
    key = "telling pixels", level, kind, pixels
    of_level: _Pixels = reference.kept(key, lambda: _telling(reference.seen(level, kind), pixels))
    here = of_level.where(other.told[of_level.y, of_level.x] > 0.5)
    count = len(here.x)
    if count < _FEWEST:
        return None
    unit = to_unit(shape)
    back = np.linalg.inv(unit)
    per_unit = np.float32(1 / unit[0, 0])
    points = mapped(unit, np.stack([here.x, here.y], 1).astype(float))
    products = np.ascontiguousarray(terms(points).T, np.float32)
    across, along = design_of_terms(model)
    basis = parameters_of(model).T
    told_there, planes_there = [other.told], cv2.split(other.values)
    tables = np.zeros((2, -(-count // _ROW), _ROW), np.float32)
    small = np.eye(3)
    steps = _Steps()
    rounds, enough_px, usual_off = _ROUNDS, _ENOUGH_PX, _USUAL
    if to_the_end:
        rounds, enough_px, usual_off = _ROUNDS_TO_THE_END, _ENOUGH_IN_THE_END_PX, _USUAL_IN_THE_END
    for _ in range(rounds):
        x, y, w = (back @ small).astype(np.float32) @ products[:3]
        for table, at in zip(tables, (x / w, y / w), strict=True):
            table.reshape(-1)[:count] = at

        def sample(planes: Sequence[Any], right: int = 0, down: int = 0) -> Plane:
            x, y = tables[0] + np.float32(right), tables[1] + np.float32(down)
            taken = [cv2.remap(each, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) for each in planes]
            return np.asarray(taken, np.float32).reshape(len(planes), -1)[:, :count]

        told = sample(told_there)[0]
        known = told > 0.5
        if known.sum() < _FEWEST:
            return None
        there = sample(planes_there)
        right = 0.5 * (sample(planes_there, right=1) - sample(planes_there, right=-1))
        down = 0.5 * (sample(planes_there, down=1) - sample(planes_there, down=-1))
        x_slope, y_slope = (0.5 * per_unit) * (here.right + right), (0.5 * per_unit) * (here.down + down)
        gain = np.float32(1)
        if kind == "detail":  # contrast of the whole block, which defocus lowers
            both, alone = (told * there * here.values).sum(), (told * there * there).sum()
            gain = np.float32(np.clip(both / max(alone, 1e-9), 0.3, 3))
        off = gain * there - here.values
        square = _over_channels(off, off)
        usual = np.float32(max(usual_off * float(np.median(square[known])), 1e-4))
        weight = told / (1 + square / usual) ** 2
        # sums over pixels of products of terms: no array has a row for each pixel and a column for each parameter
        of_xx, of_xy, of_yy = (
            ((products * (weight * _over_channels(a, b))) @ products.T).astype(float)
            for a, b in ((x_slope, x_slope), (x_slope, y_slope), (y_slope, y_slope))
        )
        of_x, of_y = ((products @ (weight * _over_channels(each, off))).astype(float) for each in (x_slope, y_slope))
        mixed = across.T @ of_xy @ along
        normal = across.T @ of_xx @ across + mixed + mixed.T + along.T @ of_yy @ along
        normal.flat[:: len(normal) + 1] *= 1.0001
        try:
            step = -np.linalg.solve(normal, across.T @ of_x + along.T @ of_y)
        except np.linalg.LinAlgError:
            return None
        parameters = basis @ step
        far = np.abs(mapped(motion(parameters), _BOX) - _BOX).max() * per_unit
        if far > _LONGEST_STEP_PX:
            parameters *= _LONGEST_STEP_PX / far
        moved = small @ motion(parameters)
        if far < enough_px:
            return back @ moved @ unit
        small = steps.extrapolated(small, moved) if to_the_end else moved
    return back @ small @ unit


class _Steps:
    """The last steps of an iteration, by which the place that it goes to is extrapolated (Anderson acceleration)."""

    def __init__(self) -> None:
        self._ends: list[NDArray[np.float64]] = []
        self._moves: list[NDArray[np.float64]] = []

    def extrapolated(self, before: Matrix, after: Matrix) -> Matrix:
        """Adds a step from one small motion to another, and returns where to go instead."""
        start, end = ((each / each[2, 2] - np.eye(3)).ravel()[:8] for each in (before, after))
        move = end - start
        if self._moves and np.abs(move).max() > _ASTRAY * np.abs(self._moves[-1]).max():
            self._ends, self._moves = [], []
        self._ends, self._moves = [*self._ends[-_MEMORY:], end], [*self._moves[-_MEMORY:], move]
        if len(self._moves) == 1:
            return motion(end)
        parts = np.linalg.lstsq(np.diff(self._moves, axis=0).T, move, rcond=1e-3)[0]
        farther = end - np.diff(self._ends, axis=0).T @ parts - start
        most = _LONGER * np.abs(move).max()
        return motion(start + farther * min(1.0, most / max(np.abs(farther).max(), 1e-12)))


def _over_channels(a: Plane, b: Plane) -> Plane:
    """Returns the sums over channels of products of two arrays [C, N]."""
    return np.asarray(np.einsum("cn,cn->n", a, b))


_BOX = np.array([[-1, -0.7], [1, -0.7], [1, 0.7], [-1, 0.7]])


def _telling(seen: Seen, count: int) -> _Pixels:
    """Returns the pixels with the strongest gradients, four in each cell, so that they are spread over
    the picture.
    """
    right, down = gradients(seen.values)
    energy = np.einsum("hwc,hwc->hw", right, right) + np.einsum("hwc,hwc->hw", down, down)
    energy *= seen.told
    energy[:3] = energy[-3:] = 0
    energy[:, :3] = energy[:, -3:] = 0
    height, width = energy.shape
    cell = max(2, int(np.ceil(np.sqrt(4 * energy.size / count))))
    rows, columns = height // cell, width // cell
    if min(rows, columns) < 2:
        y, x = np.nonzero(energy > 0)
    else:
        squares = energy[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
        cells = squares.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
        best = np.argpartition(cells, -4, axis=1)[:, -4:]
        of_row, of_column = np.divmod(np.arange(len(cells))[:, None], columns)
        y, x = of_row * cell + best // cell, of_column * cell + best % cell
        values = energy[y, x]
        shown = values > 0
        enough = values > (0.15 * np.median(values[shown]) if shown.any() else 0)
        y, x = y[enough], x[enough]
    return _Pixels(x, y, *(np.ascontiguousarray(each[y, x].T) for each in (seen.values, right, down)))
