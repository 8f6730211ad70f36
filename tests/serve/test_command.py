"""The command: it says where it is, ends in good order, and leaves nothing, even when it is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")

Start = Callable[..., "tuple[subprocess.Popen[str], str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the command with temporary files of its own, and returns the process and its address."""
    processes = []

    def started(*options: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "defusion", "serve", "--port", "0", *options]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                return process, found[0]
        raise AssertionError("the command has ended")

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def folders(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("defusion-serve-*"))


def gone(tmp_path: Path) -> bool:
    end = time.monotonic() + 20
    while folders(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    return not folders(tmp_path)


def test_it_answers_and_ends_in_good_order(start: Start, tmp_path: Path) -> None:
    process, address = start()
    with urllib.request.urlopen(f"{address}/healthz") as answer:
        assert answer.read() == b"ok\n"
    assert len(folders(tmp_path)) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert gone(tmp_path)


def test_killed_it_leaves_nothing(start: Start, tmp_path: Path) -> None:
    process, address = start("--token", "t")
    assert address.endswith("/#token=t")
    end = time.monotonic() + 60
    while time.monotonic() < end:  # until the workers listen, who tidy up
        with urllib.request.urlopen(f"{address.partition('#')[0]}healthz") as answer:
            assert answer.status == 200
        if ready(address):
            break
        time.sleep(0.1)
    process.kill()
    assert gone(tmp_path)


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address.partition('#')[0]}readyz") as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def test_an_address_that_is_taken_is_told(start: Start) -> None:
    _, address = start()
    port = address.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "defusion", "serve", "--port", port]
    other = subprocess.run(command, capture_output=True, text=True)
    assert other.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in other.stderr and "Traceback" not in other.stderr
