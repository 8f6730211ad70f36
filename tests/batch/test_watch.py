"""A folder that grows."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event, Timer

import pytest

import defusion
from defusion.batch.scenes import BatchScene
from defusion.batch.watch import Settling

from .conftest import made_scenes


def test_files_count_once_they_have_stood_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("defusion.batch.watch.time.monotonic", lambda: now[0])
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    a.write_bytes(b"1")
    scene = BatchScene("scene", (str(a), str(b)))
    settling = Settling(settle_s=2)
    assert settling.settled([scene]) == []
    now[0] += 3  # b is not there yet
    assert settling.settled([scene]) == []
    b.write_bytes(b"1")
    assert settling.settled([scene]) == []
    now[0] += 1.5
    b.write_bytes(b"12")  # it grows
    assert settling.settled([scene]) == []
    now[0] += 1.5
    assert settling.settled([scene]) == [] and settling.waits
    now[0] += 0.6
    assert settling.settled([scene]) == [scene] and not settling.waits
    assert settling.settled([BatchScene("empty", ())]) == []


def test_scenes_that_appear_are_fused_until_it_is_told_to_stop(tmp_path: Path) -> None:
    made_scenes(tmp_path / "made", 2)
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    arguments = ["batch", str(root), "-o", str(out), "--watch", "--json", "--workers", "1", "--align", "off"]
    command = [sys.executable, "-m", "defusion", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for scene in ("scene000", "scene001"):
            shutil.copytree(tmp_path / "made" / scene, root / scene)
            line = json.loads(process.stdout.readline())
            assert (line["scene"], line["status"]) == (scene, "done")
        process.send_signal(signal.SIGTERM)
        printed, said = process.communicate(timeout=120)
    assert (process.returncode, printed, said) == (0, "", "")
    assert sorted(file.name for file in out.glob("*.png")) == ["scene000.png", "scene001.png"]
    assert "2 done, 0 failed" in (out / "report.html").read_text()


def test_polling_finds_what_no_event_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems over a network: nothing is told, and a manifest is half written for a while."""
    made_scenes(tmp_path / "root", 1)
    manifest = tmp_path / "all.csv"
    manifest.write_text("scene,sources\n")
    monkeypatch.setattr("watchfiles.watch", lambda *folders, **options: iter(set, None))
    monkeypatch.setattr("defusion.batch.watch.LOOK_S", 0.1)
    manifest.write_text("scene,sources\none,root/scene000/over.png;root/scene000/under.png\n")
    stop = Event()
    results = []
    for result in defusion.batch(manifest, tmp_path / "out", watch=True, stop=stop, workers=1, align="off"):
        results.append((result.scene, result.status))
        manifest.write_text("half")
        Timer(0.5, stop.set).start()
    assert results == [("one", "done")]
