"""Aligns one frame with another, starting from nothing and ending at fractions of a pixel.

    search  ->  votes of blocks  ->  similarity, affine, homography, refined coarse to fine  ->  verdict

Each step is only taken if its result is better than the one before, by the votes of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from defusion.alignment.geometry import MODELS, Matrix, Model, corner_distance, enlarged, is_plausible, scale_of
from defusion.alignment.refinement import refined
from defusion.alignment.representation import Kind, LuminancePyramid, at_level
from defusion.alignment.search import likely_places
from defusion.alignment.verdict import Verdict, judged
from defusion.alignment.voting import VOTING_PX, BlockVotes, agreed, votes

#: If blocks ask for a motion of the corners below this, in pixels of the compared picture, there is no motion.
_STILL_PX = 0.1

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

#: Number of places from the search that are examined.
_PLACES = 4

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
    kinds: dict[str, tuple[Kind, ...]] = {"one": ("detail",), "several": ("edges",), "auto": ("detail", "edges")}
    best: PairAlignment | None = None
    for kind in kinds[sensors]:
        found = _Ladder(reference, moving, kind, freest).climbed(guess)
        if kind == "detail" and found.verdict.confidence < _SURELY:
            found = max(found, _by_halves(reference, moving, freest, guess), key=_confidence)
        best = found if best is None else max(best, found, key=_confidence)
        if best.verdict.good:
            break
    assert best is not None
    return best


def _confidence(found: PairAlignment) -> float:
    return found.verdict.confidence


def _by_halves(
    reference: LuminancePyramid, moving: LuminancePyramid, freest: Model, guess: Matrix | None
) -> PairAlignment:
    """Finds how a frame lies in a reference, with both at half their size. The model is a similarity at most, because
    little detail is left.
    """
    small = at_level(1)
    of_small = None if guess is None else small @ guess @ np.linalg.inv(small)
    freest = min(freest, "similarity", key=MODELS.index)
    found = _Ladder(reference.halved(), moving.halved(), "detail", freest).climbed(of_small)
    matrix = np.linalg.inv(small) @ found.matrix @ small
    verdict = found.verdict._replace(residual_px=2 * found.verdict.residual_px)
    return found._replace(matrix=matrix / matrix[2, 2], verdict=verdict)


class _Ladder:
    """The steps between two frames, compared by one representation."""

    def __init__(self, reference: LuminancePyramid, moving: LuminancePyramid, kind: Kind, freest: Model) -> None:
        self._reference, self._moving, self._kind, self._freest = reference, moving, kind, freest
        self._same_size = reference.shape == moving.shape
        self._resized = enlarged(
            moving.shape.width / reference.shape.width, moving.shape.height / reference.shape.height
        )
        self._unmoved = self._rung(self._resized, "identity" if self._same_size else "scale")
        self._level = reference.level_of(VOTING_PX)

    def climbed(self, guess: Matrix | None) -> PairAlignment:
        """Takes steps as long as they improve the result."""
        top = self._unmoved
        if self._same_size and self._are_equal():
            found = self._judged(top)
            return found._replace(verdict=found.verdict._replace(residual_px=0.0, confidence=1.0))
        if not (self._same_size and self._is_settled()):
            top = self._refined(self._agreed(self._entered(guess)))
        if self._same_size and self._unmoved.score >= STAYS * top.score:
            top = self._unmoved
        found = self._judged(top)
        motion = corner_distance(top.matrix, self._resized, self._reference.shape)
        if self._same_size and motion < SURE * found.verdict.residual_px:
            return self._judged(self._unmoved)
        return found

    def _judged(self, top: _Rung) -> PairAlignment:
        judge = self._capped(_freer(top.model, "similarity"))
        fit = agreed(top.votes, judge, stiffest=judge)
        return PairAlignment(top.matrix, top.model, self._kind, judged(top.votes, fit))

    def _capped(self, model: Model) -> Model:
        return min(model, self._freest, key=MODELS.index)

    def _rung(self, matrix: Matrix, model: Model) -> _Rung:
        return _Rung(matrix, model, votes(self._reference, self._moving, matrix, self._kind))

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
        found = self._unmoved.votes
        if found.agreement < 0.8 or len(found.at) < 20:
            return False
        fit = agreed(found, self._freest)
        return fit is not None and corner_distance(fit.motion, np.eye(3), self._reference.shape) < _STILL_PX

    def _entered(self, guess: Matrix | None) -> _Rung:
        """Returns the start: the best of the guess, no motion, and the places that the search finds."""
        best, best_value = self._unmoved, -1.0
        start = min(len(self._reference) - 1, self._level + 2)
        coarse = range(start, min(start, self._level + 1) - 1, -1)
        for matrix, model in self._starts(guess):
            if model != "identity":
                motion = self._capped("similarity")
                matrix = refined(self._reference, self._moving, matrix, self._kind, motion, coarse)
            if not is_plausible(matrix, self._reference.shape):
                continue
            wide = votes(self._reference, self._moving, matrix, self._kind, reach=12)
            fit = agreed(wide, self._capped("affine"))
            if fit is None:
                continue
            value = fit.hits * len(wide.at) - 0.3 * fit.spread / wide.scale
            if value > best_value:
                best, best_value = self._rung(matrix @ fit.motion, _freer(fit.model, model)), value
            if fit.hits > 0.75 and len(wide.at) > 20:
                break
        return best

    def _starts(self, guess: Matrix | None) -> Iterator[tuple[Matrix, Model]]:
        if guess is not None:
            yield guess, self._capped("similarity")
        yield self._unmoved.matrix, self._unmoved.model
        pair = (self._reference, self._moving)
        for place in likely_places([pair], self._kind, resized=self._freest != "translation")[:_PLACES]:
            yield place.matrix, self._capped("similarity")

    def _agreed(self, top: _Rung) -> _Rung:
        """Applies what blocks agree on, repeatedly, until they ask for no more."""
        for _ in range(3):
            fit = agreed(top.votes, self._freest)
            if fit is None or fit.model == "identity":
                break
            before = top
            top = self._better(top, top.matrix @ fit.motion, _freer(fit.model, top.model))
            if top is before:
                break
        return top

    def _refined(self, top: _Rung) -> _Rung:
        """Tries more and more general models, refined at the voting level, and refines the last one at
        finer levels.
        """
        reference, moving, level = self._reference, self._moving, self._level
        coarse = range(min(len(reference) - 1, level + 2), level - 1, -1)
        first = _freer(top.model, self._capped("similarity"))
        for model in MODELS[MODELS.index(first) : MODELS.index(self._freest) + 1]:
            if top.votes.hits.sum() < _LEAST_HITS.get(model, 0):
                break
            matrix = refined(reference, moving, top.matrix, self._kind, model, coarse)
            slack = _SLACK if model == first else 0.0
            if model == "homography" and self._kind == "edges":
                slack = _SLACK_ACROSS_SENSORS
            top = self._better(top, matrix, model, slack)
        step = scale_of(top.matrix, reference.shape)  # levels finer than the frame's own pixels hold no information
        finest = int(np.clip(np.ceil(-np.log2(max(step, 1e-3)) - 0.3), 0, level))
        # the finest level once more, with the frame warped again
        fine = (*range(max(level - 1, finest), finest - 1, -1), finest)
        matrix = refined(reference, moving, top.matrix, self._kind, top.model, fine, pixels=40000)
        return self._better(top, matrix, top.model, _SLACK)


def _freer(a: Model, b: Model) -> Model:
    return max(a, b, key=MODELS.index)
