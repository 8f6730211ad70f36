"""Means, intervals, ranks and tests: against values worked out by hand, and against scipy on its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from defusion.errors import EvaluationError
from defusion.evaluation import statistics
from defusion.evaluation.metrics import Score
from defusion.evaluation.results import EvaluationScene, Outcome, Results

NAN = np.nan


def outcome(method: str, scene: str, *, data_set: str = "set", **values: float) -> Outcome:
    scores = {name: Score(value, "flat" if np.isnan(value) else None) for name, value in values.items()}
    where = EvaluationScene(data_set, scene, (Path("a.png"), Path("b.png")))
    return Outcome(method, where, Path("f.png"), scores)


def test_scores_become_one_block_without_what_is_not_finite():
    outcomes = (
        outcome("ours", "one", ce=1.0, ssim=0.5),
        outcome("theirs", "one", ce=NAN, ssim=np.inf),
        outcome("ours", "two", ce=2.0),
        outcome("elsewhere", "one", data_set="other", ce=9.0),
    )
    block = statistics.measured(Results("toolkit", ("ssim", "ce", "psnr_truth"), outcomes), "set")
    assert block.scenes == ("one", "two") and block.methods == ("ours", "theirs") and block.metrics == ("ssim", "ce")
    np.testing.assert_array_equal(block.values[:, 0], [[0.5, 1.0], [NAN, 2.0]])
    assert np.isnan(block.values[:, 1]).all()


def test_the_means_of_a_summary_leave_out_what_is_not_finite():
    outcomes = tuple(outcome("ours", f"s{n}", qy=value) for n, value in enumerate((1.0, np.inf, -np.inf, NAN, 2.0)))
    told = Results("toolkit", ("qy",), outcomes).summary()["sets"]["set"]["ours"]
    assert told["metrics"] == {"qy": {"mean": 1.5, "scenes": 2}}


def test_a_second_outcome_for_a_scene_is_refused():
    results = Results("toolkit", ("ce",), (outcome("ours", "one", ce=1.0), outcome("ours", "one", ce=2.0)))
    with pytest.raises(EvaluationError, match="ours has two outcomes for the scene one"):
        statistics.measured(results, "set")
    with pytest.raises(EvaluationError, match="no scenes of the data set elsewhere"):
        statistics.measured(results, "elsewhere")


def test_means_leave_out_what_is_missing():
    values = np.array([[1.0, NAN, 4.0], [3.0, NAN, NAN]])
    np.testing.assert_array_equal(statistics.means(values), [2.0, NAN, 4.0])


def test_ranks_share_places_and_failing_is_no_gain():
    mean = np.array([[1.0, 5.0, 1.0, NAN], [1.0, 7.0, 2.0, NAN], [3.0, NAN, 3.0, NAN], [2.0, NAN, 4.0, NAN]])
    rank = statistics.ranks(mean, ["lower", "higher", "neither", "higher"])
    np.testing.assert_array_equal(rank[:, 0], [1.5, 1.5, 4, 3])
    np.testing.assert_array_equal(rank[:, 1], [2, 1, 3.5, 3.5])
    assert np.isnan(rank[:, 2:]).all()
    np.testing.assert_array_equal(statistics.mean_ranks(rank), [1.75, 1.25, 3.75, 3.25])


def test_intervals_are_near_those_of_theory_and_scipy():
    values = np.random.default_rng(5).normal(10, 2, 80)
    low, high = statistics.intervals(values[:, None], seed=1, draws=4000)
    half = 1.96 * values.std() / np.sqrt(80)
    np.testing.assert_allclose([low[0], high[0]], [values.mean() - half, values.mean() + half], atol=0.06)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose([low[0], high[0]], theirs, atol=0.06)


def test_intervals_draw_the_same_scenes_for_all_and_repeat_by_seed():
    values = np.random.default_rng(6).normal(size=20)
    both = np.stack([values, values + 100], axis=1)
    low, high = statistics.intervals(both, seed=3)
    np.testing.assert_allclose(low[1] - low[0], 100)
    np.testing.assert_allclose(high[1] - high[0], 100)
    np.testing.assert_array_equal(statistics.intervals(both, seed=3)[0], low)
    assert (statistics.intervals(both, seed=4)[0] != low).all()


def test_intervals_need_two_scenes_and_bear_missing_ones():
    values = np.array([[1.0, 5.0, NAN], [2.0, NAN, NAN], [3.0, NAN, NAN]])
    low, high = statistics.intervals(values, seed=0)
    assert 1 <= low[0] < 2 < high[0] <= 3
    assert np.isnan([low[1:], high[1:]]).all()


def test_holm_by_hand():
    np.testing.assert_allclose(statistics.holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(statistics.holm(np.array([0.5, 0.6])), [1.0, 1.0])
    assert statistics.holm(np.array([])).size == 0


def test_differences_are_scipys_signed_rank_tests_of_shared_scenes_that_differ():
    rng = np.random.default_rng(7)
    best = rng.normal(size=30)
    near, far, same = best + 0.3 + rng.normal(0, 1, 30), best + 1 + rng.random(30), best.copy()
    near[:3] = NAN
    near[3] = best[3]
    p = statistics.differences_from(1, np.stack([near, best, far, same], axis=1))
    raw = np.array([stats.wilcoxon((near - best)[4:]).pvalue, stats.wilcoxon(far - best).pvalue, 1.0])
    np.testing.assert_allclose(p[[0, 2, 3]], statistics.holm(raw))
    assert np.isnan(p[1]) and p[2] < 1e-6 and p[3] == 1


def test_who_is_ahead_on_most_scenes_is_not_worse():
    best = np.zeros(30)
    ahead = np.full(30, -1.0)
    ahead[0] = 100  # the mean is worse
    assert statistics.differences_from(0, np.stack([best, ahead], axis=1))[1] == 1
    assert statistics.differences_from(0, np.stack([best, -ahead], axis=1))[1] < statistics.LEVEL


def test_failing_at_hard_scenes_is_no_gain():
    scenes = np.arange(30.0)
    fails = scenes + 5
    fails[17:] = NAN
    hardly = np.full(30, NAN)
    hardly[0] = -9
    mean = statistics.shared_means(np.stack([scenes, fails, hardly], axis=1)[..., None])
    np.testing.assert_array_equal(mean[:, 0], [8, 13, NAN])
    np.testing.assert_array_equal(statistics.ranks(mean, ["lower"])[:, 0], [1, 2, 3])
    apart = np.array([[[1.0], [NAN]], [[3.0], [NAN]], [[NAN], [5.0]], [[NAN], [7.0]]])
    np.testing.assert_array_equal(statistics.shared_means(apart)[:, 0], [2, 6])


def test_five_scenes_cannot_tell_methods_apart_and_six_can():
    values = np.stack([np.arange(6.0), np.arange(6.0) + 10], axis=1)
    assert statistics.differences_from(0, values[:5])[1] > statistics.LEVEL
    assert statistics.differences_from(0, values)[1] < statistics.LEVEL


def test_summary_of_a_set():
    values = np.array([[[1.0, 3.0, 1.0], [2.0, 2.0, NAN]]] * 8) + np.arange(8.0)[:, None, None]
    values[0, 1, 0] = NAN
    block = statistics.ScoreTable("set", tuple("abcdefgh"), ("ours", "theirs"), ("ce", "ssim", "odd"), values)
    summary = statistics.summarise(block, ["lower", "higher", "neither"])
    np.testing.assert_allclose(summary.mean, [[4.5, 6.5, 4.5], [6.0, 5.5, NAN]])
    np.testing.assert_array_equal(summary.missing, [[0, 0, 0], [1, 0, 8]])
    np.testing.assert_array_equal(summary.mean_rank, [1.0, 2.0])
    assert np.isnan(summary.p_of_best[0]).all() and np.isnan(summary.p_of_best[1, 2])
    assert (summary.p_of_best[1, :2] < statistics.LEVEL).all()
    assert (summary.low[:, 0] < summary.mean[:, 0]).all() and (summary.high[:, 0] > summary.mean[:, 0]).all()
