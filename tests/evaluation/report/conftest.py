"""A small evaluation, made up by rule: two sets, three methods, one failure, one score that is not defined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defusion.evaluation.metrics import Score
from defusion.evaluation.results import EvaluationScene, Outcome, Results
from defusion.imaging import from_array, write

METHODS = ("average", "maximum", "blend <0.7> & 'co' | 100%_$")
FAILURE = "ended with code 3: <script>alert(1)</script>"
REASON = "a flat picture & no <edges>"


def picture(path: Path, shift: int) -> Path:
    rows, columns = np.mgrid[:48, :64]
    samples = np.stack([rows * 4 + shift, columns * 3, rows + columns + shift], axis=2).clip(0, 255)
    write(path, from_array(samples.astype(np.uint8)))
    return path


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("pictures")
    files = [picture(folder / f"{shift}.png", shift) for shift in range(0, 60, 12)]
    outcomes = []
    for data_set, scenes in (("mefb", 9), ("focus", 2)):
        for index in range(scenes):
            truth = files[0] if data_set == "focus" else None
            scene = EvaluationScene(data_set, f"{data_set}-{index}", (files[1], files[2]), truth)
            for number, method in enumerate(METHODS):
                if (data_set, index, number) == ("focus", 1, 2):
                    outcomes.append(Outcome(method, scene, None, {}, failure=FAILURE))
                    continue
                scores = {
                    "ce": Score(1.0 + number + 0.1 * index),
                    "ssim": Score(0.9 - 0.2 * (number == 2) + 0.001 * (index + number * (-1) ** index)),
                    "qcv": Score(300.0 + 100 * number + index),
                }
                if (data_set, index, number) == ("mefb", 0, 1):
                    scores["ssim"] = Score(np.nan, REASON)
                if truth:
                    scores["psnr_truth"] = Score(30.0 + number)
                outcomes.append(Outcome(method, scene, files[number], scores, seconds=0.25 * (number + 1)))
    return Results("toolkit", ("ce", "qcv", "ssim", "psnr_truth"), tuple(outcomes), ("2 scenes <left> out",))


@pytest.fixture(scope="session")
def methods() -> tuple[str, ...]:
    return METHODS


@pytest.fixture(scope="session")
def failure() -> str:
    return FAILURE


@pytest.fixture(scope="session")
def reason() -> str:
    return REASON
