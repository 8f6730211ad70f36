"""What a person reads while pictures are fused, and what programs do not get to read."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from defusion import Fuser
from defusion.cli.progress import fusing_bar
from defusion.imaging import Picture, from_array, write
from defusion.scene.frame import Frame
from defusion.tiles import grid, paper
from defusion.tiles.progress import FusingProgress

SCENE = np.ascontiguousarray(data.astronaut()[:200, 120:320])


def frames(count: int) -> list[Frame]:
    return [Frame.of(f"frame {number}", from_array(SCENE // (1 + number))) for number in range(count)]


def reported(fuser: Fuser, count: int) -> list[FusingProgress]:
    told: list[FusingProgress] = []
    fuser.fuse_frames(frames(count), told.append).picture()
    return told


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "WHOLE_PX", 0)
    monkeypatch.setattr(paper, "PAPER_TILE_PX", 128)
    monkeypatch.setattr("defusion.tiles.sample.SAMPLE_PX", 96)
    monkeypatch.setattr(grid, "AT_ONCE_PX", 60_000)


@pytest.mark.usefixtures("tiny")
def test_a_pair_by_the_papers_network_tells_its_rows() -> None:
    assert reported(Fuser(weights="paper"), 2) == [
        FusingProgress(0, 200),
        FusingProgress(104, 200),
        FusingProgress(200, 200),
    ]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("count", [2, 3])
def test_stages_tell_frames_and_rows(count: int) -> None:
    told = reported(Fuser(), count)
    looked = [each.frame for each in told if each.rows == 0]
    assert looked[-count:] == ([1, 1] if count == 2 else [1, 2, 3])
    rows = [each.rows for each in told]
    assert rows == sorted(rows)
    assert len(set(rows)) > 2
    assert told[-1] == (FusingProgress(200, 200) if count == 2 else FusingProgress(200, 200, 3, 3))


def test_a_stack_is_told_before_a_frame_is_opened() -> None:
    told: list[FusingProgress] = []

    def opened(number: int) -> Picture:
        assert told[-1].frame >= number
        return from_array(SCENE // number)

    several = [Frame(f"frame {number}", partial(opened, number)) for number in (2, 3, 4)]
    Fuser().fuse_frames([Frame("frame 1", partial(opened, 1)), *several], told.append).picture()
    assert told[0] == FusingProgress(0, 0, 1, 4)


def test_a_picture_that_runs_whole_is_told_once_when_it_is_done() -> None:
    assert reported(Fuser(), 2) == [FusingProgress(200, 200)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with fusing_bar(wanted=True) as report:
        assert report is not None
        report(FusingProgress(0, 2000, 1, 5))
        report(FusingProgress(600, 2000, 3, 5))
    assert "frame 3 of 5, 600 of 2000 rows" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_stack_that_is_looked_at_gets_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with fusing_bar(wanted=True) as report:
        assert report is not None
        report(FusingProgress(0, 0, 2, 5))
    assert "looking at frame 2 of 5" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_bar_is_taken_away_where_the_work_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with fusing_bar(wanted=True) as report:
            assert report is not None
            report(FusingProgress(0, 2000))
            raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        work()
    assert capsys.readouterr().err.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the line is gone


@pytest.mark.usefixtures("terminal")
def test_quick_work_shows_nothing_and_an_error_is_left_to_who_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    with fusing_bar(wanted=True) as report:
        assert report is not None
        report(FusingProgress(200, 200))
    with pytest.raises(ValueError, match="torn"), fusing_bar(wanted=True):
        raise ValueError("torn")
    assert not capsys.readouterr().err.strip()


def test_no_bar_where_none_is_wanted_or_there_is_no_terminal() -> None:
    for wanted in (True, False):
        with fusing_bar(wanted=wanted) as report:
            assert report is None


def test_the_library_of_the_bar_is_only_loaded_for_a_terminal() -> None:
    code = (
        "import sys\nfrom defusion.cli.progress import fusing_bar\n"
        "with fusing_bar(wanted=True) as report: print(report, 'rich' in sys.modules)"
    )
    env = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == ["None", "False"]


def on_a_terminal(command: list[str], folder: Path) -> str:
    """Runs a command whose stderr is a terminal, and returns what that shows."""
    ours, theirs = os.openpty()
    told = b""
    with subprocess.Popen(command, cwd=folder, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(theirs)
        with suppress(OSError):  # that is how Linux ends it
            while piece := os.read(ours, 4096):
                told += piece
    os.close(ours)
    assert process.returncode == 0, told
    return told.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_the_command_shows_the_bar_on_a_terminal(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", from_array(SCENE // (1 + number)))
    command = [sys.executable, "-m", "defusion", "fuse", "0.png", "1.png", "2.png", "-o", "out.tif"]
    # Only the first report is shown for certain: on a fast machine the rest may pass between two refreshes.
    assert "looking at frame 1 of 3" in on_a_terminal(command, tmp_path)
    assert on_a_terminal([*command, "--json"], tmp_path) == ""
