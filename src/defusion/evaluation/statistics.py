"""From scores to statements: means, their uncertainty, ranks, and which differences are real.

All of it is about one data set. Definitions:

- **mean**: over the scenes where a method has a finite score; how many are missing is counted beside it.
- **interval**: 95 % of the means of scenes drawn anew with replacement (percentile bootstrap, `RESAMPLES` draws,
  seeded). A draw takes the same scenes for all methods and metrics, so that intervals belong together.
- **rank**: 1 for the best mean of a metric, over the scenes where all methods have a finite score, so that failing at
  hard ones is no gain; equals share the mean of their places. A method that lacks more than half of the scenes shares
  the last places, and takes no scene from the others. Metrics where neither direction is better have no ranks.
- **mean rank**: over all metrics that have ranks.
- **difference from the best**: Wilcoxon's signed-rank test, two-sided, on the scenes that both methods have; scenes
  without a difference are left out, and who is ahead by the sum of ranks does not differ for the worse. Holm's
  correction over all methods that are compared with the best of a metric.
  Fewer than six scenes cannot tell two methods apart at 5 %; among more methods it takes more scenes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from defusion.errors import EvaluationError
from defusion.evaluation.metrics.metric import Better
from defusion.evaluation.results import Results

Floats = NDArray[np.float64]

#: Draws of scenes for the intervals: their ends then move by a few per cent of the width from seed to seed.
RESAMPLES = 2000

#: A method differs from the best where the corrected p is below.
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Measured:
    """The scores of one data set, as one block."""

    data_set: str
    scenes: tuple[str, ...]
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    """Those that some method has a score or a reason for, in the order of the results."""
    values: Floats
    """[scenes, methods, metrics]; NaN where there is no finite score."""


@dataclass(frozen=True, eq=False)
class Summary:
    """What the scores of a data set come to; arrays are [methods, metrics] unless they say otherwise."""

    mean: Floats
    low: Floats
    """Lower end of the 95 % interval; NaN where fewer than two scenes have a score."""
    high: Floats
    missing: NDArray[np.intp]
    """Scenes without a score."""
    rank: Floats
    """NaN in the columns of metrics that have no ranks."""
    mean_rank: Floats
    """[methods]; NaN where no metric has ranks."""
    p_of_best: Floats
    """Corrected p of the difference from the best method of the metric; NaN for the best and without ranks."""


def measured(results: Results, data_set: str) -> Measured:
    """Lays the scores of a data set out as one block.

    Args:
        results: All outcomes.
        data_set: Name of the set.

    Raises:
        EvaluationError: No scenes of that set, or a method that has two outcomes for one scene.
    """
    outcomes = [outcome for outcome in results.outcomes if outcome.scene.data_set == data_set]
    if not outcomes:
        raise EvaluationError(f"the results hold no scenes of the data set {data_set}; evaluate it first")
    scenes = tuple(dict.fromkeys(outcome.scene.name for outcome in outcomes))
    methods = tuple(dict.fromkeys(outcome.method for outcome in outcomes))
    present = set().union(*(outcome.scores for outcome in outcomes))
    metrics = tuple(name for name in results.metrics if name in present)
    values = np.full((len(scenes), len(methods), len(metrics)), np.nan)
    seen: set[tuple[str, str]] = set()
    for outcome in outcomes:
        key = (outcome.scene.name, outcome.method)
        if key in seen:
            raise EvaluationError(
                f"{data_set}: {outcome.method} has two outcomes for the scene {outcome.scene.name}, expected one; "
                "give methods and scenes names of their own"
            )
        seen.add(key)
        for column, name in enumerate(metrics):
            score = outcome.scores.get(name)
            if score is not None and math.isfinite(score.value):
                values[scenes.index(key[0]), methods.index(key[1]), column] = score.value
    return Measured(data_set, scenes, methods, metrics, values)


def summarise(block: Measured, better: Sequence[Better], seed: int = 0) -> Summary:
    """Reduces the scores of a data set to means, intervals, ranks and tests.

    Args:
        block: The scores.
        better: The direction of each metric.
        seed: Of the draws of scenes.
    """
    mean = means(block.values)
    low, high = intervals(block.values, seed)
    rank = ranks(shared_means(block.values), better)
    p = np.full(mean.shape, np.nan)
    for column, direction in enumerate(better):
        if direction != "neither" and np.isfinite(mean[:, column]).any():
            best = int(np.argmin(rank[:, column]))
            cost = block.values[..., column] if direction == "lower" else -block.values[..., column]
            p[:, column] = differences_from(best, cost)
    missing = np.isnan(block.values).sum(axis=0)
    return Summary(mean, low, high, missing, rank, mean_ranks(rank), p)


def means(values: Floats) -> Floats:
    """Means over the first axis without NaN; NaN where nothing is left."""
    finite = np.isfinite(values)
    total: Floats = np.where(finite, values, 0.0).sum(axis=0)
    return _divided(total, finite.sum(axis=0))


def shared_means(values: Floats) -> Floats:
    """Means that methods are ranked by: over the scenes where all have a finite score.

    Args:
        values: [scenes, methods, metrics], NaN where there is no score.

    Returns:
        [methods, metrics]; NaN for methods that lack more than half of the scenes that some method has. Where no
        scene is left, means are over each method's own.
    """
    finite = np.isfinite(values)
    enough = 2 * finite.sum(0) >= finite.any(1).sum(0)
    shared = (finite | ~enough).all(1, keepdims=True) & enough
    shared = np.where(shared.any((0, 1)), shared, enough)
    return means(np.where(shared, values, np.nan))


def intervals(values: Floats, seed: int, draws: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Ends of the 95 % bootstrap intervals of the means over scenes.

    Args:
        values: [scenes, ...], NaN where there is no score.
        seed: Of the draws.
        draws: How many times all scenes are drawn.

    Returns:
        Lower and upper ends [...]; NaN where fewer than two scenes have a score.
    """
    scenes, shape = len(values), values.shape[1:]
    flat = values.reshape(scenes, -1)
    finite = np.isfinite(flat)
    times = np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), size=draws).astype(float)
    drawn = _divided(times @ np.where(finite, flat, 0.0), times @ finite)
    low, high = np.full((2, flat.shape[1]), np.nan)
    enough = finite.sum(axis=0) > 1
    if enough.any():
        low[enough], high[enough] = np.nanpercentile(drawn[:, enough], (2.5, 97.5), axis=0)
    return low.reshape(shape), high.reshape(shape)


def ranks(mean: Floats, better: Sequence[Better]) -> Floats:
    """Ranks methods by their means.

    Args:
        mean: [methods, metrics].
        better: The direction of each metric.

    Returns:
        [methods, metrics], 1 for the best; a column is NaN where neither direction is better or nothing has a mean.
    """
    rank = np.full(mean.shape, np.nan)
    for column, direction in enumerate(better):
        cost = mean[:, column] if direction == "lower" else -mean[:, column]
        if direction != "neither" and np.isfinite(cost).any():
            rank[:, column] = rankdata(np.where(np.isfinite(cost), cost, np.inf), method="average")
    return rank


def mean_ranks(rank: Floats) -> Floats:
    """Mean over the columns that have ranks, [methods]; NaN where none has."""
    return means(rank.T)


def differences_from(best: int, values: Floats) -> Floats:
    """Tests whether methods are worse than the best one.

    Args:
        best: Index of the best method.
        values: [scenes, methods], lower ones better; NaN where there is no score.

    Returns:
        Holm-corrected p [methods]; NaN for the best itself. Methods without a scene that differs have p = 1.
    """
    others = [method for method in range(values.shape[1]) if method != best]
    p = np.full(values.shape[1], np.nan)
    p[others] = holm(np.array([_signed_rank(values[:, method] - values[:, best]) for method in others]))
    return p


def holm(p: Floats) -> Floats:
    """Corrects p values of one family of tests by Holm's step-down rule."""
    order = np.argsort(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _signed_rank(difference: Floats) -> float:
    told = difference[np.isfinite(difference) & (difference != 0)]
    ahead = (rankdata(np.abs(told)) * np.sign(told)).sum() < 0
    return float(wilcoxon(told).pvalue) if len(told) and not ahead else 1.0


def _divided(total: Floats, count: NDArray[np.generic]) -> Floats:
    quotient: Floats = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=np.asarray(count) > 0)
    return quotient
