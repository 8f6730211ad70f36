"""Runs: what is measured, what is kept for the next run, and what a failure leaves."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from defusion.errors import EvaluationError
from defusion.evaluation import measure as measure_module
from defusion.evaluation import run as run_module
from defusion.evaluation.baselines import BASELINES, Pixels
from defusion.evaluation.datasets import find_sets
from defusion.evaluation.methods import parse_methods
from defusion.evaluation.metrics import METRICS, Metric, Score, score
from defusion.evaluation.metrics.metric import Grey
from defusion.evaluation.report.tables import set_tables
from defusion.evaluation.results import Outcome, Results
from defusion.evaluation.run import EvaluationProgress, evaluate
from defusion.imaging import read

from .conftest import save, texture


def brightness(a: Grey, b: Grey, fused: Grey) -> float:
    return float(fused.mean())


def distance(a: Grey, b: Grey, fused: Grey) -> float:
    return float(np.abs(a.astype(float) - fused).mean())


@pytest.fixture(autouse=True)
def metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds two metrics of which every value is known, one against the truth."""
    for name, measure, against in (("level", brightness, "sources"), ("off", distance, "truth")):
        metric = Metric(name, name, "neither", (0, 255), "each channel", "these tests", measure, against)  # type: ignore[arg-type]
        monkeypatch.setitem(METRICS, name, metric)


class Done(NamedTuple):
    """What a run did, beside what it found."""

    made: list[str]
    scored: list[str]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """Notes what is made and measured."""
    done = Done([], [])

    def noting(name: str, baseline: Callable[[Pixels, Pixels], Pixels]) -> Callable[[Pixels, Pixels], Pixels]:
        def noted(a: Pixels, b: Pixels) -> Pixels:
            done.made.append(name)
            return baseline(a, b)

        return noted

    def scoring(*pictures: Grey, names: tuple[str, ...]) -> dict[str, Score]:
        done.scored.append(",".join(names))
        return score(*pictures, names=names)

    for name in ("average", "maximum"):
        monkeypatch.setitem(BASELINES, name, noting(name, BASELINES[name]))
    monkeypatch.setattr(measure_module, "score", scoring)
    return done


def run(
    bench: Path,
    out: Path,
    *methods: str,
    metrics: tuple[str, ...] = ("level", "off"),
    protocol: str = "toolkit",
    jobs: int = 1,
    report: Callable[[EvaluationProgress], None] = lambda progress: None,
) -> Results:
    chosen = parse_methods(methods or ["average,maximum"])
    return evaluate(
        find_sets([str(bench)]), chosen, out, metrics=metrics, protocol=protocol, jobs=jobs, report=report
    )


def outcome(results: Results, method: str, scene: str) -> Outcome:
    (found,) = [each for each in results.outcomes if (each.method, each.scene.name) == (method, scene)]
    return found


def test_every_method_is_measured_on_every_scene(bench: Path, tmp_path: Path) -> None:
    results = run(bench, tmp_path / "out")
    cells = [(each.scene.data_set, each.scene.name, each.method) for each in results.outcomes]
    scenes = [("exposure", f"s{k}") for k in range(3)] + [("night", f"n{k}") for k in range(2)]
    assert cells == [(*scene, method) for scene in scenes for method in ("average", "maximum")]
    assert results.metrics == ("level", "off")
    assert not results.failures
    over = read(bench / "exposure" / "s1" / "over.png").pixels
    assert outcome(results, "maximum", "s1").scores["level"].value == pytest.approx(255 * over.mean(), abs=0.01)
    found = outcome(results, "average", "s1")
    assert found.picture == tmp_path / "out" / "pictures" / "average" / "exposure" / "s1.png"
    assert found.seconds is not None and found.seconds > 0


def test_the_truth_is_measured_where_there_is_one(bench: Path, tmp_path: Path) -> None:
    results = run(bench, tmp_path / "out")
    assert set(outcome(results, "maximum", "n0").scores) == {"level", "off"}
    assert set(outcome(results, "maximum", "n1").scores) == {"level"}
    fused = read(tmp_path / "out" / "pictures" / "maximum" / "night" / "n0.png").pixels
    expected = 255 * np.abs(fused - read(bench / "night" / "n0" / "gt.png").pixels).mean()
    assert outcome(results, "maximum", "n0").scores["off"].value == pytest.approx(expected, abs=0.01)


def test_a_truth_of_another_size_costs_only_what_is_measured_by_it(bench: Path, tmp_path: Path) -> None:
    save(bench / "night" / "n0" / "gt.png", texture(78)[:40])
    sets = find_sets([str(bench)])
    results = evaluate(sets, parse_methods(["average"]), tmp_path / "out", metrics=["level", "off"], jobs=1)
    scores = next(each for each in results.outcomes if each.scene.name == "n0").scores
    assert np.isfinite(scores["level"].value)
    assert scores["off"].reason == "the truth is 64x40, but its sources are 64x48"
    assert not results.failures


def test_grey_pictures_are_measured_alike_whatever_their_files_have(bench: Path, tmp_path: Path) -> None:
    for scene in range(3):
        plane = texture(scene + 20)[..., 0]
        save(tmp_path / "one" / f"s{scene}.png", plane)
        save(tmp_path / "three" / f"s{scene}.png", np.dstack([plane] * 3))
    given = parse_methods([f"one={tmp_path / 'one'}", f"three={tmp_path / 'three'}"])
    results = evaluate(find_sets([str(bench / "exposure")]), given, tmp_path / "out", metrics=["ce", "ssim"], jobs=1)
    scores = {(each.method, each.scene.name): each.scores for each in results.outcomes}
    assert all(scores["one", f"s{scene}"] == scores["three", f"s{scene}"] for scene in range(3))


def test_a_second_run_does_nothing_and_finds_the_same(bench: Path, tmp_path: Path, done: Done) -> None:
    first = run(bench, tmp_path / "out")
    assert (len(done.made), len(done.scored)) == (10, 10)
    assert run(bench, tmp_path / "out") == first
    assert (len(done.made), len(done.scored)) == (10, 10)


def test_only_what_has_changed_is_done_again(bench: Path, tmp_path: Path, done: Done) -> None:
    run(bench, tmp_path / "out")
    save(bench / "exposure" / "s2" / "over.png", texture(77))  # a source
    (tmp_path / "out" / "pictures" / "average" / "night" / "n0.png").write_bytes(b"damaged")
    save(bench / "night" / "n0" / "gt.png", texture(78))  # the truth: no new pictures
    done.made.clear(), done.scored.clear()
    results = run(bench, tmp_path / "out")
    assert sorted(done.made) == ["average", "average", "maximum"]
    assert len(done.scored) == 4
    assert not results.failures


def test_another_metric_is_measured_alone(bench: Path, tmp_path: Path, done: Done) -> None:
    run(bench, tmp_path / "out", metrics=("level",))
    done.made.clear(), done.scored.clear()
    results = run(bench, tmp_path / "out", metrics=("level", "en"))
    assert (done.made, done.scored) == ([], ["en"] * 10)
    assert results.metrics == ("level", "en")


def test_values_that_are_not_defined_are_told_and_tried_again(bench: Path, tmp_path: Path, done: Done) -> None:
    flat = np.full((48, 64), 9, np.uint8)
    save(bench / "night" / "n1" / "ir.png", flat), save(bench / "night" / "n1" / "vis.png", flat)
    for scored in (5, 6):
        results = run(bench, tmp_path / "out", "average", metrics=("cc",))
        value, why = outcome(results, "average", "n1").scores["cc"]
        assert np.isnan(value) and why
        assert len(done.scored) == scored
    assert results.summary()["sets"]["night"]["average"]["metrics"]["cc"]["scenes"] == 1


def test_metrics_of_trained_networks_wait_for_their_weights(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEFUSION_METRIC_WEIGHTS", raising=False)
    assert "lpips" not in run(bench, tmp_path / "out", "average", metrics=(), protocol="paper").metrics
    monkeypatch.setenv("DEFUSION_METRIC_WEIGHTS", str(tmp_path))
    found = outcome(run(bench, tmp_path / "out", "average", metrics=(), protocol="paper"), "average", "s0")
    assert "does not exist" in (found.scores["lpips"].reason or "")


def test_the_report_can_be_moved(bench: Path, tmp_path: Path, done: Done) -> None:
    run(bench, tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    run(bench, tmp_path / "elsewhere")
    assert len(done.made) == 10


def test_a_failing_method_leaves_its_cell_empty_and_is_tried_again(bench: Path, tmp_path: Path) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(
        "import shutil, sys\nif 's1' in sys.argv[1]: sys.exit('cannot do this one')\nshutil.copy(*sys.argv[1:])"
    )
    methods = ("average", f"tool={sys.executable} {tool} {{b}} {{out}}")
    results = run(bench, tmp_path / "out", *methods)
    (failed,) = results.failures
    assert (failed.scene.name, failed.failure, failed.picture, failed.scores) == (
        "s1",
        "cannot do this one",
        None,
        {},
    )
    assert len(results.outcomes) == 10
    tool.write_text("import shutil, sys; shutil.copy(*sys.argv[1:])")
    assert not run(bench, tmp_path / "out", *methods).failures


def test_an_unreadable_source_fails_its_scene_alone(bench: Path, tmp_path: Path) -> None:
    (bench / "exposure" / "s0" / "over.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    results = run(bench, tmp_path / "out", "average,detail")
    assert [(each.scene.name, each.method) for each in results.failures] == [("s0", "average"), ("s0", "detail")]
    assert all("over.png" in (each.failure or "") for each in results.failures)


def test_pictures_of_others_are_measured_where_they_lie(bench: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    for k in range(2):
        save(theirs / "exposure" / f"s{k}_X.png", np.full((48, 64, 3), 50 + k, np.uint8))
    save(theirs / "exposure" / "s2_X.png", np.full((24, 64, 3), 7, np.uint8))
    (theirs / "night").mkdir()
    results = run(bench, tmp_path / "out", f"X={theirs}")
    assert outcome(results, "X", "s1").scores["level"].value == 51
    assert outcome(results, "X", "s1").picture == theirs / "exposure" / "s1_X.png"
    assert outcome(results, "X", "s2").failure == "the picture is 64x24, but its sources are 64x48"
    assert len(results.outcomes) == 3
    assert results.notes == ("X has no pictures of night, so it is not measured there",)
    (theirs / "exposure" / "s0_X.png").unlink()
    assert "is named after the scene" in (
        outcome(run(bench, tmp_path / "out", f"X={theirs}"), "X", "s0").failure or ""
    )


def test_a_folder_without_any_picture_is_told(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with pytest.raises(
        EvaluationError, match=r"has no picture of any scene; expected files .* such as s0.png or s0_X.png"
    ):
        run(bench, tmp_path / "out", f"X={tmp_path / 'theirs'}")


def test_an_interrupted_run_goes_on_where_it_was(bench: Path, tmp_path: Path, done: Done) -> None:
    def interrupt(progress: EvaluationProgress) -> None:
        if progress.scenes_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(bench, tmp_path / "out", report=interrupt)
    assert len(done.made) == 4
    told: list[EvaluationProgress] = []
    run(bench, tmp_path / "out", report=told.append)
    assert (len(done.made), len(done.scored)) == (10, 10)
    assert [each.scenes_done for each in told] == [1, 2, 3, 4, 5]


def test_processes_find_what_one_process_finds(bench: Path, tmp_path: Path) -> None:
    alone = run(bench, tmp_path / "alone", metrics=("en", "psnr"))
    environment = dict(os.environ)
    beside = run(bench, tmp_path / "beside", metrics=("en", "psnr"), jobs=2)
    assert os.environ == environment
    assert [each.scores for each in beside.outcomes] == [each.scores for each in alone.outcomes]


def test_the_paper_measures_infrared_in_grey_by_its_own_metrics(bench: Path, tmp_path: Path) -> None:
    results = run(bench, tmp_path / "out", metrics=(), protocol="paper")
    assert set(outcome(results, "average", "s0").scores) >= {"ce", "qcv", "ssim", "mef_ssim"}
    assert list(outcome(results, "average", "n0").scores) == ["ce", "qcv", "ssim", "cc"]
    grey = run(bench, tmp_path / "out", protocol="paper")
    colour = run(bench, tmp_path / "out")
    for name, same in (("s0", True), ("n0", False)):
        levels = {outcome(each, "average", name).scores["level"].value for each in (grey, colour)}
        assert (len(levels) == 1) is same


def test_names_that_are_not_there_are_told(bench: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="there is no metric 'sim'; expected one of"):
        run(bench, tmp_path / "out", metrics=("sim",))
    with pytest.raises(EvaluationError, match="there is no protocol 'mine'; expected toolkit or paper"):
        run(bench, tmp_path / "out", protocol="mine")


def test_a_foreign_file_in_the_place_of_the_cache_is_told(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cache.sqlite").write_text("something else, and more than a header's worth of it" * 20)
    with pytest.raises(EvaluationError, match=r"cache.sqlite: file is not a database; delete it"):
        run(bench, tmp_path / "out")


def test_the_summary_has_means_counts_and_failures(bench: Path, tmp_path: Path) -> None:
    save(bench / "exposure" / "s0" / "over.png", texture(0)[:40])
    results = run(bench, tmp_path / "out", "average")
    summary = results.summary()
    values = [outcome(results, "average", name).scores["level"].value for name in ("s1", "s2")]
    assert summary["sets"]["exposure"]["average"] == {
        "scenes": 3,
        "failures": 1,
        "metrics": {"level": {"mean": pytest.approx(np.mean(values)), "scenes": 2}},
    }
    assert summary["sets"]["night"]["average"]["metrics"]["off"]["scenes"] == 1
    assert [(each["set"], each["scene"]) for each in summary["failures"]] == [("exposure", "s0")]


def test_a_set_has_one_inception_score_a_method(bench, tmp_path, monkeypatch):
    seen: list[int] = []

    def score_of_set(pictures):
        seen.append(len(list(pictures)))
        return Score(1.5)

    monkeypatch.setattr(run_module, "set_inception_score", score_of_set)
    methods = parse_methods(["average,maximum"])
    results = evaluate(find_sets([str(bench / "exposure")]), methods, tmp_path / "out", metrics=["level", "is"])
    assert seen == [3, 3]
    assert results.inception == {"exposure": {"average": Score(1.5), "maximum": Score(1.5)}}
    assert results.summary()["sets"]["exposure"]["average"]["inception_score"] == {"value": 1.5, "why": None}
    [table] = set_tables(results, [])
    assert "average 1.500, maximum 1.500" in table.notes[0]


def test_a_picture_that_is_missing_and_one_of_several_are_told_apart(bench, tmp_path):
    for name in ("s0", "s1_far", "s1_near"):
        save(tmp_path / "theirs" / f"{name}.png", texture(1))
    methods = parse_methods([f"theirs={tmp_path / 'theirs'}"])
    results = evaluate(find_sets([str(bench / "exposure")]), methods, tmp_path / "out", metrics=["level"])
    _, several, missing = (outcome.failure for outcome in results.outcomes)
    assert several and "s1_far.png, s1_near.png: keep one" in several
    assert missing and missing.endswith("is named after the scene")
