"""`defusion evaluate`: what it writes and prints, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from defusion.cli import app

from .. import running
from .conftest import save, texture

COMMAND = [sys.executable, "-m", "defusion", "evaluate"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return running.run("evaluate", *arguments)


def run_here(*arguments: object) -> Result:
    """Runs the command in this process, which has imported all already."""
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_it_writes_a_report_and_prints_the_means(bench: Path, tmp_path: Path) -> None:
    done = run_here(
        bench, "--methods", "detail,average", "--scenes", 2, "--workers", 1, "-o", tmp_path / "out", "--json"
    )
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert all(Path(file).is_file() for file in facts["outputs"])
    assert tmp_path / "out" / "index.html" in map(Path, facts["outputs"])
    ours = facts["sets"]["exposure"]["detail"]
    assert (ours["scenes"], ours["failures"], ours["metrics"]["ssim"]["scenes"]) == (2, 0, 2)
    assert (
        done.stderr.splitlines()
        == [f"note: {note}" for note in facts["notes"]]
        == ["note: exposure: 2 of 3 scenes, evenly spread"]
    )


def test_missing_pictures_are_told_after_the_report(bench: Path, tmp_path: Path) -> None:
    done = run_here(
        bench, "--methods", "average", "--methods", "bad=/no/tool {a} {out}", "-o", tmp_path / "out", "--workers", 1
    )
    assert done.exit_code == 1
    assert (tmp_path / "out" / "index.html").is_file()
    assert "defusion: 5 pictures are missing; the first is bad on exposure/s0: /no/tool cannot be" in done.stderr


def test_one_picture_is_one_picture(bench: Path, tmp_path: Path) -> None:
    one = (f"plain:{bench / 'exposure'}", "--scenes", 1, "-o", tmp_path / "out", "--workers", 1, "--metrics", "en")
    assert "1 picture measured; look at" in run_here(*one, "--methods", "average").stdout
    failed = run_here(*one, "--methods", "bad=/no/tool {a} {out}").stderr
    assert "defusion: 1 picture is missing: bad on exposure/s0: /no/tool cannot be" in failed


def test_what_cannot_be_used_ends_in_one_sentence(bench: Path, tmp_path: Path) -> None:
    done = run(bench, "--methods", "averge", "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("defusion: there is no method 'averge'; expected ")


def test_roles_are_taken_as_they_are_said(tmp_path: Path) -> None:
    for place in ("a/T/1.png", "a/RGB/1.png"):
        save(tmp_path / "set" / place, texture(len(place)))
    done = run_here(
        tmp_path / "set", "--roles", "ir=T, vis=RGB", "--methods", "average", "-o", tmp_path / "out", "--workers", 1
    )
    assert done.exit_code == 0, done.stderr
    (outcome, *_) = json.loads((tmp_path / "out" / "results.json").read_text())["outcomes"]
    assert [Path(source).parent.name for source in outcome["sources"]] == ["RGB", "T"]


def test_an_interrupted_run_keeps_what_is_done_and_nothing_half_done(
    bench: Path, tmp_path: Path, heeding: Callable[[int], Callable[[], object] | None]
) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(
        "import os, pathlib, shutil, sys, time\n"
        "if 'night' in sys.argv[1]:\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'pid-{{os.getpid()}}').touch()\n"
        "    time.sleep(600)\n"
        "shutil.copy(*sys.argv[1:])\n"
    )
    out = tmp_path / "out"
    arguments = [bench, "--methods", f"slow={sys.executable} {tool} {{a}} {{out}}", "-o", out]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding(signal.SIGINT),
    )
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("pid-*"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.splitlines() == ["defusion: interrupted; no file was left half written"]
    assert sorted(file.name for file in out.rglob("*") if file.is_file() and file.suffix == ".png") == [
        "s0.png",
        "s1.png",
        "s2.png",
    ]
    assert not list(out.rglob(".*"))
    for file in tmp_path.glob("pid-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.partition("-")[2]), 0)
    tool.write_text("import shutil, sys; assert 'night' in sys.argv[1]; shutil.copy(*sys.argv[1:])")
    assert run_here(*arguments, "--workers", 1).exit_code == 0
