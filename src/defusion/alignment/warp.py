"""Warps frames when they are read: any region of a frame in the coordinates of the result, in bounded memory.

Samples are interpolated once, by Lanczos, in the depth and encoding of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Shape, scale_of
from defusion.alignment.local import LocalWarp
from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, Samples, converted

#: Largest block that is warped at a time: its pixels, and its longest side.
_BLOCK_PX = 2**20
_LONGEST_SIDE = 8192

#: How far interpolation reads around a place, in samples.
_MARGIN = 5

#: A pixel extends this far from its centre. A frame covers what its pixels cover.
_HALF = 0.5 + 1e-6

#: Places are rounded to this fraction of a sample.
_STEPS = 1024

#: A frame that is finer than the result by this factor is reduced first, to avoid aliasing.
_COARSER_FROM = 1.5


def warped_picture(picture: Picture, matrix: Matrix, shape: Shape, local: LocalWarp | None = None) -> Picture:
    """Returns a picture in the coordinates of a result.

    Args:
        picture: A frame.
        matrix: Maps pixels of the result to those of the frame.
        shape: Size of the result.
        local: Moves places of the result before the matrix does.

    Returns:
        The picture itself if nothing moves. Places that the frame does not cover show its nearest edge.
    """
    if local is None and np.array_equal(matrix, np.eye(3)) and shape == (picture.height, picture.width):
        return picture
    samples: Samples = Warped(picture.samples, matrix, shape, local)
    # this takes as much memory as the frame did, and it is warped only once
    if isinstance(picture.samples, np.ndarray):
        samples = np.asarray(samples)
    frame = Shape(picture.height, picture.width)
    whole = picture.alpha is None and local is None and covered(matrix, shape, frame, shape.corners).all()
    return replace(
        picture, samples=samples, alpha=None if whole else _Alpha(picture.alpha, frame, matrix, shape, local)
    )


def covered(
    matrix: Matrix, of_result: Shape, of_frame: Shape, at: NDArray[np.float64], local: LocalWarp | None = None
) -> NDArray[np.bool_]:
    """Says which places [N, 2] of a result a frame covers."""
    at = at if local is None else local.of(at)
    moved = at @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(all="ignore"):
        x, y = (moved[:, :2] / moved[:, 2:]).T
    inside = (x >= -_HALF) & (y >= -_HALF) & (x <= of_frame.width - 1 + _HALF) & (y <= of_frame.height - 1 + _HALF)
    return np.asarray(inside & (moved[:, 2] > 0))


class Warped(LazySamples):
    """Samples in the coordinates of a result.

    Args:
        samples: Samples of a frame, [H, W, C].
        matrix: Maps pixels of the result to those of the frame.
        shape: Size of the result.
        local: Moves places of the result before the matrix does.
    """

    def __init__(self, samples: Samples, matrix: Matrix, shape: Shape, local: LocalWarp | None = None) -> None:
        self.shape, self.dtype = (shape.height, shape.width, samples.shape[2]), np.dtype(samples.dtype)
        self._samples = samples
        self._matrix = matrix
        self._local = local
        self._coarser = 1
        scale = scale_of(matrix, shape)
        if scale >= _COARSER_FROM:
            self._coarser = max(2, round(scale))

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes the samples at some rows and columns."""
        out = np.empty((len(rows), len(columns), self.shape[2]), self.dtype)
        across = min(len(columns), _LONGEST_SIDE) or 1
        down = max(1, _BLOCK_PX // across)
        for top in range(0, len(rows), down):
            for left in range(0, len(columns), across):
                part = slice(top, top + down), slice(left, left + across)
                out[part] = self._block(rows[part[0]], columns[part[1]])
        return out

    def _block(self, rows: range, columns: range) -> NDArray[Any]:
        import cv2

        height, width = self._samples.shape[:2]
        whole = None if self._local is not None else _whole_pixels(self._matrix)
        if whole is not None:  # it is a crop
            right, down = whole
            if (
                rows[0] + down >= 0
                and columns[0] + right >= 0
                and rows[-1] + down < height
                and columns[-1] + right < width
            ):
                return np.asarray(
                    self._samples[
                        rows.start + down : rows.stop + down : rows.step,
                        columns.start + right : columns.stop + right : columns.step,
                    ]
                )
        x, y = np.meshgrid(np.asarray(columns, float), np.asarray(rows, float))
        if self._local is not None:
            across, down_by = self._local.at(np.asarray(columns, float), np.asarray(rows, float))
            x, y = x + across, y + down_by
        near = self._matrix[2, 0] * x + self._matrix[2, 1] * y + self._matrix[2, 2]
        near = np.where(near > 1e-6, near, 1e-6)  # behind the camera: any place outside will do
        at_x = (self._matrix[0, 0] * x + self._matrix[0, 1] * y + self._matrix[0, 2]) / near
        at_y = (self._matrix[1, 0] * x + self._matrix[1, 1] * y + self._matrix[1, 2]) / near
        np.clip(at_x, 0, width - 1, out=at_x)
        np.clip(at_y, 0, height - 1, out=at_y)
        step = self._coarser
        margin = _MARGIN * step
        left, right = _range(at_x, margin, step, width)
        top, bottom = _range(at_y, margin, step, height)
        region = np.ascontiguousarray(self._samples[top:bottom, left:right])
        if step > 1:
            small = Shape(-(-region.shape[0] // step), -(-region.shape[1] // step))
            whole = small.height * step - region.shape[0], small.width * step - region.shape[1]
            region = np.pad(region, ((0, whole[0]), (0, whole[1]), (0, 0)), mode="edge")
            region = cv2.resize(region, (small.width, small.height), interpolation=cv2.INTER_AREA)
            at_x, at_y = ((each + 0.5) / step - 0.5 for each in (at_x, at_y))
        # Rounded so that float32 holds it: a place has the same samples, whatever region is read.
        at_x, at_y = (np.rint(each * _STEPS) / _STEPS for each in (at_x, at_y))
        made = cv2.remap(
            region,
            (at_x - left // step).astype(np.float32),
            (at_y - top // step).astype(np.float32),
            cv2.INTER_LANCZOS4,
            borderMode=cv2.BORDER_REPLICATE,
        )
        made = np.asarray(made).reshape(len(rows), len(columns), self.shape[2])
        return np.clip(made, region.min(), region.max()) if self.dtype.kind == "f" else made


class _Alpha(LazySamples):
    """How much of a frame there is at each place of a result, [H, W, 1]."""

    def __init__(
        self, alpha: Samples | None, frame: Shape, matrix: Matrix, shape: Shape, local: LocalWarp | None
    ) -> None:
        self.shape, self.dtype = (shape.height, shape.width, 1), np.dtype(np.uint8)
        self._frame, self._matrix, self._result, self._local = frame, matrix, shape, local
        self._alpha = None if alpha is None else Warped(alpha, matrix, shape, local)

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes alpha at some rows and columns."""
        alpha = np.empty((len(rows), len(columns), 1), np.uint8)
        x = np.asarray(columns, float)
        for number, row in enumerate(rows):
            at = np.stack([x, np.full_like(x, row)], 1)
            alpha[number, :, 0] = 255 * covered(self._matrix, self._result, self._frame, at, self._local)
        if self._alpha is not None:
            alpha = np.minimum(alpha, converted(self._alpha.made(rows, columns), np.uint8))
        return alpha


def _whole_pixels(matrix: Matrix) -> tuple[int, int] | None:
    """Returns by how many whole pixels a matrix shifts to the right and down; None if it does anything else."""
    shift = np.outer([1, 1, 0], [0, 0, 1]) * matrix[:, 2:]
    if np.array_equal(matrix - np.eye(3), shift) and np.array_equal(shift, np.rint(shift)):
        return int(matrix[0, 2]), int(matrix[1, 2])
    return None


def _range(at: NDArray[np.float64], margin: int, step: int, length: int) -> tuple[int, int]:
    """Returns the range that has to be read, starting at a multiple of the step."""
    first = max(0, int(np.floor(at.min())) - margin) // step * step
    return first, min(length, int(np.ceil(at.max())) + margin + 1)


def common_area(
    matrices: Sequence[Matrix],
    shapes: Sequence[Shape],
    reference: Shape,
    local: Sequence[LocalWarp | None] | None = None,
) -> tuple[slice, slice] | None:
    """Returns the rows and columns of a rectangle of the reference that all frames cover; None if there is none.

    The side on which frames lack the largest fraction of places is cut, repeatedly.

    Args:
        matrices: Map the reference to the frames.
        shapes: Sizes of the frames.
        reference: Size of the reference.
        local: Local warps of the frames.
    """
    step = max(1.0, max(reference) / 512)
    xs = np.unique(np.append(np.arange(0, reference.width - 1, step), reference.width - 1.0))
    ys = np.unique(np.append(np.arange(0, reference.height - 1, step), reference.height - 1.0))
    grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    valid = np.ones(len(grid), bool)
    for matrix, shape, warp in zip(matrices, shapes, local or [None] * len(shapes), strict=True):
        valid &= covered(matrix, reference, shape, grid, warp)
    lacks = ~valid.reshape(len(ys), len(xs))
    top, bottom, left, right = 0, len(ys), 0, len(xs)
    while lacks[top:bottom, left:right].any():
        sides = [
            lacks[top, left:right].mean(),
            lacks[bottom - 1, left:right].mean(),
            lacks[top:bottom, left].mean(),
            lacks[top:bottom, right - 1].mean(),
        ]
        side = int(np.argmax(sides))
        top, bottom = top + (side == 0), bottom - (side == 1)
        left, right = left + (side == 2), right - (side == 3)
    if bottom == top or right == left:
        return None
    box = [int(np.ceil(ys[top])), int(ys[bottom - 1]), int(np.ceil(xs[left])), int(xs[right - 1])]
    return slice(box[0], box[1] + 1), slice(box[2], box[3] + 1)
