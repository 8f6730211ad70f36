"""What a person reads while a network trains."""

from __future__ import annotations

import pytest

from defusion.training import TrainingProgress
from defusion.training import progress as module
from defusion.training.progress import progress_bar


def test_a_log_gets_a_line_now_and_then_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with progress_bar() as report:
        for step in range(1, 101):
            report(TrainingProgress(step, 100, 8.0, {"fused": 0.25}))
            now += 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/100", "31/100", "61/100", "91/100", "100/100"]
    assert "8.0 samples/s, 0:01:09 left  fused 0.250" in lines[1]


def test_a_run_that_fails_before_its_first_step_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no photographs"), progress_bar():
        raise ValueError("no photographs")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar() as report:
        report(TrainingProgress(3, 10, 12.5, {"fused": 0.125}))
    shown = capsys.readouterr().err
    assert "3/10" in shown
    assert "12.5 samples/s" in shown
