"""Pictures in the page: decoded again, within the budget, with errors against the truth."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defusion.evaluation.report import pictures
from defusion.evaluation.report.pictures import draw, draw_scene
from defusion.evaluation.results import Outcome, Results
from defusion.imaging import read


def decoded(data: str | None) -> np.ndarray:
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def of_set(results: Results, data_set: str, scene: int) -> list[Outcome]:
    name = f"{data_set}-{scene}"
    return [outcome for outcome in results.outcomes if outcome.scene.name == name]


def test_a_scene_is_drawn_at_its_size_as_it_is(results):
    outcomes = of_set(results, "mefb", 0)
    drawn = draw_scene(outcomes, 2048)
    assert drawn is not None and drawn.whole and drawn.gain is None
    assert (drawn.width, drawn.height, drawn.drawn_width) == (64, 48, 64)
    assert [panel.kind for panel in drawn.panels] == ["source", "source", "method", "method", "method"]
    for panel, path in zip(drawn.panels, [*outcomes[0].scene.sources, *(o.picture for o in outcomes)], strict=True):
        assert np.abs(decoded(panel.data) - np.asarray(read(path).samples)).mean() < 3


def test_errors_are_those_against_the_truth_times_the_gain(results):
    drawn = draw_scene(of_set(results, "focus", 0), 2048)
    assert drawn is not None and drawn.gain is not None
    average, maximum = (panel for panel in drawn.panels if panel.label in ("average", "maximum"))
    assert decoded(average.error).max() == 0  # the truth itself
    # Two of three channels are 12 off, which is 8 on average; 16 is the largest mean, of the third method.
    assert drawn.gain == 255 // 16
    assert np.abs(decoded(maximum.error) - 8 * drawn.gain).max() <= 4


def test_what_failed_or_cannot_be_read_says_why(results, tmp_path):
    drawn = draw_scene(of_set(results, "focus", 1), 2048)
    assert drawn is not None
    failed = drawn.panels[-1]
    assert failed.data is None and failed.absent == of_set(results, "focus", 1)[2].failure
    gone = [replace(outcome, picture=tmp_path / "gone.png") for outcome in of_set(results, "mefb", 0)]
    drawn = draw_scene(gone, 2048)
    assert drawn is not None and "gone.png" in (drawn.panels[-1].absent or "")
    scene = replace(gone[0].scene, sources=(Path("x.png"), Path("y.png")))
    assert draw_scene([replace(outcome, scene=scene) for outcome in gone], 2048) is None


def test_the_budget_holds_and_what_was_drawn_down_is_told(results, monkeypatch):
    monkeypatch.setattr(pictures, "_SMALL_PX", 24)
    monkeypatch.setattr(pictures, "_LEAST_PX", 12)
    everything = draw(results)
    assert everything.total == 11 and all(drawn.whole for drawn in everything.scenes.values())
    assert "all 11 scenes" in everything.note()
    whole = sum(drawn.bytes for drawn in everything.scenes.values())
    some = draw(results, budget=int(whole * 0.7))
    assert sum(drawn.bytes for drawn in some.scenes.values()) <= whole * 0.7
    small = [key for key, drawn in some.scenes.items() if not drawn.whole]
    assert len(some.scenes) == 11 and 0 < len(small) < 11
    assert {key[0] for key, drawn in some.scenes.items() if drawn.whole} == {"mefb", "focus"}
    assert (
        f"{11 - len(small)} of 11 scenes" in some.note()
        and f"{len(small)} are scaled down to {some.small_px} pixels" in some.note()
    )
    assert 12 <= draw(results, budget=int(whole * 0.5)).small_px <= some.small_px <= 24
    few = draw(results, budget=whole // 8)
    assert 0 < len(few.scenes) < 11 and "because there is no room" in few.note()


@pytest.mark.parametrize("longest", [16, 40])
def test_drawn_down_keeps_the_shape(results, longest):
    drawn = draw_scene(of_set(results, "mefb", 0), longest)
    assert drawn is not None and not drawn.whole
    assert decoded(drawn.panels[0].data).shape == (round(48 * longest / 64), longest, 3)
