"""How far an alignment can be trusted, judged from the votes of blocks by weights that were learned from right and
wrong alignments.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from defusion.alignment.voting import BlockVotes

#: An alignment is trusted from this confidence on. On the tuning half of the benchmark, that refused 21 of 121 right
#: alignments of two sensors, where .95 refused 31; the most confident of 45 wrong ones, half of which showed two
#: scenes, had .91.
_GOOD = 0.92

#: Logistic regression on the tuning half of the benchmark (`benchmarks/align.py --calibrate`): how far the agreement
#: of blocks is from chance, and how far off the corners may be, as far as blocks tell.
_WEIGHTS = {"surprise": 2.46, "uncertainty": -1.39}
_CONSTANT = -4.25


class Verdict(NamedTuple):
    """A judgement of an alignment from the votes of blocks, however it was found."""

    residual_px: float
    """Median error of the blocks that agree, in pixels of the reference; infinite if none does."""
    confidence: float
    """Probability that it is right, in [0, 1]."""
    coverage: float
    """Fraction of the reference in which both frames are known."""
    score: float
    """Score for comparison with other places of the same frames."""
    features: dict[str, float]
    """What the confidence is computed from."""

    @property
    def good(self) -> bool:
        """Whether it is trusted."""
        return self.confidence >= _GOOD

    @property
    def weight(self) -> float:
        """Weight of a link in a stack: larger if it is more certain and more exact."""
        return self.confidence / max(self.residual_px, 0.1)

    @classmethod
    def none(cls) -> Verdict:
        """The verdict for a frame in which no block can vote."""
        return cls(np.inf, 0.0, 0.0, 0.0, {})


def judged(found: BlockVotes, shrink: float = 1.0) -> Verdict:
    """Judges a matrix.

    Args:
        found: The votes of blocks for it.
        shrink: How many times smaller the frames are than those that are to be aligned.
    """
    features = {
        "surprise": float(np.log1p(max(found.surprise, 0))),
        "uncertainty": float(np.log(np.clip(shrink * found.uncertainty, 0.02, 50))),
    }
    odds = _CONSTANT + sum(weight * features[name] for name, weight in _WEIGHTS.items())
    confidence = float(1 / (1 + np.exp(-odds)))
    return Verdict(shrink * found.residual, confidence, found.covered, found.score, features)
