"""How far a result can be trusted: what blocks say of it, weighed as right and wrong results taught."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from defusion.alignment.voting import Fit, Votes

#: A result is trusted from here on.
_GOOD = 0.95

#: Logistic regression on the steering half of the bench (`benchmarks/align.py --calibrate`): how many blocks voted,
#: how far their agreement is from chance, and how far apart the fits of the two halves are.
_WEIGHTS = {"count": 2.4, "surprise": 2.8, "spread": -0.25}
_CONSTANT = -15.93


class Verdict(NamedTuple):
    """What blocks say of a result, without regard to how it was found."""

    residual_px: float
    """By how much blocks are off that vote for it, the median in pixels of the reference; infinite if none does."""
    confidence: float
    """How likely it is right, in [0, 1]."""
    coverage: float
    """The part of the reference where both frames can be told."""
    score: float
    """What blocks find the place worth, to be compared with other places of the same frames."""
    features: dict[str, float]
    """What the confidence is made of."""

    @property
    def good(self) -> bool:
        """It is trusted."""
        return self.confidence >= _GOOD

    @property
    def weight(self) -> float:
        """What a link counts in a stack: the surer and the more exact, the more."""
        return self.confidence / max(self.residual_px, 0.1)

    @classmethod
    def none(cls) -> Verdict:
        """Of a frame on which no block can vote."""
        return cls(np.inf, 0.0, 0.0, 0.0, {})


def judged(found: Votes, fit: Fit | None) -> Verdict:
    """Judges a matrix.

    Args:
        found: What blocks said under it.
        fit: What they would rather have, by the model that the matrix follows.
    """
    spread = fit.spread / found.scale if fit is not None else 50.0
    features = {
        "count": float(np.log1p(len(found.at))),
        "surprise": float(np.log1p(max(found.surprise, 0))),
        "spread": float(np.log(np.clip(spread, 0.02, 50))),
    }
    odds = _CONSTANT + sum(weight * features[name] for name, weight in _WEIGHTS.items())
    return Verdict(found.residual, float(1 / (1 + np.exp(-odds))), found.covered, found.score, features)
