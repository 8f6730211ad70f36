"""Aligns many pairs of two fixed cameras together: finds one matrix from the votes of the blocks of all pairs.

A single pair from different sensors may have little in common, but each of many pairs adds its votes. Some pairs are
aligned on their own and propose their matrix. The proposal that suits all pairs best is fitted to the votes of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from defusion.alignment.geometry import MODELS, Matrix, Model, is_plausible
from defusion.alignment.pair import STAYS, PairAlignment, lined_up
from defusion.alignment.representation import LuminancePyramid
from defusion.alignment.verdict import Verdict, judged
from defusion.alignment.voting import BlockVotes, Fit, agreed, votes

#: Most pairs that are aligned on their own, and matrices that are proposed to all pairs.
_PROPOSING = 6
_PROPOSALS = 3

#: If one pair is this sure of its matrix, it is accepted at once unless the others object.
_SURE = 0.99

#: How often a matrix is fitted to the votes.
_ROUNDS = 4

#: How far blocks are searched around a proposed matrix and around a fitted one, in pixels of the voting level.
_WIDE, _NEAR = 12, 6


class Together(NamedTuple):
    """What the pairs agree on."""

    matrix: Matrix
    """Maps pixels of the first frames of the pairs to those of the second."""
    model: Model
    verdict: Verdict
    agreeing: int
    """Number of pairs in which most blocks agree with the matrix."""


def lined_up_together(
    pairs: Sequence[tuple[LuminancePyramid, LuminancePyramid]],
    *,
    freest: Model = "homography",
    done: Callable[[int], None] | None = None,
) -> Together:
    """Finds how the second frames lie in the first ones.

    Args:
        pairs: Reference and moving frame of each pair. All references have one size, and so have all moving frames.
        freest: The most general model allowed.
        done: Called with the number of pairs that have proposed.
    """
    proposed: list[PairAlignment] = []
    order = _spread(len(pairs))[:_PROPOSING]
    for number, index in enumerate(order, 1):
        proposed.append(lined_up(*pairs[index], sensors="several", freest=freest))
        if done is not None:
            done(number)
        if proposed[-1].verdict.confidence >= _SURE and number >= min(2, len(order)):
            break
    proposed.sort(key=lambda found: -found.verdict.confidence)
    said = [_votes(pairs, found.matrix, _NEAR) for found in proposed[:_PROPOSALS]]
    best = max(range(len(said)), key=lambda index: said[index].score)
    matrix, model = _fitted(pairs, proposed[best].matrix, proposed[best].model, freest)
    each = [votes(*pair, matrix, "edges", _NEAR) for pair in pairs]
    reference, moving = pairs[0]
    if reference.shape == moving.shape:
        still = [votes(*pair, np.eye(3), "edges", _NEAR) for pair in pairs]
        if _pooled(still).score >= STAYS * _pooled(each).score:
            matrix, model, each = np.eye(3), "identity", still
    pooled = _pooled(each)
    judge = min(_freer(model, "similarity"), freest, key=MODELS.index)
    fit = agreed(pooled, judge, stiffest=judge)
    agreeing = sum(len(found.at) >= 6 and found.agreement > 0.5 for found in each)
    return Together(matrix, model, _verdict(pooled, fit, len(pairs)), agreeing)


def _fitted(
    pairs: Sequence[tuple[LuminancePyramid, LuminancePyramid]], matrix: Matrix, model: Model, freest: Model
) -> tuple[Matrix, Model]:
    """Fits a matrix to the votes of all pairs, as long as they rate it better."""
    found = _votes(pairs, matrix, _NEAR)
    for number in range(_ROUNDS):
        fit = agreed(_votes(pairs, matrix, _WIDE) if number == 0 else found, freest)
        if fit is None or fit.model == "identity":
            break
        moved = matrix @ fit.motion
        if not is_plausible(moved, pairs[0][0].shape):
            break
        again = _votes(pairs, moved / moved[2, 2], _NEAR)
        if again.score <= found.score:
            break
        matrix, model, found = moved / moved[2, 2], _freer(model, fit.model), again
    return matrix, model


def _verdict(pooled: BlockVotes, fit: Fit | None, pairs: int) -> Verdict:
    """Judges as for a single pair, with as many blocks as one pair has: pairs of one scene repeat the same
    information.
    """
    count = max(1, len(pooled.at) // pairs)
    few = np.linspace(0, max(len(pooled.at) - 1, 0), min(len(pooled.at), 2 * count)).astype(int)
    part = pooled._replace(at=pooled.at[few], moved=pooled.moved[few], peak=pooled.peak[few], held=pooled.held[few])
    return judged(part, fit)._replace(residual_px=pooled.residual, score=pooled.score)


def _votes(pairs: Sequence[tuple[LuminancePyramid, LuminancePyramid]], matrix: Matrix, reach: int) -> BlockVotes:
    return _pooled([votes(*pair, matrix, "edges", reach) for pair in pairs])


def _pooled(found: Sequence[BlockVotes]) -> BlockVotes:
    """Joins the votes of several pairs."""
    return found[0]._replace(
        at=np.concatenate([each.at for each in found]),
        moved=np.concatenate([each.moved for each in found]),
        peak=np.concatenate([each.peak for each in found]),
        held=np.concatenate([each.held for each in found]),
        covered=float(np.mean([each.covered for each in found])),
    )


def _spread(count: int) -> list[int]:
    """Returns numbers from 0 on in an order in which the first few are spread over the range."""
    order: list[int] = []
    step = 1
    while len(order) < count:
        for part in range(1, step + 1):
            index = min(count - 1, (2 * part - 1) * count // (2 * step))
            if index not in order:
                order.append(index)
        step *= 2
    return order


def _freer(a: Model, b: Model) -> Model:
    return max(a, b, key=MODELS.index)
