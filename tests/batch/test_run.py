"""Batches on this machine: every scene once, whatever interrupts them."""

import html
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import defusion
from defusion import BatchError, Fuser, ImageError, OptionError, WeightsError
from defusion.batch import SceneResult, local
from defusion.batch.finding import Sources
from defusion.batch.journal import Journal
from defusion.batch.local import LocalExecutor
from defusion.batch.work import JobOutcome, SceneJob, fuse_scene

from .conftest import made_scenes, pictures


def results(sources: Sources, output: Path, **options: object) -> dict[str, SceneResult]:
    found = list(defusion.batch(sources, output, workers=1, align="off", **options))  # type: ignore[arg-type]
    assert len({result.scene for result in found}) == len(found)
    return {result.scene: result for result in found}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "defusion", "batch", "--align", "off", *map(str, arguments)]


def test_a_batch_makes_what_fuse_makes_and_goes_on_where_it_was(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = results(root, out)
    assert {result.status for result in first.values()} == {"done"}
    fuser = Fuser(align="off")
    for name, result in first.items():
        assert result.output == str(out / f"{name}.png")
        fuser.fuse_files(sorted((root / name).iterdir()), tmp_path / "single.png")
        assert Path(result.output).read_bytes() == (tmp_path / "single.png").read_bytes()
    page = (out / "report.html").read_text()
    assert page.count("data:image/webp;base64,") == 6
    assert "3 done, 0 failed" in page and "exposure" in page
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.png")}

    again = results(root, out)
    assert {result.status for result in again.values()} == {"skipped"}
    (root / "scene000" / "over.png").touch()  # looked into, and the same
    shutil.copy(root / "scene002" / "over.png", root / "scene001" / "over.png")
    (out / "scene002.png").write_bytes(b"changed by somebody")
    third = results(root, out)
    assert [third[name].status for name in sorted(third)] == ["skipped", "done", "done"]
    assert (out / "scene000.png").stat().st_mtime_ns == before[out / "scene000.png"]
    assert results(root, out, task="focus")["scene000"].status == "done"
    assert sorted(file.name for file in out.iterdir()) == [
        *(".batch.sqlite.lock", "batch.sqlite", "report.html"),
        *("scene000.png", "scene001.png", "scene002.png"),
    ]


def test_a_bad_scene_stops_no_other_and_is_tried_again_on_request(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (root / "empty").mkdir()
    (root / "scene001" / "over.png").write_bytes(b"<script>")
    whole = (root / "scene002" / "under.png").read_bytes()
    (root / "scene002" / "under.png").write_bytes(whole[:2000])
    first = results(root, out)
    assert Counter(result.status for result in first.values()) == {"done": 1, "failed": 3}
    assert first["empty"].reason == "it holds no pictures; expected two or more"
    assert "over.png is not a picture of a known format" in (first["scene001"].reason or "")
    assert "under.png" in (first["scene002"].reason or "") and first["scene002"].output is None
    assert first["scene001"].output is None and not (out / "scene001.png").exists()
    page = (out / "report.html").read_text()
    assert html.escape(first["scene002"].reason or "") in page and "1 done, 3 failed" in page

    second = results(root, out)
    assert second["scene001"].status == "failed"
    assert "--retry-failed tries again" in (second["scene001"].reason or "")
    with sqlite3.connect(out / "batch.sqlite") as database:
        database.execute("UPDATE scenes SET reason = 'of then' WHERE status = 'failed'")
    database.close()
    assert "of then" in (results(root, out)["scene001"].reason or "")
    assert "of then" not in (results(root, out, retry_failed=True)["scene001"].reason or "")
    shutil.copy(root / "scene000" / "over.png", root / "scene001" / "over.png")  # mended: needs no request
    assert results(root, out)["scene001"].status == "done"


def test_scenes_have_options_formats_and_notes_of_their_own(root: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (64, 64), np.uint16)
    Image.fromarray(deep).save(root / "scene000" / "over.png")
    manifest = tmp_path / "all.jsonl"
    lines = [
        {"scene": "plain", "sources": [f"root/scene000/{name}.png" for name in ("over", "under")]},
        {"scene": "wrong", "sources": ["root/scene001/over.png"] * 2, "options": {"task": "sleep"}},
        {"scene": "lost", "sources": ["root/scene002/over.png"] * 2, "options": {"weights": "nobody"}},
    ]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    found = results(manifest, tmp_path / "out", format="jpg")
    assert found["plain"].output == str(tmp_path / "out" / "plain.jpg")
    assert any("JPEG holds 8 bits" in note for note in found["plain"].notes)
    assert "task came as 'sleep'" in (found["wrong"].reason or "")
    assert "nobody" in (found["lost"].reason or "")


def test_what_meets_all_scenes_ends_the_batch(root: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nobody"):
        results(root, tmp_path / "out", weights="nobody")
    with pytest.raises(OptionError, match="task came as 'sleep'"):
        results(root, tmp_path / "out", task="sleep")
    with pytest.raises(ImageError, match=r"suffix \.gif"):
        results(root, tmp_path / "out", format="gif")
    with pytest.raises(BatchError, match="no executor 'ray'; expected local or dask"):
        defusion.batch(root, tmp_path / "out", executor="ray")
    with pytest.raises(BatchError, match="scheduler came with executor local"):
        defusion.batch(root, tmp_path / "out", scheduler="tcp://127.0.0.1:1")
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="is a file, expected a folder"):
        results(root, tmp_path / "file")


def test_two_batches_do_not_share_a_journal(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        Journal(tmp_path / "out" / "batch.sqlite"),
        pytest.raises(BatchError, match="is in use by another batch"),
    ):
        results(root, tmp_path / "out")
    (tmp_path / "out" / "batch.sqlite").write_bytes(b"no database, but long enough to be looked at" * 99)
    with pytest.raises(BatchError, match="file is not a database"):
        results(root, tmp_path / "out")


def test_the_command_prints_a_line_a_scene(root: Path, tmp_path: Path) -> None:
    (root / "scene001" / "over.png").unlink()
    done = subprocess.run(
        command(root, "-o", tmp_path / "out", "--json", "--workers", 1), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    lines = {line["scene"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert all(list(line) == ["scene", "status", "output", "seconds", "reason"] for line in lines.values())
    good = lines["scene000"]
    assert (good["status"], good["output"], good["reason"]) == ("done", str(tmp_path / "out/scene000.png"), None)
    assert good["seconds"] > 0
    bad = lines["scene001"]
    assert (bad["status"], bad["output"]) == ("failed", None)
    assert bad["reason"].startswith("1 source came")
    assert done.stderr.splitlines()[-1] == "defusion: 1 of 3 scenes failed; all reasons are in report.html"
    shown = subprocess.run(command(root, "-o", tmp_path / "other", "--dry-run"), capture_output=True, text=True)
    assert "over.png, under.png" in shown.stdout and not (tmp_path / "other").exists()


@pytest.mark.parametrize(("scenes", "kills"), [(40, 3), pytest.param(200, 10, marks=pytest.mark.full)])
def test_killed_at_any_moment_a_batch_ends_as_if_undisturbed(tmp_path: Path, scenes: int, kills: int) -> None:
    made_scenes(tmp_path / "root", scenes)
    results(tmp_path / "root", tmp_path / "plain")
    rng, seen = random.Random(5), dict[str, int]()
    done: list[str] = []
    for run in range(kills + 1):
        arguments = command(tmp_path / "root", "-o", tmp_path / "out", "--json", "--workers", 2)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines, left = [], rng.randrange(1, max(scenes // (2 * kills), 2))
            while line := process.stdout.readline():  # until some are done: how long starting takes is chance
                lines.append(line)
                left -= json.loads(line)["status"] == "done"
                if run < kills and left == 0:
                    time.sleep(rng.uniform(0, 0.1))
                    process.kill()
        assert process.returncode == (-signal.SIGKILL if run < kills else 0)
        done += [line["scene"] for line in map(json.loads, lines) if line["status"] == "done"]
        time.sleep(0.2)  # its processes end with it
        now = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*.png")}
        assert now.items() >= seen.items()  # nothing was made twice
        seen = now
    assert max(Counter(done).values()) == 1
    assert pictures(tmp_path / "out") == pictures(tmp_path / "plain")
    assert not (tmp_path / "out" / ".batch").exists()


def test_a_scene_that_ends_its_process_fails_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed is replaced, and the scene of it that kills each time is given up."""
    killer = tmp_path / "site" / "sitecustomize.py"
    killer.parent.mkdir()
    killer.write_text(
        "import builtins, os, pathlib, signal\n"
        "opened = pathlib.Path.open\n"
        "def open(self, *arguments, **options):\n"
        "    if 'scene001' in str(self):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return opened(self, *arguments, **options)\n"
        "pathlib.Path.open = open\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{killer.parent}:{Path(defusion.__file__).parents[1]}")
    found = list(defusion.batch(root, tmp_path / "out", workers=2, align="off"))
    reasons = {result.scene: result.reason for result in found}
    assert reasons == {
        "scene000": None,
        "scene001": "its process ended 3 times (SIGKILL), as happens when memory runs out",
        "scene002": None,
    }


def test_a_full_disk_ends_the_batch_and_what_is_done_stays(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    usage = {"scene000": shutil.disk_usage(tmp_path)}
    begun: list[str] = []
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage.get(begun[-1], full))

    class HereExecutor(LocalExecutor):
        """Does all in this process."""

        def start(self, job: SceneJob) -> None:
            begun.append(job.scene)
            self.outcomes = [fuse_scene(job)]

        has_room = property(lambda self: not self.busy)
        busy = property(lambda self: bool(getattr(self, "outcomes", [])))

        def finished(self) -> list[JobOutcome]:
            outcomes, self.outcomes = self.outcomes, []
            return outcomes

    monkeypatch.setattr("defusion.batch.run.LocalExecutor", HereExecutor)
    batch = defusion.batch(root, tmp_path / "out", workers=1, align="off")
    assert next(batch).status == "done"
    with pytest.raises(
        BatchError, match=r"out/scene001\.png takes up to .* free some space .*finished scenes stay finished"
    ):
        next(batch)
    assert sorted(pictures(tmp_path / "out")) == ["scene000.png"]
    begun.append("scene000")
    monkeypatch.undo()
    assert sorted(each.status for each in results(root, tmp_path / "out").values()) == [
        *("done", "done", "skipped"),
    ]


@pytest.mark.parametrize(("free_bytes", "processes"), [(0, 1), (10**15, 3)])
def test_there_are_as_many_processes_as_memory_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, processes: int
) -> None:
    made_scenes(tmp_path / "root", 12)
    (core, *_) = psutil.Process().cpu_affinity()
    monkeypatch.setattr("defusion.batch.local._own_cores", lambda: [core] * 3)
    monkeypatch.setattr("defusion.batch.local.free_bytes", lambda: free_bytes)
    started = []
    start = local._started
    monkeypatch.setattr(local, "_started", lambda share, cores: started.append(len(cores)) or start(share, cores))
    assert all(each.status == "done" for each in defusion.batch(tmp_path / "root", tmp_path / "out", align="off"))
    # The first has a third of the cores; if there is memory for no other, it is replaced by one that has them all.
    assert started == ([1, 3] if processes == 1 else [1] * processes)


def test_an_interrupted_batch_leaves_nothing_half_written(tmp_path: Path) -> None:
    made_scenes(tmp_path / "root", 40)
    arguments = command(tmp_path / "root", "-o", tmp_path / "out", "--json", "--workers", 1)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert said.strip().splitlines()[-1].startswith("defusion: interrupted")
    assert 0 < len(pictures(tmp_path / "out")) < 40
    assert (tmp_path / "out" / "report.html").exists()
