"""Fuses many pairs by `defusion batch`, by shell loops and by Dask tasks, and measures pairs per second and memory.

    python benchmarks/batch.py [--pairs 64] [--loops 8] [--many 10000] [--folder DIR] [-o BATCH.md]

Pairs of exposures of 1024x1024, PNG in and out, are made of a free photograph in DIR and go at the end. All ways run
one after the other, in the same run, on the cores that this process may use:

- in memory: `Fuser.fuse` of arrays, again and again, which is what batches are to come near;
- `defusion batch --workers N`: from the first result to the last, and with starting and stopping;
- shell loops over `--loops` pairs: `defusion fuse`, `enfuse`, and both by GNU parallel, where they are on PATH;
- stages of a pair on one core: read, fuse, write; what the command itself does a scene, with an idle executor;
- a Dask task that does nothing, on a worker of this machine;
- `--many` pairs of 256x256: memory of the command and of its processes along the way.

More workers are not measured but modelled, and the table says so: each gives a pair in the time that one of two gave,
until the command itself can hand out no more. It is taken that storage and memory keep up.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image
from skimage.data import astronaut

import defusion
from defusion import Fuser
from defusion.api.options import DEFAULTS
from defusion.api.sources import AS_USUAL, frames_of
from defusion.batch.finding import Finder
from defusion.batch.run import BatchSettings, run
from defusion.batch.work import JobOutcome, SceneJob
from defusion.imaging import read, write
from defusion.system.machine import cores, processor

MODELLED = (4, 8, 64)
MILLION = 1_000_000
DASK_TASKS = 500

#: Stops of light that the exposures of a pair differ by.
EXPOSURES = {"over": 1.5, "under": -1.5}


class Rate(NamedTuple):
    """Speed of a batch, in pairs per second."""

    steady: float
    """Measured from the first result on."""
    whole: float
    """Includes the start and the end."""


class Memory(NamedTuple):
    """Memory of the command and its processes together, in MB."""

    command: float
    processes: float


def make(root: Path, count: int, side: int) -> Path:
    """Writes `count` pairs of exposures. Each shows another part of a photograph."""
    rng = np.random.default_rng(0)
    photograph = np.tile(np.concatenate([astronaut(), astronaut()[:, ::-1]], 1), (3, 2, 1))
    light = (np.arange(256) / 255) ** 2.2
    tones = {name: np.clip(light * 2**stops, 0, 1) ** (1 / 2.2) * 255 for name, stops in EXPOSURES.items()}
    exposed = {name: of_level.astype(np.uint8)[photograph] for name, of_level in tones.items()}
    for number in range(count):
        top, left = (int(rng.integers(length - side)) for length in photograph.shape[:2])
        folder = root / f"{number:06}"
        folder.mkdir(parents=True)
        for name, whole in exposed.items():
            part = Image.fromarray(whole[top : top + side, left : left + side])
            part.save(folder / f"{name}.png", compress_level=1)
    return root


def in_memory(root: Path, repeats: int = 9) -> float:
    """Returns the seconds that a pair takes as arrays, on all cores."""
    arrays = [np.asarray(read(file).samples) for file in sorted((root / "000000").iterdir())]
    fuser = Fuser()
    fuser.fuse(arrays)
    return median_seconds(lambda: fuser.fuse(arrays), repeats)


def stages(root: Path, folder: Path, repeats: int = 9) -> dict[str, float]:
    """Returns the seconds of each stage of a pair, on one core."""
    process = psutil.Process()
    own = process.cpu_affinity()
    process.cpu_affinity(own[:1])
    try:
        files = sorted((root / "000000").iterdir())
        fuser = Fuser()
        frames = [frame.kept() for frame in frames_of(files)]
        picture = fuser.fuse_frames(frames).picture()
        return {
            "read": median_seconds(lambda: [read(file).region(slice(None), slice(None)) for file in files], repeats),
            "fuse": median_seconds(lambda: fuser.fuse_frames(frames).picture(), repeats),
            "write": median_seconds(lambda: write(folder / "stage.png", picture), repeats),
        }
    finally:
        process.cpu_affinity(own)


def by_batch(root: Path, output: Path, workers: int, look: Callable[[int], None] = lambda done: None) -> Rate:
    """Runs a batch and calls `look` whenever a scene is done."""
    started, times = time.perf_counter(), []
    for result in defusion.batch(root, output, workers=workers):
        assert result.status == "done", result
        times.append(time.perf_counter())
        look(len(times))
    ended = time.perf_counter()
    shutil.rmtree(output)
    return Rate((len(times) - 1) / (times[-1] - times[0]), len(times) / (ended - started))


def by_shell(root: Path, folder: Path, count: int) -> dict[str, float]:
    """Returns the pairs per second of shell loops, for those tools that are on PATH."""
    tools = {"defusion fuse": f"{sys.executable} -m defusion fuse {{}}/over.png {{}}/under.png -o {folder}/loop.png"}
    if shutil.which("enfuse"):
        tools["enfuse"] = f"enfuse -o {folder}/loop.tif {{}}/over.png {{}}/under.png"
    scenes = sorted(root.iterdir())[:count]
    rates = {}
    for name, line in tools.items():
        loop = "\n".join(line.replace("{}", str(scene)) for scene in scenes)
        ways = {f"a shell loop of `{name}`": ["sh", "-e", "-c", loop]}
        if shutil.which("parallel"):
            beside = line.replace("/loop.", "/loop{#}.")
            ways[f"GNU parallel of `{name}`"] = ["parallel", f"-j{cores()}", beside, ":::", *map(str, scenes)]
        for way, command in ways.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            rates[way] = count / (time.perf_counter() - started)
    return rates


class IdleExecutor:
    """A transport for which all work is done at once."""

    def __init__(self) -> None:
        self.outcomes: list[JobOutcome] = []

    @property
    def has_room(self) -> bool:
        """Returns True, so that the batch reads an answer after each scene."""
        return not self.outcomes

    @property
    def busy(self) -> bool:
        """Returns whether an answer is waiting."""
        return bool(self.outcomes)

    def start(self, job: SceneJob) -> None:
        """Does nothing."""
        self.outcomes.append(JobOutcome(job.scene, 0.0, "key", "sha256", "stamp"))

    def finished(self) -> list[JobOutcome]:
        """Returns an answer that says the scene is done."""
        outcomes, self.outcomes = self.outcomes, []
        return outcomes

    def close(self) -> None:
        """Does nothing: there is no process to end."""


def of_command(root: Path, output: Path) -> float:
    """Returns the seconds per scene that the command itself takes."""
    finder = Finder(root, str(output), ".png")
    started = time.perf_counter()
    found = finder.find()
    settings = BatchSettings(str(output), ".png", DEFAULTS, AS_USUAL, retry_failed=False, journal=None)
    for _ in run(finder, found, settings, IdleExecutor(), watch=False, stop=Event()):
        pass
    seconds = (time.perf_counter() - started) / len(found.scenes)
    shutil.rmtree(output)
    return seconds


def of_dask_task() -> float | None:
    """Returns the seconds that a Dask task adds to its work, or None if Dask is not installed."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError:
        return None
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.submit(abs, -1).result()
        started = time.perf_counter()
        done = as_completed([client.submit(abs, -number, pure=False) for number in range(2)])
        for number, future in enumerate(done):
            future.result()
            if number < DASK_TASKS - 2:
                done.add(client.submit(abs, -number, pure=False))
        return (time.perf_counter() - started) / DASK_TASKS


def memory_now() -> Memory:
    """Returns the memory of this process, which stands for the command, and its children."""
    own = psutil.Process()
    children = [each for each in own.children(recursive=True) if each.is_running()]
    return Memory(own.memory_info().rss / 1e6, sum(each.memory_info().rss for each in children) / 1e6)


def median_seconds(do: Callable[[], object], repeats: int) -> float:
    def once() -> float:
        started = time.perf_counter()
        do()
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(repeats))


def lines(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Measures, and yields the table line by line."""
    root = make(folder / "pairs", arguments.pairs, 1024)
    many = make(folder / "many", arguments.many, 256)
    yield f"{processor()}, {cores()} cores; {arguments.pairs} pairs of 1024x1024, {arguments.loops} in loops.\n"
    yield "| way | pairs/s | seconds a pair |"
    yield "|---|---|---|"
    memory_s = in_memory(root)
    yield f"| in memory, one process, all cores | {1 / memory_s:.2f} | {memory_s:.3f} |"
    rates = {workers: by_batch(root, folder / "out", workers) for workers in (1, 2)}
    for workers, rate in rates.items():
        ratio = f"{1 / rate.steady:.3f}, {1 / rate.steady / memory_s:.2f} times that in memory"
        yield f"| `defusion batch --workers {workers}` | {rate.steady:.2f} | {ratio} |"
        yield f"| the same with starting and stopping | {rate.whole:.2f} | {1 / rate.whole:.3f} |"
    for way, per_second in by_shell(root, folder, arguments.loops).items():
        yield f"| {way} | {per_second:.2f} | {1 / per_second:.3f} |"
    command_s = of_command(many, folder / "out")
    each_s = 2 / rates[2].steady
    for workers in MODELLED:
        modelled = min(workers / each_s, 1 / command_s)
        yield f"| model of {workers} workers on as many cores | {modelled:.1f} | {1 / modelled:.4f} |"
    of_stages = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in stages(root, folder).items())
    yield f"\nA pair on one core: {of_stages}. The command itself takes {command_s * 1e3:.2f} ms a scene."
    if (task_s := of_dask_task()) is not None:
        yield f"A Dask task that does nothing takes {task_s * 1e3:.1f} ms on this machine."
    days = {workers: MILLION / min(workers / each_s, 1 / command_s) / 86400 for workers in (2, *MODELLED)}
    told = ", ".join(f"{each:.2f} days with {workers} workers" for workers, each in days.items())
    yield f"A million such pairs by that model: {told}; storage, memory and network taken to keep up.\n"
    shutil.rmtree(root)
    seen: dict[int, Memory] = {}

    def look(done: int) -> None:
        if done % max(arguments.many // 10, 1) == 0:
            seen[done] = memory_now()

    rate = by_batch(many, folder / "out", min(2, cores()), look)
    yield f"{arguments.many} pairs of 256x256 by {min(2, cores())} workers: {rate.steady:.1f} pairs/s.\n"
    yield "| done | command, MB | its processes, MB |"
    yield "|---|---|---|"
    for done, memory in seen.items():
        yield f"| {done} | {memory.command:.0f} | {memory.processes:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--loops", type=int, default=8)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        table = []
        for line in lines(arguments, Path(folder)):
            print(line, flush=True)
            table.append(line)
    if arguments.output:
        arguments.output.write_text("# Many pairs\n\n" + "\n".join(table) + "\n")


if __name__ == "__main__":
    main()
