"""Aligns many pairs of two fixed cameras together: finds one matrix from the votes of the blocks of all pairs.

A single pair from different sensors may have little in common, but each of many pairs adds its votes. Some pairs are
aligned on their own and propose their matrix. The proposal that suits all pairs best is fitted to the votes of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import MODELS, Matrix, Model, is_plausible
from defusion.alignment.pair import STAYS, PairAlignment, lined_up
from defusion.alignment.representation import LuminancePyramid
from defusion.alignment.verdict import Verdict, judged
from defusion.alignment.voting import BlockVotes, Fit, agreed, votes

#: Most pairs that are aligned on their own, and matrices that are proposed to all pairs.
_PROPOSING = 6
_PROPOSALS = 3

#: The most general model of a single pair: a freer one follows what is off in that pair.
_PROPOSED: Model = "similarity"

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
    stiff = min(_PROPOSED, freest, key=MODELS.index)
    for number, index in enumerate(order, 1):
        proposed.append(lined_up(*pairs[index], sensors="several", freest=stiff))
        if done is not None:
            done(number)
        if proposed[-1].verdict.confidence >= _SURE and number >= min(2, len(order)):
            break
    proposed.sort(key=lambda found: -found.verdict.confidence)
    said = [_pooled(_votes(pairs, found.matrix, _NEAR)) for found in proposed[:_PROPOSALS]]
    best = max(range(len(said)), key=lambda index: said[index].score)
    matrix, model = _fitted(pairs, proposed[best].matrix, proposed[best].model, freest)
    each = _votes(pairs, matrix, _NEAR)
    reference, moving = pairs[0]
    if reference.shape == moving.shape:
        still = _votes(pairs, np.eye(3), _NEAR)
        if _pooled(still).score >= STAYS * _pooled(each).score:
            matrix, model, each = np.eye(3), "identity", still
    pooled = _pooled(each)
    judge = min(_freer(model, "similarity"), freest, key=MODELS.index)
    fit = agreed(_halves(each), judge, stiffest=judge)
    agreeing = sum(len(found.at) >= 6 and found.agreement > 0.5 for found in each)
    return Together(matrix, model, _verdict(pooled, fit, len(pairs)), agreeing)


def _fitted(
    pairs: Sequence[tuple[LuminancePyramid, LuminancePyramid]], matrix: Matrix, model: Model, freest: Model
) -> tuple[Matrix, Model]:
    """Fits a matrix to the votes of all pairs, as long as they rate it better."""
    found = _votes(pairs, matrix, _NEAR)
    for number in range(_ROUNDS):
        fit = _agreed(_votes(pairs, matrix, _WIDE) if number == 0 else found, freest)
        if fit is None or fit.model == "identity":
            break
        moved = matrix @ fit.motion
        if not is_plausible(moved, pairs[0][0].shape):
            break
        again = _votes(pairs, moved / moved[2, 2], _NEAR)
        if _pooled(again).score <= _pooled(found).score:
            break
        matrix, model, found = moved / moved[2, 2], _freer(model, fit.model), again
    return matrix, model


def _verdict(pooled: BlockVotes, fit: Fit | None, pairs: int) -> Verdict:
    """Judges as for a single pair, with as many blocks as one pair has: pairs of one scene repeat
    information.
    """
    count = max(1, len(pooled.at) // pairs)
    few = np.linspace(0, max(len(pooled.at) - 1, 0), min(len(pooled.at), 2 * count)).astype(int)
    return judged(_some(pooled, few), fit)._replace(residual_px=pooled.residual, score=pooled.score)


def _votes(
    pairs: Sequence[tuple[LuminancePyramid, LuminancePyramid]], matrix: Matrix, reach: int
) -> list[BlockVotes]:
    return [votes(*pair, matrix, "edges", reach) for pair in pairs]


def _agreed(found: Sequence[BlockVotes], freest: Model) -> Fit | None:
    """Fits a motion to the votes of all pairs, by the model that serves other pairs best."""
    chosen = agreed(_halves(found), freest)
    return None if chosen is None else agreed(_pooled(found), chosen.model, stiffest=chosen.model)


def _halves(found: Sequence[BlockVotes]) -> BlockVotes:
    """Joins one half of the blocks of one half of the pairs, and the other half of the others.

    So what is off in all of a pair, such as by parallax, neither decides for a freer model nor makes the result look
    sure; nor does what is off at one place in all pairs, which may show one scene.
    """
    if len(found) == 1:
        return found[0]
    most = np.argsort([len(each.at) for each in found], kind="stable")[::-1]
    kept = []
    for rank, index in enumerate(most):
        each = found[index]
        half = each.held == bool(rank % 2)
        kept.append(_some(each, half))
    return _pooled(kept)


def _some(found: BlockVotes, which: NDArray[Any]) -> BlockVotes:
    """Takes some of the votes, by their indices or by a mask."""
    return found._replace(
        at=found.at[which], moved=found.moved[which], peak=found.peak[which], held=found.held[which]
    )


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
