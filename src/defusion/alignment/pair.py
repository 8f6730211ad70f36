"""Aligns one frame with another, starting from nothing and ending at fractions of a pixel.

    search  ->  coarse blocks choose a place  ->  votes of blocks
            ->  similarity, affine, homography, refined coarse to fine  ->  verdict

Coarse blocks also say which representation is worth these steps. Each step is only taken if its result is better than
the one before, by the votes of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple, get_args

import numpy as np

from defusion.alignment.geometry import (
    MODELS,
    Matrix,
    Model,
    corner_distance,
    enlarged,
    freer,
    is_plausible,
    scale_of,
    stiffer,
)
from defusion.alignment.refinement import refined
from defusion.alignment.representation import Kind, LuminancePyramid, at_level
from defusion.alignment.search import likely_places
from defusion.alignment.tones import in_one_tone
from defusion.alignment.verdict import Verdict, judged
from defusion.alignment.voting import VOTING_PX, BlockVotes, agreed, votes

#: If blocks ask for a motion of the corners below this, in pixels of the compared picture, there is no motion.
_STILL_PX = 0.1

#: If coarse blocks ask for more than this, in the same pixels, fine ones are not asked whether there is no motion.
_MAY_BE_STILL_PX = 3.0

#: Motions below this, in the same pixels, are left to refinement.
_LITTLE_PX = 0.5

#: A frame stays in place if its score there is at least this fraction of the best score. Frames that do line up were
#: seen at .995 and above, frames off by a third of a pixel at .95 and below; and resampling would cost more than it
#: gains.
STAYS = 0.985

#: A motion of the corners by less than so many residuals is not sure enough to be followed. Frames of one photograph,
#: each blurred where the other is sharp, asked for at most 1.4 residuals where none was right. Where .7 pixels were
#: right, 19 of 22 pairs asked for more than 1.5; where 1.4 were right, all did, one for only 2.3.
SURE = 1.5

#: Frames that differ by less than this everywhere are one picture, as in a copy of a file.
_SAME = 1.5 / 255

#: Refinement may lose this fraction of the score: blocks are exact to a tenth of a pixel, refinement to less.
_SLACK = 0.03

#: Across sensors a homography may lose more. Cameras side by side see every plane of a scene by a homography. The
#: votes of the few, coarse blocks are less exact at the last fraction of a pixel than refinement is.
_SLACK_ACROSS_SENSORS = 0.2

#: Below this confidence, frames of one sensor are also aligned at half their size, because frames far out of focus
#: look more alike there. Of 12 synthetic pairs, blurred by 1.5 or 2.3 % of the width, the more confident of the two
#: results was nearer to the truth in all.
_SURELY = 0.97

#: Below this confidence, exposures that are moved are also aligned in the same tones. Of 46 warps of pairs mostly far
#: apart in exposure, 31 were off by more than a pixel without that, 5 with it.
_SURELY_ACROSS_TONES = 0.999

#: Fraction of the coarse blocks that agree on the best of all motions where none is right. Of 60 blocks and more,
#: .07 to .18 did at 17 wrong places of six pairs; of 27 to 49, up to .26.
_BY_CHANCE = 0.13

#: If the coarse blocks that agree are more than that by so many standard deviations, the place is plainly about
#: right: no other is looked for. Right places of those pairs had 7 and more; wrong ones 2 at most.
_PLAIN = 6.0

#: The same for a second representation to be worth following.
_WORTH_IT = 2.0

#: Edges are only tried before detail if their lead is larger by this factor. For frames of one sensor it was up to
#: 1.2 times as large; for those of different ones mostly 3 times and more.
_LESS_EXACT = 1.25

#: What was found by detail is refined by edges if the agreement of their blocks is farther above chance by this
#: factor. It was up to 1.1 times as far above chance for exposures, and up to 1.2 times for focus pairs; for four
#: of 11 pairs of two sensors that were lined up by detail it was more.
_MORE_ALIKE = 1.2

#: Number of places from the search that are examined by coarse blocks, and of starts that are examined by fine ones.
_PLACES = 4
_BEST = 2

#: How far coarse blocks are searched, in pixels of their level.
_WIDE = 8

#: Number of blocks that have to agree with a matrix before a more general model is tried.
_LEAST_HITS: dict[Model, int] = {"affine": 8, "homography": 12}


class PairAlignment(NamedTuple):
    """How a frame lies in a reference."""

    matrix: Matrix
    """Maps pixels of the reference to pixels of the frame."""
    model: Model
    kind: Kind
    verdict: Verdict


class _Rung(NamedTuple):
    matrix: Matrix
    model: Model
    votes: BlockVotes

    @property
    def score(self) -> float:
        return self.votes.score


def lined_up(
    reference: LuminancePyramid,
    moving: LuminancePyramid,
    *,
    sensors: str = "auto",
    freest: Model = "homography",
    guess: Matrix | None = None,
) -> PairAlignment:
    """Finds how a frame lies in a reference.

    Args:
        reference: The frame that stays.
        moving: The other frame.
        sensors: "one" if both were taken by one sensor, "several" if not; "auto" tries both.
        freest: The most general model allowed.
        guess: A matrix that may be about right.
    """
    best: PairAlignment | None = None
    for ladder in _ladders(reference, moving, sensors, freest, guess):
        if best is not None and ladder.lead < _WORTH_IT:
            break
        found = ladder.climbed()
        best = found if best is None else max(best, found, key=_confidence)
        if best.verdict.good:
            break
    assert best is not None
    if sensors == "auto" and best.kind == "detail" and best.verdict.good and best.model != "identity":
        best = _by_edges(reference, moving, freest, best)
    stays = best.verdict.good and best.model == "identity"
    if sensors != "several" and not stays and best.verdict.confidence < _SURELY_ACROSS_TONES:
        best = _by_tones(reference, moving, freest, guess, best)
    if best.kind == "detail" and best.verdict.confidence < _SURELY:
        best = max(best, _by_halves(reference, moving, freest, guess), key=_confidence)
    return best


def _by_edges(
    reference: LuminancePyramid, moving: LuminancePyramid, freest: Model, by_detail: PairAlignment
) -> PairAlignment:
    """Refines by edges what was found by detail, if edges agree more: frames of two sensors share some detail, too,
    but it is less exact.
    """
    edges = votes(reference, moving, by_detail.matrix, "edges").surprise
    if edges < _MORE_ALIKE * np.expm1(by_detail.verdict.features["surprise"]):
        return by_detail
    ladder = _Ladder(reference, moving, "edges", freest)
    ladder.begin_at(by_detail)
    found = ladder.climbed()
    return found if found.verdict.good else by_detail


def _by_tones(
    reference: LuminancePyramid, moving: LuminancePyramid, freest: Model, guess: Matrix | None, found: PairAlignment
) -> PairAlignment:
    """Returns what was found, or what is found with both frames in the same tones, if that is more certain."""
    toned = in_one_tone(reference, moving)
    if toned is None:
        return found
    ladder = _Ladder(*toned, "detail", freest)
    ladder.look_around(guess)
    return max(found, ladder.climbed(), key=_confidence)


def _confidence(found: PairAlignment) -> float:
    return found.verdict.confidence


def _ladders(
    reference: LuminancePyramid, moving: LuminancePyramid, sensors: str, freest: Model, guess: Matrix | None
) -> Iterator[_Ladder]:
    """Returns ladders in the order in which they are to be climbed."""
    detail, edges = (_Ladder(reference, moving, kind, freest) for kind in get_args(Kind))
    if sensors != "auto":
        only = detail if sensors == "one" else edges
        only.look_around(guess)
        yield only
    elif detail.look_near(guess):
        yield detail
        edges.look_around(guess)
        yield edges
    else:
        edges.look_around(guess)
        detail.look_where(edges)
        if max(edges.lead, detail.lead) < _PLAIN:
            detail.look_around(guess)
        yield from sorted((detail, edges), key=_prospect, reverse=True)


def _prospect(ladder: _Ladder) -> float:
    """Returns the lead of a ladder, for comparison: edges are less exact, and have to lead by more."""
    return ladder.lead / (_LESS_EXACT if ladder.kind == "edges" else 1)


def _by_halves(
    reference: LuminancePyramid, moving: LuminancePyramid, freest: Model, guess: Matrix | None
) -> PairAlignment:
    """Finds how a frame lies in a reference, with both at half their size."""
    small = at_level(1)
    of_small = None if guess is None else small @ guess @ np.linalg.inv(small)
    ladder = _Ladder(reference.halved(), moving.halved(), "detail", freest, shrink=2)
    ladder.look_around(of_small)
    found = ladder.climbed()
    matrix = np.linalg.inv(small) @ found.matrix @ small
    return found._replace(matrix=matrix / matrix[2, 2])


class _Start(NamedTuple):
    """A place where coarse blocks want the frame."""

    value: float
    """How well the blocks agree on that, for comparison with other starts."""
    lead: float
    """By how many standard deviations more of them agree than would by chance."""
    matrix: Matrix
    model: Model


class _Ladder:
    """The steps between two frames, compared by one representation."""

    def __init__(
        self, reference: LuminancePyramid, moving: LuminancePyramid, kind: Kind, freest: Model, shrink: float = 1.0
    ) -> None:
        self._reference, self._moving, self.kind, self._freest = reference, moving, kind, freest
        self._shrink = shrink
        self._same_size = reference.shape == moving.shape
        self._resized = enlarged(
            moving.shape.width / reference.shape.width, moving.shape.height / reference.shape.height
        )
        self._level = reference.level_of(VOTING_PX)
        self._starts: list[_Start] = []

    def look_near(self, guess: Matrix | None) -> bool:
        """Looks at the guess and at no motion; says whether one of them is plainly about right."""
        if self._same_size and self._are_equal():
            return True
        if guess is not None and self._looked_at(guess, stiffer("similarity", self._freest)):
            return True
        return self._looked_at(self._resized, "identity" if self._same_size else "scale")

    def look_around(self, guess: Matrix | None) -> None:
        """Looks at the guess, at no motion, and where the search leads, until a place is plainly about right."""
        if not self._starts and self.look_near(guess):
            return
        pair = (self._reference, self._moving)
        for place in likely_places([pair], self.kind, _PLACES, resized=self._freest != "translation"):
            if self._looked_at(place.matrix, stiffer("similarity", self._freest)):
                return
        if self._starts:  # what is farther away than coarse blocks reach is come to in two steps
            self._looked_at(self._starts[0].matrix, self._starts[0].model)

    def look_where(self, other: _Ladder) -> None:
        """Looks at the place that is best by another representation."""
        for start in other._starts[:1]:
            self._looked_at(start.matrix, start.model)

    def begin_at(self, found: PairAlignment) -> None:
        """Begins where another representation has led."""
        self._starts = [_Start(np.inf, np.inf, found.matrix, found.model)]

    @property
    def lead(self) -> float:
        """By how many standard deviations more coarse blocks agree on the best start than would by chance."""
        return max((each.lead for each in self._starts), default=0.0)

    @cached_property
    def _unmoved(self) -> _Rung:
        return self._rung(self._resized, "identity" if self._same_size else "scale")

    def climbed(self) -> PairAlignment:
        """Takes steps as long as they improve the result."""
        top = self._unmoved
        if self._same_size and self._are_equal():
            found = self._judged(top)
            return found._replace(verdict=found.verdict._replace(residual_px=0.0, confidence=1.0))
        if not (self._same_size and self._is_settled()):
            top = self._refined(self._agreed(self._entered()))
        if self._same_size and self._unmoved.score >= STAYS * top.score:
            top = self._unmoved
        found = self._judged(top)
        if not self._same_size:
            return found
        unmoved = self._judged(self._unmoved)
        motion = self._shrink * corner_distance(top.matrix, self._resized, self._reference.shape)
        # Where half of a frame is clipped, a homography of the other half may move the corners by pixels.
        as_good = unmoved.verdict.good and unmoved.verdict.residual_px <= found.verdict.residual_px
        return unmoved if as_good or motion < SURE * found.verdict.residual_px else found

    def _judged(self, top: _Rung) -> PairAlignment:
        return PairAlignment(top.matrix, top.model, self.kind, judged(top.votes, self._shrink))

    def _rung(self, matrix: Matrix, model: Model) -> _Rung:
        return _Rung(matrix, model, votes(self._reference, self._moving, matrix, self.kind))

    def _better(self, old: _Rung, matrix: Matrix, model: Model, slack: float = 0.0) -> _Rung:
        if not is_plausible(matrix, self._reference.shape):
            return old
        new = self._rung(matrix, model)
        return new if new.score > old.score * (1 - slack) else old

    def _are_equal(self) -> bool:
        """Says whether both frames are the same picture, however little of it could vote."""
        here, there = (each.planes[self._level] for each in (self._reference, self._moving))
        return bool(np.abs(here - there).max() < _SAME)

    def _is_settled(self) -> bool:
        """Says whether blocks ask for almost no motion."""
        start = self._starts[0].matrix if self._starts else self._resized
        if corner_distance(start, self._resized, self._reference.shape) > _MAY_BE_STILL_PX * 2**self._level:
            return False
        found = self._unmoved.votes
        if found.agreement < 0.8 or len(found.at) < 20:
            return False
        fit = agreed(found, self._freest)
        return fit is not None and corner_distance(fit.motion, np.eye(3), self._reference.shape) < _STILL_PX

    def _entered(self) -> _Rung:
        """Returns the best start by fine blocks."""
        looked_at = self._starts[: 1 if self.lead > _PLAIN else _BEST]
        rungs = [self._rung(each.matrix, each.model) for each in looked_at]
        return max((self._unmoved, *rungs), key=lambda each: each.score)

    def _looked_at(self, matrix: Matrix, model: Model) -> bool:
        """Moves a frame to where coarse blocks want it; says whether that is plainly about right."""
        level = min(len(self._reference) - 1, self._level + 1)
        found = votes(self._reference, self._moving, matrix, self.kind, _WIDE, level)
        fit = agreed(found, stiffer("affine", self._freest), stiffest=stiffer("similarity", self._freest))
        if fit is None or not is_plausible(matrix @ fit.motion, self._reference.shape):
            return False
        value = fit.hits * len(found.at) - 0.3 * fit.spread / found.scale
        lead = float((fit.hits - _BY_CHANCE) / np.sqrt(_BY_CHANCE * (1 - _BY_CHANCE) / len(found.at)))
        self._starts.append(_Start(value, lead, matrix @ fit.motion, freer(fit.model, model)))
        self._starts.sort(key=lambda each: each.value, reverse=True)
        return lead > _PLAIN

    def _agreed(self, top: _Rung) -> _Rung:
        """Applies what blocks agree on, repeatedly, until they ask for no more."""
        for _ in range(3):
            fit = agreed(top.votes, self._freest)
            if fit is None or fit.model == "identity":
                break
            asked = corner_distance(fit.motion, np.eye(3), self._reference.shape)
            if fit.model == top.model and asked < _LITTLE_PX * 2**self._level:
                break
            before = top
            top = self._better(top, top.matrix @ fit.motion, freer(fit.model, top.model))
            if top is before:
                break
        return top

    def _refined(self, top: _Rung) -> _Rung:
        """Tries more and more general models, refined at the voting level, and refines the last one at
        finer levels.
        """
        reference, moving, level = self._reference, self._moving, self._level
        coarse = range(min(len(reference) - 1, level + 2), level - 1, -1)
        first = freer(top.model, stiffer("similarity", self._freest))
        for model in MODELS[MODELS.index(first) : MODELS.index(self._freest) + 1]:
            if top.votes.hits.sum() < _LEAST_HITS.get(model, 0):
                break
            levels = coarse if model == first else coarse[-1:]
            matrix = refined(reference, moving, top.matrix, self.kind, model, levels)
            slack = _SLACK if model == first else 0.0
            if model == "homography" and self.kind == "edges":
                slack = _SLACK_ACROSS_SENSORS
            top = self._better(top, matrix, model, slack)
        step = scale_of(top.matrix, reference.shape)  # levels finer than the frame's own pixels hold no information
        finest = int(np.clip(np.ceil(-np.log2(max(step, 1e-3)) - 0.3), 0, level))
        # the finest level once more, with the frame warped again
        fine = (*range(max(level - 1, finest), finest - 1, -1), finest)
        matrix = refined(reference, moving, top.matrix, self.kind, top.model, fine, 40000, to_the_end=True)
        return self._better(top, matrix, top.model, _SLACK)
