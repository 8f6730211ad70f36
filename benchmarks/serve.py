"""Measures how long `defusion serve` takes to its first answer, and what HTTP adds to a pair of a megapixel.

    python benchmarks/serve.py

"In memory" means `fuse_files` with the same files as over HTTP, two PNGs in and one out. So both read and
write files.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np

from defusion.api.fuser import Fuser
from defusion.imaging import from_array, write

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


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = pair(folder)
        since = time.perf_counter()
        command = [sys.executable, "-m", "defusion", "serve", "--port", "0"]
        service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert service.stderr is not None
        address = next(found[0] for line in service.stderr if (found := re.search(r"http://[\w.:]+", line)))
        while not answers(f"{address}/healthz"):
            time.sleep(0.01)
        print(f"first answer after {time.perf_counter() - since:.2f} s")
        while not answers(f"{address}/readyz"):
            time.sleep(0.05)
        print(f"network loaded after {time.perf_counter() - since:.2f} s")

        fuser = Fuser()
        client = httpx2.Client(timeout=300)

        def over_http() -> None:
            sent = [("sources", (file.name, file.read_bytes())) for file in files]
            client.post(f"{address}/v1/fuse", files=sent).raise_for_status()

        def in_memory() -> None:
            fuser.fuse_files(
                files,
                folder / "fused.png",
            )

        for warm in (over_http, in_memory):
            warm()
        http, memory = median_seconds(over_http), median_seconds(in_memory)
        print(f"a pair of a megapixel: {memory:.3f} s in memory, {http:.3f} s over HTTP, {http / memory:.2f} times")
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
