"""Runs: what they leave behind, that they learn, and that a stopped one goes on as if it had not been."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defusion.errors import TrainingError
from defusion.model import DeFusion
from defusion.training import RECIPES, Recipe, TrainingProgress, recipe_of, train
from defusion.training.objective import start_network
from defusion.training.run import to_scene
from defusion.weights import WeightsFile, resolve

STEPS = 8


class StoppedError(Exception):
    """What a stopped run dies of."""


def run_on(photographs: Path, run: Path, recipe: Recipe, **choices: Any) -> Path:
    return train([photographs], run, recipe, **{"accelerator": "cpu", "devices": 1, "workers": 0, **choices})


def stop_at(step: int) -> Callable[[TrainingProgress], None]:
    def report(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise StoppedError

    return report


def checkpoint(run: Path, step: int) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / f"step-{step:08d}" / "checkpoint.pt", weights_only=True)
    return state


def assert_same(one: Any, other: Any, place: str = "state") -> None:
    """Compares nested checkpoints bit by bit."""
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{number}]")
    else:
        assert one == other, place


@pytest.fixture(scope="module")
def straight(photographs: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps that was never stopped."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    run_on(photographs, run, tiny)
    return run


@pytest.fixture(scope="module")
def told(
    photographs: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[TrainingProgress]]:
    """A run of forty steps with a checkpoint each ten, and what its caller was told."""
    run = tmp_path_factory.mktemp("runs") / "told"
    told: list[TrainingProgress] = []
    run_on(photographs, run, replace(tiny, epochs=5 * tiny.epochs), checkpoint_every=10, report=told.append)
    return run, told


def test_a_run_leaves_weights_that_make_a_network(straight: Path, tiny: Recipe) -> None:
    file = WeightsFile.open(straight / "weights.safetensors")
    assert file.about["recipe"] == json.loads(json.dumps(tiny.to_dict()))
    with torch.inference_mode():
        made = DeFusion.of_tensors(file.config, file.tensors())(*torch.rand(2, 1, 3, 33, 40))
    assert torch.isfinite(made.fused).all()


def test_weights_are_the_averaged_ones_in_half_precision(straight: Path) -> None:
    from safetensors.numpy import load_file

    state = checkpoint(straight, STEPS)
    stored = load_file(straight / "weights.safetensors")
    assert {value.dtype for value in stored.values()} == {np.dtype(np.float16)}
    for key, value in stored.items():
        assert np.array_equal(value, state["average"][f"module.{key}"].half().numpy())
    assert any(not torch.equal(state["network"][key], state["average"][f"module.{key}"]) for key in stored)


def test_a_checkpoint_stands_beside_its_weights_and_what_made_them(straight: Path) -> None:
    folder = straight / f"step-{STEPS:08d}"
    assert {path.name for path in folder.iterdir()} == {"checkpoint.pt", "weights.safetensors", "run.json"}
    whole = WeightsFile.open(straight / "weights.safetensors")
    assert WeightsFile.open(folder / "weights.safetensors").sha256 == whole.sha256


def test_run_json_says_what_was_trained_on_what_and_how(straight: Path, tiny: Recipe) -> None:
    about = json.loads((straight / f"step-{STEPS:08d}" / "run.json").read_text())
    assert Recipe.from_dict(about["recipe"]) == tiny
    assert about["data"]["photographs"] == 6
    assert len(about["data"]["sha256"]) == 64
    assert (about["steps"], about["of_steps"], about["samples"]) == (STEPS, STEPS, 2 * STEPS)
    assert about["hardware"].startswith("1 CPU process")
    assert about["versions"]["torch"] == torch.__version__
    assert set(about["held_back_error"]) == {
        "fused", "common", "unique_a", "unique_b",
    }  # fmt: skip


def test_curves_are_written_for_tensorboard_and_as_a_table(told: tuple[Path, list[TrainingProgress]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = told
    events = EventAccumulator(str(run / "curves"))
    events.Reload()
    assert {"train/fused", "train/common", "held_back/fused", "samples_per_s"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("held_back/fused")] == [10, 20, 30, 40]
    assert len(events.Tags()["images"]) == 1
    with (run / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20", "30", "40"]
    logged = [event.value for event in events.Scalars("held_back/common")]
    assert [float(row["common"]) for row in rows] == pytest.approx(logged, abs=1e-5)


def test_the_caller_is_told_after_each_step(told: tuple[Path, list[TrainingProgress]]) -> None:
    _, progress = told
    assert [(each.step, each.steps) for each in progress] == [(step, 40) for step in range(1, 41)]
    assert all(each.samples_per_second > 0 for each in progress)
    assert set(progress[0].errors) == {
        "fused", "common", "unique_a", "unique_b",
    }  # fmt: skip


def test_errors_are_read_each_tenth_step_alone(told: tuple[Path, list[TrainingProgress]]) -> None:
    _, progress = told
    read = [each.step for before, each in pairwise(progress) if each.errors != before.errors]
    assert read == [10, 20, 30, 40]


def test_training_lowers_the_errors(told: tuple[Path, list[TrainingProgress]]) -> None:
    _, progress = told
    first, *_, last = (sum(each.errors.values()) for each in progress)
    assert last < 0.9 * first


def test_the_last_two_checkpoints_are_kept(told: tuple[Path, list[TrainingProgress]]) -> None:
    run, _ = told
    assert sorted(path.name for path in run.glob("step-*")) == ["step-00000030", "step-00000040"]


def test_a_killed_run_goes_on_to_the_bit(straight: Path, photographs: Path, tiny: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    killed = """
        import json, os, signal, sys
        from defusion.training import Recipe, train

        photographs, run, recipe = sys.argv[1:]
        train([photographs], run, Recipe.from_dict(json.loads(recipe)), accelerator="cpu", devices=1, workers=0,
              checkpoint_every=4, report=lambda progress: progress.step == 6 and os.kill(os.getpid(), signal.SIGKILL))
    """
    command = [sys.executable, "-c", textwrap.dedent(killed), photographs, run, json.dumps(tiny.to_dict())]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert [path.parent.name for path in run.glob("step-*/checkpoint.pt")] == ["step-00000004"]
    steps: list[int] = []
    torch.manual_seed(99)  # randomness of its own is all that a run uses
    weights = run_on(photographs, run, tiny, resume=True, report=lambda progress: steps.append(progress.step))
    assert steps == [5, 6, 7, 8]
    assert_same(checkpoint(run, STEPS), checkpoint(straight, STEPS))
    assert weights.read_bytes() == (straight / "weights.safetensors").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals there")
def test_sigterm_ends_all_processes_of_a_run(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text('base = "quick"\ncrop_px = 32\nbatch = 1\nepochs = 1e6\n')
    choices = ["--recipe", "long.toml", "--accelerator", "cpu", "--devices", "2", "--workers", "0"]
    command = [
        sys.executable,
        "-m",
        "defusion",
        "train",
        photographs,
        "-o",
        "run",
        "--checkpoint-every",
        "2",
        *choices,
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 200
        while not list(tmp_path.glob("run/step-*/checkpoint.pt")) and time.monotonic() < until:
            time.sleep(0.1)
        running.terminate()
        _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, said
    assert said.splitlines()[-1] == "defusion: interrupted; no file was left half written"
    assert "unexpected" not in said


def test_a_run_stopped_while_it_saves_goes_on_from_the_checkpoint_before(
    straight: Path, photographs: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "stopped"
    save = torch.save

    def stopped(state: dict[str, Any], path: Path) -> None:
        if state["step"] == 6:
            path.write_bytes(b"half of a checkpoint")
            raise StoppedError
        save(state, path)

    with monkeypatch.context() as patch:
        patch.setattr("torch.save", stopped)
        with pytest.raises(StoppedError):
            run_on(photographs, run, tiny, checkpoint_every=2)
    assert (run / "step-00000006").exists()
    steps: list[int] = []
    run_on(
        photographs, run, tiny, resume=True, checkpoint_every=2, report=lambda progress: steps.append(progress.step)
    )
    assert steps == [5, 6, 7, 8]
    assert_same(checkpoint(run, STEPS), checkpoint(straight, STEPS))


def test_a_finished_run_resumed_has_nothing_to_do(photographs: Path, tiny: Recipe, tmp_path: Path) -> None:
    short = replace(tiny, epochs=2 / 3)
    weights = run_on(photographs, tmp_path / "run", short)
    before = weights.read_bytes()
    again = run_on(photographs, tmp_path / "run", short, resume=True, report=lambda progress: pytest.fail("went on"))
    assert again == weights
    assert weights.read_bytes() == before


def test_a_run_folder_in_use_is_refused(straight: Path, photographs: Path, tiny: Recipe) -> None:
    before = sorted(straight.rglob("*"))
    with pytest.raises(TrainingError, match="straight: holds a run already; add --resume"):
        run_on(photographs, straight, tiny)
    assert sorted(straight.rglob("*")) == before


def test_there_must_be_something_to_resume(photographs: Path, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none: holds no checkpoint to resume from"):
        run_on(photographs, tmp_path / "none", tiny, resume=True)
    assert not (tmp_path / "none").exists()


def test_a_run_is_not_resumed_with_another_network(straight: Path, photographs: Path, tiny: Recipe) -> None:
    with pytest.raises(TrainingError, match="another network than 'released', the one of recipe 'tiny'"):
        run_on(photographs, straight, replace(tiny, network="released"), resume=True)


def test_a_run_is_not_resumed_on_other_photographs(straight: Path, photographs: Path, tiny: Recipe) -> None:
    with pytest.raises(TrainingError, match="was trained on other photographs"):
        run_on(photographs / "more", straight, tiny, resume=True)


def test_a_run_is_not_resumed_in_another_number_of_processes(
    straight: Path, photographs: Path, tiny: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    about = run / f"step-{STEPS:08d}" / "run.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "processes": 2}))
    with pytest.raises(TrainingError, match="was trained by 2 processes, here are 1"):
        run_on(photographs, run, replace(tiny, epochs=2 * tiny.epochs), resume=True)


@pytest.mark.parametrize(("at", "kept"), [(3, []), (6, ["step-00000004"]), (8, ["step-00000004"])])
def test_an_error_that_is_no_number_ends_the_run_and_keeps_what_is_good(
    at: int, kept: list[str], photographs: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()  # the first is of what is held back

    def scene(crops: torch.Tensor, device: torch.device) -> torch.Tensor:
        return to_scene(crops, device) * (torch.nan if next(calls) == at else 1.0)

    monkeypatch.setattr("defusion.training.run.to_scene", scene)
    then = f"{kept[0]} is good: continue from it by --resume" if kept else "begin again with"
    with pytest.raises(TrainingError, match=f"at step {4 if at < 5 else 8} an error is NaN or infinite; .*{then}"):
        run_on(photographs, tmp_path / "run", tiny, checkpoint_every=4)
    assert [path.name for path in (tmp_path / "run").glob("step-*")] == kept
    for weights in (tmp_path / "run").rglob("*.safetensors"):
        assert all(np.isfinite(value).all() for value in WeightsFile.open(weights).tensors().values())


def test_a_run_knows_its_recipe(straight: Path, tiny: Recipe, tmp_path: Path) -> None:
    assert recipe_of(straight) == tiny
    with pytest.raises(TrainingError, match="holds no checkpoint"):
        recipe_of(tmp_path)


def test_a_run_begins_from_given_weights_and_says_so(
    straight: Path, photographs: Path, tiny: Recipe, tmp_path: Path
) -> None:
    given = WeightsFile.open(straight / "weights.safetensors")
    still = replace(tiny, learning_rate=1e-12, epochs=2 / 3)
    begun = WeightsFile.open(run_on(photographs, tmp_path / "run", still, start=given.path))
    for key, value in given.tensors().items():
        np.testing.assert_allclose(begun.tensors()[key], value, atol=1e-6)
    assert begun.about["began_from"] == {
        "sha256": given.sha256,
        "recipe": given.about["recipe"],
        "samples": given.about["samples"],
    }
    assert given.about["began_from"] is None
    longer = replace(still, epochs=4 / 3)
    resumed = WeightsFile.open(run_on(photographs, tmp_path / "run", longer, resume=True))
    assert resumed.about["steps"] == 2
    assert resumed.about["began_from"] == begun.about["began_from"]


@pytest.mark.parametrize("part", ["close", "rest"])
def test_a_part_of_the_pyramid_network_is_trained_alone(part: str, photographs: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPES["pyramid"], part=part, crop_px=80, crop_area=(0.5, 1.0), batch=4, epochs=0.3)
    made = WeightsFile.open(run_on(photographs, tmp_path / "run", recipe, start="pyramid")).tensors()
    before = WeightsFile.open(resolve("pyramid")).tensors()
    changed = {name for name, value in made.items() if not np.array_equal(value, before[name])}
    assert ("close.near.weight" if part == "close" else "state.weight") in changed
    assert {name.startswith("close.") for name in changed} == {part == "close"}


def test_weights_to_begin_from_have_to_fit(straight: Path, photographs: Path, tiny: Recipe, tmp_path: Path) -> None:
    given = straight / "weights.safetensors"
    with pytest.raises(TrainingError, match="a network 'small', but recipe 'tiny' trains 'released'"):
        run_on(photographs, tmp_path / "run", replace(tiny, network="released"), start=given)
    with pytest.raises(TrainingError, match="either --weights or --resume"):
        run_on(photographs, straight, tiny, start=given, resume=True)


def test_no_photographs_are_an_error_before_anything_is_written(tiny: Recipe, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="no photographs"):
        run_on(tmp_path / "empty", tmp_path / "run", tiny)
    assert not (tmp_path / "run").exists()


def test_the_papers_recipe_trains_too(photographs: Path, tiny: Recipe, tmp_path: Path) -> None:
    recipe = replace(Recipe(), network="small", crop_px=32, batch=1, epochs=2 / 3)
    told: list[TrainingProgress] = []
    run_on(photographs, tmp_path / "run", recipe, report=told.append)
    assert len(told) == 2
    assert all(np.isfinite(list(progress.errors.values())).all() for progress in told)


def test_the_head_of_the_fused_picture_learns_nothing_before_its_time(
    photographs: Path, tiny: Recipe, tmp_path: Path
) -> None:
    authors = replace(RECIPES["authors"], network="small", crop_px=32, batch=2, epochs=8 * 2 / 3)
    for fused_from, changed in ((0.9, False), (0.0, True)):
        run = tmp_path / str(fused_from)
        recipe = replace(authors, fused_from=fused_from)
        run_on(photographs, run, recipe, checkpoint_every=4)
        start = start_network(recipe).project_fused.conv.weight
        trained = checkpoint(run, 4)["network"]["project_fused.conv.weight"]
        assert torch.equal(trained, start) is not changed


def test_two_processes_train_one_network(photographs: Path, tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent("""
        import os
        import sys
        from dataclasses import replace
        from pathlib import Path
        from defusion.training import RECIPES, train

        recipe = replace(RECIPES["quick"], crop_px=32, batch=1, epochs=8 / 3, warmup_steps=0)
        if __name__ == "__main__":
            steps = []
            photographs, run = sys.argv[1:]
            train([photographs], run, recipe, accelerator="cpu", devices=2, workers=1, checkpoint_every=2,
                  report=lambda progress: steps.append(progress.step))
            Path(run, f"told-{os.getpid()}").write_text(str(steps))
        """)
    )
    ran = subprocess.run(
        [sys.executable, script, photographs, tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    told = sorted(path.read_text() for path in (tmp_path / "run").glob("told-*"))
    assert told == ["[1, 2, 3, 4]", "[]"]  # the second process reports nothing
    about = WeightsFile.open(tmp_path / "run" / "weights.safetensors").about
    assert (about["steps"], about["samples"]) == (4, 8)
    assert about["hardware"].startswith("2 CPU process")
    with (tmp_path / "run" / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]
    assert len(list((tmp_path / "run" / "curves").rglob("events.out.*"))) == 1
