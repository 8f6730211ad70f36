"""Batches on a Dask cluster of two workers on this machine."""

import os
import signal
import subprocess
import sys
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


@pytest.fixture
def cluster() -> Iterator[Any]:
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as running, distributed.Client(running) as client:
        client.wait_for_workers(2)
        yield client


def test_a_lost_worker_loses_no_scene(cluster: Any, tmp_path: Path) -> None:
    made_scenes(tmp_path / "root", 12)
    out = tmp_path / "out"
    assert all(each.status == "done" for each in defusion.batch(tmp_path / "root", tmp_path / "plain", workers=1))
    (tmp_path / "root" / "scene004" / "over.png").write_bytes(b"no picture")
    worker = cluster.run(os.getpid)
    done: Counter[str] = Counter()
    for result in defusion.batch(tmp_path / "root", out, engine="dask", scheduler=cluster):
        done[result.scene, result.status] += 1
        if sum(done.values()) == 2:
            os.kill(next(iter(worker.values())), signal.SIGKILL)
    assert done.pop(("scene004", "failed")) == 1
    assert done == {(f"scene{number:03}", "done"): 1 for number in range(12) if number != 4}
    plain = pictures(tmp_path / "plain")
    del plain["scene004.png"]
    assert pictures(out) == plain
    again = list(defusion.batch(tmp_path / "root", out, engine="dask", scheduler=cluster.scheduler.address))
    assert Counter(each.status for each in again) == {"skipped": 11, "failed": 1}


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
    with pytest.raises(BatchError, match="a number of workers came with engine dask"):
        defusion.batch(root, tmp_path / "out", engine="dask", workers=2)
