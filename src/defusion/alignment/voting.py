"""Blocks that vote: each block finds on its own where its part of a frame lies, whatever matrix was fitted.

Half of the blocks, as on a chessboard, are held out when the other half is fitted. So a more general model is only
used if it helps blocks that were not used for fitting. How far the fits of the two halves are apart shows how certain
the result is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import (
    MODELS,
    Matrix,
    Model,
    Points,
    Shape,
    corner_distance,
    design,
    fitted,
    mapped,
    to_unit,
)
from defusion.alignment.representation import Kind, LuminancePyramid, Plane, Seen, at_level

#: Size, in pixels, of the level at which blocks vote. Below, "px" means pixels of that level.
VOTING_PX = 3.2e5

#: A block does not vote if the correlation of its best match is below this.
_LEAST_CORRELATION = 0.12

#: A block agrees with a matrix if its best match is no farther away than this, in pixels.
TOLERANCE_PX = 1.5

_FEWEST = 6


class BlockVotes(NamedTuple):
    """The votes of blocks for a matrix. All lengths are in pixels of the voting level."""

    at: Points
    """Centres of the blocks, [N, 2]."""
    moved: Points
    """Displacement of the best match from there, [N, 2]."""
    peak: NDArray[np.float64]
    """Correlation of the best match, [N]."""
    held: NDArray[np.bool_]
    """Which blocks belong to the second half."""
    covered: float
    """Fraction of the reference in which both frames are known."""
    reach: int
    """How far around blocks were searched."""
    shape: Shape
    """Size of the reference at that level."""
    scale: float
    """Pixels of the reference at its own size for one pixel of the level."""

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Which blocks agree with the matrix."""
        return np.asarray(np.hypot(*self.moved.T) < TOLERANCE_PX)

    @property
    def agreement(self) -> float:
        """Fraction of all blocks that agree."""
        return float(self.hits.mean()) if len(self.at) else 0.0

    @property
    def surprise(self) -> float:
        """How far the agreement is above chance, in standard deviations."""
        if not len(self.at):
            return 0.0
        chance = np.pi * TOLERANCE_PX**2 / (2 * self.reach + 1) ** 2
        return float((self.agreement - chance) / np.sqrt(chance * (1 - chance) / len(self.at)))

    @property
    def score(self) -> float:
        """Score of a matrix: correlations of blocks, reduced by their error, including fractions of a pixel."""
        off = np.hypot(*self.moved.T)
        return float((self.peak / (1 + (off / 0.75) ** 2)).sum())

    @property
    def uncertainty(self) -> float:
        """Standard error of the corners under a homography through the blocks that agree, as these scatter around the
        matrix. It is large if few of them agree, or only those in one part of the picture.
        """
        near = self.hits
        if near.sum() < _FEWEST:
            return np.inf
        unit = to_unit(self.shape)
        of_blocks = np.concatenate(design(mapped(unit, self.at[near]), "homography"))
        of_corners = np.concatenate(design(mapped(unit, self.shape.corners), "homography"))
        normal = of_blocks.T @ of_blocks
        normal.flat[:: len(normal) + 1] += 1e-9 * np.trace(normal)
        lever = (of_corners * np.linalg.solve(normal, of_corners.T).T).sum() / len(self.shape.corners)
        return float(np.sqrt(lever * (self.moved[near] ** 2).mean()))

    @property
    def residual(self) -> float:
        """Median error of the blocks that agree, in pixels of the reference."""
        off = np.hypot(*self.moved.T)[self.hits]
        return float(np.median(off)) * self.scale if len(off) else np.inf


class Fit(NamedTuple):
    """A motion that blocks agree on. It is applied before the matrix for which they voted."""

    model: Model
    motion: Matrix
    """Maps pixels of the reference at its own size."""
    hits: float
    """Fraction of the blocks that agree with it."""
    spread: float
    """Distance between the corners by the fits of the two halves, in pixels of the reference."""


def votes(
    reference: LuminancePyramid,
    moving: LuminancePyramid,
    matrix: Matrix,
    kind: Kind,
    reach: int = 6,
    level: int | None = None,
) -> BlockVotes:
    """Lets blocks vote for a matrix.

    Args:
        reference: The frame whose blocks are searched for.
        moving: The frame in which they are searched.
        matrix: Maps pixels of the reference to those of the other frame; the search is around that.
        kind: What is compared.
        reach: How far around to search, in pixels of the level.
        level: Level of the reference; the voting level by default.
    """
    level = reference.level_of(VOTING_PX) if level is None else level
    shape = reference.shape_of(level)
    fixed = reference.seen(level, kind)
    other = moving.warped(matrix @ np.linalg.inv(at_level(level)), shape, kind)
    covered = float(((fixed.told > 0.5) & (other.told > 0.5)).mean())
    found = _matches(fixed, other, reach)
    at, moved, peak, held = found
    voting = peak > _LEAST_CORRELATION
    if voting.sum() < _FEWEST:
        voting[:] = False
    return BlockVotes(at[voting], moved[voting], peak[voting], held[voting], covered, reach, shape, 2.0**level)


def _matches(fixed: Seen, other: Seen, reach: int) -> tuple[Points, Points, NDArray[np.float64], NDArray[np.bool_]]:
    """Searches each textured block of one representation in the other."""
    height, width = fixed.told.shape
    side = int(np.clip(np.sqrt(height * width / 90), 20, 56))
    room = side + 2 * reach
    found: list[tuple[float, float, float, float, float, bool]] = []
    if min(height, width) < room + 2:
        side = max(8, min(height, width) - 2 * reach - 2)
        room = side + 2 * reach
    if min(height, width) >= room:
        rows, columns = (
            np.linspace(0, length - room, max(2, round(1.5 * (length - 2 * reach) / side))).astype(int)
            for length in (height, width)
        )
        told = _means(fixed.told, rows + reach, columns + reach, side) >= 0.3
        told &= _means(other.told, rows, columns, room) >= 0.4
        told &= _means((fixed.values * fixed.values).sum(2), rows + reach, columns + reach, side) >= 0.02
        middle = side / 2 - 0.5 + reach
        for i, j in np.argwhere(told):
            top, left = int(rows[i]), int(columns[j])
            block = fixed.values[top + reach : top + reach + side, left + reach : left + reach + side]
            down, right, peak = best_match(block, other.values[top : top + room, left : left + room])
            found.append((left + middle, top + middle, right - reach, down - reach, peak, bool((i + j) % 2)))
    table = np.array(found, float).reshape(-1, 6)
    return table[:, :2], table[:, 2:4], table[:, 4], table[:, 5] > 0


def _means(plane: Plane, tops: NDArray[np.intp], lefts: NDArray[np.intp], side: int) -> NDArray[np.float64]:
    """Returns the means of squares of a plane, [tops, lefts]."""
    import cv2

    sums = np.asarray(cv2.integral(plane))
    ends = sums[np.ix_(tops + side, lefts + side)] - sums[np.ix_(tops + side, lefts)]
    starts = sums[np.ix_(tops, lefts + side)] - sums[np.ix_(tops, lefts)]
    return np.asarray((ends - starts) / side**2)


def best_match(block: Plane, around: Plane) -> tuple[float, float, float]:
    """Returns the row and column of a larger array where a block fits best, to fractions of a pixel, and the
    correlation.

    Args:
        block: [h, w, C].
        around: [H, W, C].
    """
    import cv2

    scores = np.asarray(cv2.matchTemplate(around, block, cv2.TM_CCORR_NORMED), np.float32)
    if not np.isfinite(scores.max()):  # where there is nothing around the block
        scores = np.nan_to_num(scores)
    row, column = divmod(int(scores.argmax()), scores.shape[1])
    best = float(scores[row, column])

    def finer(before: float, after: float) -> float:
        bend = before - 2 * best + after
        return 0.5 * (before - after) / bend if bend < -1e-6 else 0.0

    down = finer(scores[row - 1, column], scores[row + 1, column]) if 0 < row < scores.shape[0] - 1 else 0.0
    right = finer(scores[row, column - 1], scores[row, column + 1]) if 0 < column < scores.shape[1] - 1 else 0.0
    return row + down, column + right, best


def agreed(found: BlockVotes, freest: Model = "homography", stiffest: Model = "identity") -> Fit | None:
    """Finds the motion that most blocks agree on. A more general model is used only if it helps held-out blocks.

    Args:
        found: The votes of blocks.
        freest: The most general model to try.
        stiffest: The least general model to try.

    Returns:
        None if too few blocks vote.
    """
    if len(found.at) < _FEWEST:
        return None
    unit = to_unit(found.shape)
    points, moved = mapped(unit, found.at), found.moved * unit[0, 0]
    tolerance = TOLERANCE_PX * unit[0, 0]
    start = _consensus(points, moved, tolerance)
    weights = np.clip(found.peak, 0.05, 1) * start
    if weights.sum() < 1:
        return None
    halves = [found.held, ~found.held]

    def held_out(model: Model) -> tuple[float, list[Matrix]]:
        """Returns the cost of blocks under the fit of the other half, in squares of the tolerance; and the fits."""
        cost, fits = 0.0, []
        for half in halves:
            fits.append(fitted(points, moved, weights * half, model, tolerance))
            off = np.hypot(*(mapped(fits[-1], points) - points - moved).T)[~half]
            cost += float((np.clip(found.peak[~half], 0.05, 1) * np.minimum(off / tolerance, 2) ** 2).sum())
        return cost, fits

    tried = MODELS[MODELS.index(stiffest) : MODELS.index(freest) + 1]
    best, (least, apart) = tried[0], held_out(tried[0])
    for model in tried[1:]:
        if 2 * _parameters(model) + 2 > start.sum():
            break
        cost, fits = held_out(model)
        if cost < least * 0.985 - 1e-9:
            best, least, apart = model, cost, fits
    whole = fitted(points, moved, weights, best, tolerance)
    off = np.hypot(*(mapped(whole, points) - points - moved).T)
    back = np.linalg.inv(unit)
    to_px = at_level(0) if found.scale == 1 else np.linalg.inv(at_level(round(np.log2(found.scale))))
    of_reference = to_px @ back @ whole @ unit @ np.linalg.inv(to_px)
    spread = corner_distance(back @ apart[0] @ unit, back @ apart[1] @ unit, found.shape) * found.scale
    return Fit(best, of_reference / of_reference[2, 2], float((off < tolerance).mean()), spread)


def _parameters(model: Model) -> int:
    return {"identity": 0, "translation": 2, "scale": 3, "similarity": 4, "affine": 6, "homography": 8}[model]


def _consensus(points: Points, moved: Points, tolerance: float, tries: int = 600) -> NDArray[np.float64]:
    """Returns which blocks agree with the best similarity, of those that two blocks define."""
    rng = np.random.default_rng(7)
    here = points @ [1, 1j]
    there = here + moved @ [1, 1j]
    first, second = rng.integers(0, len(here), (2, tries))
    apart = here[second] - here[first]
    far = np.abs(apart) > 0.4
    first, second, apart = first[far], second[far], apart[far]
    turn = (there[second] - there[first]) / apart if len(first) else np.ones(1, complex)
    shift = (
        there[first] - turn * here[first]
        if len(first)
        else np.array([np.median(moved @ [1, 0]) + 1j * np.median(moved @ [0, 1])])
    )
    off = np.abs(turn[:, None] * here + shift[:, None] - there)
    score = np.maximum(0, 1 - (off / (1.5 * tolerance)) ** 2).sum(1) * (np.abs(turn - 1) < 0.1)
    return np.asarray(off[score.argmax()] < 2.5 * tolerance, float)
