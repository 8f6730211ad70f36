"""Parts at 100 %: where they are cut, which scenes fail most, and that no markup comes in."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defusion.evaluation.metrics import Score
from defusion.evaluation.report.sheets import (
    FAILURES,
    PART_PX,
    SCENES,
    draw_sheets,
    failures_of,
    peers,
    place_of_most,
)
from defusion.evaluation.report.tables import set_tables
from defusion.evaluation.results import EvaluationScene, Outcome, Results
from defusion.imaging import from_array, write

HIGH, WIDE = 300, 420
SOURCE_DIFFERS = (slice(40, 60), slice(330, 350))
OURS_DIFFERS = (slice(250, 270), slice(20, 40))


def saved(path: Path, place: tuple[slice, slice] | None, level: int = 100) -> Path:
    samples = np.full((HIGH, WIDE, 3), level, np.uint8)
    if place:
        rows, columns = np.mgrid[place]
        samples[place] = (255 * ((rows + columns) % 2))[..., None]
    path.parent.mkdir(exist_ok=True)
    write(path, from_array(samples))
    return path


def results_of(folder: Path, truth: bool) -> Results:
    """Eight scenes, of which `ours` is behind `good` in every other one, the last most; `bad` is far behind."""
    flat, spotted = saved(folder / "flat.png", None), saved(folder / "spotted.png", SOURCE_DIFFERS)
    made = {
        "ours <b>": saved(folder / "ours.png", OURS_DIFFERS),
        "good": flat,
        "bad": saved(folder / "bad.png", None, 30),
        "worse": saved(folder / "worse.png", None, 20),
    }
    outcomes = []
    for index in range(8):
        scene = EvaluationScene("focus", f"s{index}", (spotted, flat), flat if truth else None)
        behind = 0.01 * index if index % 2 else -0.01
        values = {"ours <b>": 0.8 - behind, "good": 0.8, "bad": 0.3, "worse": 0.1}
        for method, picture in made.items():
            scores = {"ssim": Score(values[method])}
            if truth:
                scores["psnr_truth"] = Score(40 - 10 * (1 - values[method]))
            outcomes.append(Outcome(method, scene, picture, scores))
    return Results("toolkit", ("ssim", "psnr_truth") if truth else ("ssim",), tuple(outcomes))


def inside(place: tuple[slice, slice], left: int, top: int) -> bool:
    rows, columns = place
    return (
        top <= rows.start and rows.stop <= top + PART_PX and left <= columns.start and columns.stop <= left + PART_PX
    )


def test_parts_are_cut_where_sources_and_methods_differ(tmp_path):
    results = results_of(tmp_path, truth=False)
    sheet = draw_sheets(results, set_tables(results, []))["focus"]
    assert len(sheet.looks) == SCENES
    assert all(inside(SOURCE_DIFFERS, strip.left, strip.top) for strip in sheet.looks)
    assert [strip.scene for strip in sheet.failures] == ["s7", "s5", "s3", "s1"]
    assert all(inside(OURS_DIFFERS, strip.left, strip.top) for strip in sheet.failures)
    strip = sheet.failures[0]
    assert [label for label, _ in strip.parts] == ["spotted", "flat", "ours <b>", "good", "bad"]
    assert "behind good: ssim 0.730 against 0.800" in strip.about
    part = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip.parts[2][1]))))
    whole = np.asarray(Image.open(tmp_path / "ours.png"))
    expected = whole[strip.top : strip.top + PART_PX, strip.left : strip.left + PART_PX].astype(int)
    assert part.shape == expected.shape and np.abs(part - expected).mean() < 2


def test_sources_of_one_name_are_told_apart_by_their_folders(tmp_path):
    files = [saved(tmp_path / folder / "01.png", place) for folder, place in [("vi", SOURCE_DIFFERS), ("ir", None)]]
    made = saved(tmp_path / "made.png", OURS_DIFFERS)
    outcome = Outcome("ours", EvaluationScene("vifb", "01", (files[0], files[1])), made, {"ssim": Score(0.5)})
    results = Results("toolkit", ("ssim",), (outcome,))
    strip = draw_sheets(results, set_tables(results, []))["vifb"].looks[0]
    assert [label for label, _ in strip.parts] == ["vi", "ir", "ours"]
    assert inside(SOURCE_DIFFERS, strip.left, strip.top)


def test_with_a_truth_the_farthest_from_it_fail_most(tmp_path):
    results = results_of(tmp_path, truth=True)
    (table,) = set_tables(results, [])
    rule, failures = failures_of(table)
    assert "truth" in rule and len(failures) == FAILURES
    assert [each.scene for each in failures[:4]] == ["s7", "s5", "s3", "s1"]
    assert failures[0].about == "psnr_truth 37.30 dB"
    strip = draw_sheets(results, [table])["focus"].failures[0]
    assert [label for label, _ in strip.parts][2] == "truth" and inside(OURS_DIFFERS, strip.left, strip.top)


def test_peers_are_the_best_of_the_others(tmp_path):
    (table,) = set_tables(results_of(tmp_path, truth=False), [])
    assert peers(table) == ["good", "bad"]


def test_a_scene_without_pictures_is_passed_over(results):
    sheets = draw_sheets(results, set_tables(results, []))
    assert [strip.scene for strip in sheets["focus"].looks] == ["focus-0", "focus-1"]
    markup = sheets["focus"].html()
    assert "average" in markup and "blend &lt;0.7&gt;" in markup and "<0.7>" not in markup
    gone = Outcome("x", EvaluationScene("gone", "s", (Path("a.png"), Path("b.png"))), None, {}, failure="no")
    alone = Results("toolkit", ("ssim",), (gone,))
    assert draw_sheets(alone, set_tables(alone, []))["gone"].html() == ""


@pytest.mark.parametrize(("high", "wide"), [(3, 5), (20, 30)])
def test_the_place_of_most_is_found_whatever_the_size(high, wide):
    worth = np.zeros((20, 30), np.float32)
    worth[12:15, 4:9] = 1
    top, left = place_of_most(worth, high, wide)
    assert worth[top : top + high, left : left + wide].sum() == 15
