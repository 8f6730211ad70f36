"""What a terminal is shown of a batch."""

import io

import pytest
from rich.console import Console

from defusion.batch import progress
from defusion.batch.progress import batch_bar, scene_table


def test_the_bar_tells_done_failed_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, now = io.StringIO(), [100.0]
    terminal = Console(file=shown, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with batch_bar(10, wanted=True) as advance:
        now[0] += 2
        advance({"done": 4, "failed": 1, "skipped": 2})
    assert "4 done, 1 failed, 2 skipped, 2.5 scenes/s" in shown.getvalue()
    assert "left" in shown.getvalue()


def test_a_log_gets_no_bar(capfd: pytest.CaptureFixture[str]) -> None:
    with batch_bar(10, wanted=True) as advance:
        advance({"done": 4, "failed": 1, "skipped": 2})
    assert capfd.readouterr() == ("", "")


def test_the_table_of_a_card_names_a_few_frames() -> None:
    rows = [
        ("a", "focus", tuple(f"card/{number}.jpg" for number in range(7)), "focused"),
        ("b", "single", ("c/x",), ""),
    ]
    lines = scene_table(rows).splitlines()
    assert lines[1].split() == ["a", "focus", "7", "0.jpg", "...", "6.jpg", "focused"]
    assert lines[2].split() == ["b", "single", "1", "x"]
