"""Aligns many pairs of two fixed cameras together: finds one matrix from the evidence of all pairs.

    search in all pairs at once  ->  votes of the blocks of all pairs  ->  model  ->  verdict

A single pair from different sensors may have little in common, but what pairs have in common adds up. Pairs that are
held out choose the model and say how sure the matrix is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import (
    Matrix,
    Model,
    Shape,
    corner_distance,
    enlarged,
    freer,
    is_plausible,
    mapped,
    stiffer,
)
from defusion.alignment.pair import STAYS, lined_up
from defusion.alignment.representation import at_level
from defusion.alignment.search import Pair, likely_places
from defusion.alignment.verdict import Verdict, judged
from defusion.alignment.voting import VOTING_PX, BlockVotes, Fit, agreed, votes

#: Most pairs that are searched, places that are looked at by coarse votes, and those of them by fine votes.
_SEARCHED = 6
_PLACES = 6
_BEST = 2

#: If more than this share of all coarse blocks agrees on a place, no other place is tried. By chance, 1 % of them
#: agree.
_PLAIN = 0.5

#: The most general model of the first fit. A freer one would follow errors of a place that is not exact yet.
_FIRST: Model = "similarity"

#: Most rounds of fitting a matrix to the votes; how much a round may lower the score, because a fit weights votes
#: differently from the score; and the motion of the corners, in pixels of the voting level, below which the rounds
#: end.
_ROUNDS = 5
_SLACK = 0.02
_STILL_PX = 0.05

#: A pair agrees if the number of its blocks that agree is this many standard deviations above chance. Wrong places
#: had at most 2, right ones 8 and more.
_ABOVE_CHANCE = 4.0

#: How far off the corners may be, in pixels of the voting level, and the least probability of that.
_EXACT_PX = 0.75
_GOOD = 0.5

#: How far blocks are searched around a proposed matrix and around a fitted one, in pixels of the voting level.
_WIDE, _NEAR = 12, 6


class Together(NamedTuple):
    """What the pairs agree on."""

    matrix: Matrix
    """Maps pixels of the first frames of the pairs to those of the second."""
    model: Model
    verdict: Verdict
    agreeing: int
    """Number of pairs whose blocks agree, more than by chance, with what the other pairs say."""
    off_px: float
    """How far off the corners may be, as far as held-out pairs and blocks tell, in pixels of the first frames."""

    @property
    def good(self) -> bool:
        """Whether the matrix is trusted."""
        return self.verdict.confidence >= _GOOD


def lined_up_together(
    pairs: Sequence[Pair], *, freest: Model = "homography", done: Callable[[int], None] | None = None
) -> Together:
    """Finds how the second frames lie in the first ones.

    Args:
        pairs: Reference and moving frame of each pair. All references have one size, and so have all moving frames.
        freest: The most general model allowed.
        done: Called with the number of pairs that have been searched.
    """
    stiff = stiffer(_FIRST, freest)
    searched = [pairs[index] for index in _spread(len(pairs))[:_SEARCHED]]
    if len(pairs) == 1:
        alone = lined_up(*pairs[0], sensors="several", freest=stiff)
        matrix, model = alone.matrix, alone.model
    else:
        matrix, model = _entered(searched, stiff)
    if done is not None:
        done(len(searched))
    matrix, model = _fitted(searched, matrix, model, freest)
    if len(pairs) > len(searched):
        matrix, model = _fitted(pairs, matrix, model, freest)
    each = _votes(pairs, matrix, _NEAR)
    reference, moving = pairs[0]
    if reference.shape == moving.shape:
        still = _votes(pairs, np.eye(3), _NEAR)
        if _pooled(still).score >= STAYS * _pooled(each).score:
            matrix, model, each = np.eye(3), "identity", still
    held_out = _held_out(each, reference.shape, stiffer(freer(model, "similarity"), freest))
    return Together(matrix, model, _verdict(each, held_out), held_out.agreeing, held_out.off_px)


def _entered(pairs: Sequence[Pair], model: Model) -> tuple[Matrix, Model]:
    """Returns the best of no motion and the places of the search, fitted to coarse votes, then to fine ones."""
    level = pairs[0][0].level_of(VOTING_PX)
    coarse = min(len(pairs[0][0]) - 1, level + 2)
    found: list[_Stepped] = []
    for start in _starts(pairs, model):
        found.append(_stepped(pairs, start, model, coarse))
        if found[-1].share > _PLAIN:
            break
    fine = [_stepped(pairs, each.matrix, model, level) for each in sorted(found, key=_hits)[-_BEST:]]
    return max(fine, key=_hits).matrix, model


class _Stepped(NamedTuple):
    """A matrix that was moved to where blocks want it, and how many of them agreed on that."""

    hits: float
    share: float
    """Of all blocks."""
    matrix: Matrix


def _hits(stepped: _Stepped) -> float:
    return stepped.hits


def _starts(pairs: Sequence[Pair], model: Model) -> Iterator[Matrix]:
    reference, moving = (each.shape for each in pairs[0])
    yield enlarged(moving.width / reference.width, moving.height / reference.height)
    for place in likely_places(pairs, "edges", _PLACES, resized=model != "translation"):
        yield place.matrix


def _stepped(pairs: Sequence[Pair], matrix: Matrix, model: Model, level: int) -> _Stepped:
    wide = _pooled(_votes(pairs, matrix, _WIDE, level))
    fit = agreed(wide, model)
    if fit is None or not is_plausible(matrix @ fit.motion, pairs[0][0].shape):
        return _Stepped(0.0, 0.0, matrix)
    moved = matrix @ fit.motion
    return _Stepped(fit.hits * len(wide.at), fit.hits, moved / moved[2, 2])


def _fitted(pairs: Sequence[Pair], matrix: Matrix, model: Model, freest: Model) -> tuple[Matrix, Model]:
    """Fits a matrix to the votes of all pairs, until they ask for no more motion, or rate it worse."""
    found = _votes(pairs, matrix, _NEAR)
    shape = pairs[0][0].shape
    for number in range(_ROUNDS):
        fit = _agreed(_votes(pairs, matrix, _WIDE) if number == 0 else found, freest)
        if fit is None or corner_distance(fit.motion, np.eye(3), shape) < _STILL_PX * found[0].scale:
            break
        moved = matrix @ fit.motion
        if not is_plausible(moved, shape):
            break
        again = _votes(pairs, moved / moved[2, 2], _NEAR)
        if _pooled(again).score <= (1 - _SLACK) * _pooled(found).score:
            break
        matrix, model, found = moved / moved[2, 2], freer(model, fit.model), again
    return matrix, model


class _HeldOut(NamedTuple):
    """What is found when parts of the evidence are left out."""

    agreeing: int
    """Number of pairs whose blocks agree with what the other pairs say."""
    off_px: float
    """Standard error of the corners, in pixels of the reference."""


def _held_out(each: Sequence[BlockVotes], shape: Shape, model: Model) -> _HeldOut:
    """Fits a motion to all pairs but one, for each pair, and to halves of the blocks."""
    by_halves = agreed(_halves(each), model, stiffest=model)
    # On average, two halves lie twice as far apart as the whole is off.
    off_px = np.inf if by_halves is None else by_halves.spread / 2
    if len(each) == 1:
        return _HeldOut(int(each[0].surprise > _ABOVE_CHANCE), off_px)
    whole = agreed(_pooled(each), model, stiffest=model)
    agreeing, apart = 0, []
    for number, pair in enumerate(each):
        others = agreed(_pooled([*each[:number], *each[number + 1 :]]), model, stiffest=model)
        if others is None or whole is None:
            return _HeldOut(0, np.inf)
        apart.append(corner_distance(others.motion, whole.motion, shape))
        agreeing += _after(pair, others.motion).surprise > _ABOVE_CHANCE
    jackknife = np.sqrt((len(each) - 1) / len(each) * np.square(apart).sum())
    return _HeldOut(int(agreeing), float(max(off_px, jackknife)))


def _verdict(each: Sequence[BlockVotes], held_out: _HeldOut) -> Verdict:
    """Judges as for a single pair, with as many blocks as one pair has: pairs of one scene repeat
    information. What may be off by too much is not trusted either.
    """
    pooled = _pooled(each)
    count = max(1, len(pooled.at) // len(each))
    few = np.linspace(0, max(len(pooled.at) - 1, 0), min(len(pooled.at), 2 * count)).astype(int)
    found = judged(_some(pooled, few))
    exact = 1 - np.exp(-((_EXACT_PX * pooled.scale / max(held_out.off_px, 1e-6)) ** 2))
    confidence = found.confidence * float(exact) if held_out.agreeing >= min(2, len(each)) else 0.0
    return found._replace(confidence=confidence, residual_px=pooled.residual, score=pooled.score)


def _votes(pairs: Sequence[Pair], matrix: Matrix, reach: int, level: int | None = None) -> list[BlockVotes]:
    return [votes(*pair, matrix, "edges", reach, level) for pair in pairs]


def _agreed(found: Sequence[BlockVotes], freest: Model) -> Fit | None:
    """Fits a motion to the votes of all pairs, by the model that serves other pairs best."""
    chosen = agreed(_halves(found), freest)
    return None if chosen is None else agreed(_pooled(found), chosen.model, stiffest=chosen.model)


def _halves(found: Sequence[BlockVotes]) -> BlockVotes:
    """Joins one half of the blocks of one half of the pairs, and the other half of the others.

    An error that all blocks of a pair share, such as parallax, must neither favour a freer model nor make the result
    look sure. The same holds for an error at one place of all pairs, which may show one scene.
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


def _after(found: BlockVotes, motion: Matrix) -> BlockVotes:
    """Returns what is left of the displacements after a motion of the reference's pixels."""
    to_level = at_level(round(np.log2(found.scale)))
    moved = mapped(to_level @ motion @ np.linalg.inv(to_level), found.at) - found.at
    return found._replace(moved=found.moved - moved)


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
