"""Batches on a Dask cluster of two workers on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import defusion
from defusion import BatchError

from .conftest import made_scenes, pictures

distributed = pytest.importorskip("distributed", reason="engine dask needs the extra cluster")

# Dask leaves sockets to the collector when a worker is killed.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

STAYS = "finished scenes stay finished"


@pytest.fixture
def cluster() -> Iterator[Any]:
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as running, distributed.Client(running) as client:
        client.wait_for_workers(2)
        yield client


@pytest.mark.parametrize("scenes", [12, pytest.param(200, marks=pytest.mark.full)])
def test_a_lost_worker_loses_no_scene(cluster: Any, tmp_path: Path, scenes: int) -> None:
    made_scenes(tmp_path / "root", scenes)
    out = tmp_path / "out"
    assert all(
        each.status == "done"
        for each in defusion.batch(tmp_path / "root", tmp_path / "plain", workers=1, align="off")
    )
    (tmp_path / "root" / "scene004" / "over.png").write_bytes(b"no picture")
    worker = cluster.run(os.getpid)
    done: Counter[str] = Counter()
    for result in defusion.batch(tmp_path / "root", out, align="off", executor="dask", scheduler=cluster):
        done[result.scene, result.status] += 1
        if sum(done.values()) == scenes // 6:
            os.kill(next(iter(worker.values())), signal.SIGKILL)
            there = {file: file.stat().st_mtime_ns for file in out.glob("*.png")}
    assert done.pop(("scene004", "failed")) == 1
    assert done == {(f"scene{number:03}", "done"): 1 for number in range(scenes) if number != 4}
    assert {file: file.stat().st_mtime_ns for file in there} == there  # nothing was made twice
    plain = pictures(tmp_path / "plain")
    del plain["scene004.png"]
    assert pictures(out) == plain
    again = list(
        defusion.batch(tmp_path / "root", out, align="off", executor="dask", scheduler=cluster.scheduler.address)
    )
    assert Counter(each.status for each in again) == {"skipped": scenes - 1, "failed": 1}


def test_a_scheduler_that_is_not_there_is_one_sentence(root: Path, tmp_path: Path) -> None:
    code = "import defusion.batch.cluster as c; c._CONNECT_S = 0.5; from defusion.cli import main; main()"
    arguments = [
        "batch",
        str(root),
        "-o",
        str(tmp_path / "out"),
        "--engine",
        "dask",
        "--scheduler",
        "tcp://127.0.0.1:9",
    ]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("defusion: there is no Dask scheduler at tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()
    with pytest.raises(BatchError, match="a number of workers came with executor dask"):
        defusion.batch(root, tmp_path / "out", executor="dask", workers=2)


def test_a_scheduler_that_goes_ends_the_batch_with_one_sentence(tmp_path: Path) -> None:
    """What was done stays done, and the rest is not called failed."""
    made_scenes(tmp_path / "more", 12)
    schedule = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*schedule, "--host", "127.0.0.1", "--scheduler-file", str(file)], **quiet) as scheduler:
        work = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--no-dashboard"]
        with subprocess.Popen([*work, "--nthreads", "1", "--no-nanny"], **quiet) as worker:
            while not file.exists():
                time.sleep(0.1)
            address = json.loads(file.read_text())["address"]
            arguments = ["batch", str(tmp_path / "more"), "-o", str(tmp_path / "out"), "--json", "--align", "off"]
            command = [sys.executable, "-m", "defusion", *arguments, "--executor", "dask", "--scheduler", address]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as batch:
                assert batch.stdout is not None
                first = json.loads(batch.stdout.readline())
                scheduler.kill()
                printed, said = batch.communicate()
            worker.kill()
    assert batch.returncode == 2, said
    told = [line for line in said.splitlines() if line.startswith("defusion:")]  # Dask logs lines of its own
    assert told == [f"defusion: the Dask scheduler at {address} is gone; start both again: {STAYS}"]
    assert {first["status"], *(json.loads(line)["status"] for line in printed.splitlines())} == {"done"}
