"""Measures how long `defusion serve` takes to its first answer, and what HTTP adds to a pair of a megapixel.

    python benchmarks/serve.py [-o SERVE.md]

"In memory" means `fuse_files` with the same files as over HTTP, two PNGs in and one out. So both read and
write files.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import httpx2
import numpy as np

from defusion.api.fuser import Fuser
from defusion.imaging import from_array, write
from defusion.system.machine import cores, processor

RUNS = 15


def pair(folder: Path) -> list[Path]:
    scene = np.random.default_rng(0).integers(0, 256, (25, 40, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    files = [folder / "dark.png", folder / "bright.png"]
    for file, light in zip(files, (0.4, 1.0), strict=True):
        write(file, from_array((light * scene).astype(np.uint8)))
    return files


def median_seconds(do: Callable[[], object]) -> float:
    seconds = []
    for _ in range(RUNS):
        since = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - since)
    return statistics.median(seconds)


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address).close()
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


class Seconds(NamedTuple):
    """What was measured."""

    first_answer: float
    """From the start of the command."""
    network_loaded: float
    """From the start of the command, too."""
    in_memory: float
    over_http: float


def measured() -> Seconds:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = pair(folder)
        since = time.perf_counter()
        command = [sys.executable, "-m", "defusion", "serve", "--port", "0"]
        service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert service.stderr is not None
            address = next(found[0] for line in service.stderr if (found := re.search(r"http://[\w.:]+", line)))
            while not answers(f"{address}/healthz"):
                time.sleep(0.01)
            first_answer = time.perf_counter() - since
            while not answers(f"{address}/readyz"):
                time.sleep(0.05)
            network_loaded = time.perf_counter() - since
            fuser = Fuser()
            client = httpx2.Client(timeout=300)

            def over_http() -> None:
                sent = [("sources", (file.name, file.read_bytes())) for file in files]
                client.post(f"{address}/v1/fuse", files=sent).raise_for_status()

            def in_memory() -> None:
                fuser.fuse_files(files, folder / "fused.png")

            for warm in (over_http, in_memory):
                warm()
            return Seconds(first_answer, network_loaded, median_seconds(in_memory), median_seconds(over_http))
        finally:
            service.terminate()
            service.wait()


def table(found: Seconds) -> str:
    packages = (("OpenVINO", "openvino"), ("Starlette", "starlette"), ("uvicorn", "uvicorn"))
    versions = ", ".join(f"{name} {version(package).split('-')[0]}" for name, package in packages)
    return f"""{processor()}, {cores()} cores; Python {platform.python_version()}, {versions}.

`python benchmarks/serve.py`; medians of {RUNS}:

| what | seconds |
|---|---|
| from the start of the command to its first answer | {found.first_answer:.2f} |
| from the start to a loaded network | {found.network_loaded:.2f} |
| a pair of a megapixel, from files to a file in the same process | {found.in_memory:.3f} |
| the same pair over HTTP | {found.over_http:.3f}, {found.over_http / found.in_memory:.2f} times as long |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    text = table(measured())
    print(text)
    if arguments.output:
        arguments.output.write_text(f"# The service\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
