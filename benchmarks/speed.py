"""Compares the speed and memory of one fusion by defusion and by other tools, in one run.

    python benchmarks/speed.py [--sizes 0.25 1 12 24 100] [--ways ...] [--rounds 7] [-o TABLE.md] [--plot PLOT.png]

Ways that are whole processes read and write files. All other ways take and return arrays, uint16 HxWx3, in a process
that has loaded the network already. Only the ways that run the paper's network do equal work. The table says what
each way computes.

Each way has a process of its own, so that its peak memory can be read. After a warm-up the ways take turns, so that a
machine that slows down slows all of them. A way has `--rounds` turns, fewer above 4 megapixels, and none that would
bring its total above `TURNS_S`: all sizes should take twenty minutes on two cores. A way that runs the whole plane at
once is left out if memory would not suffice, judged by what it took at the size before.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from speed_ways import (
    EQUAL_WORK,
    SIZES,
    WARM_MP,
    WAYS,
    WHOLE_PLANE,
    WHOLE_PROCESS,
    Difference,
    Job,
    difference,
    export,
    make_pair,
    planned,
    work,
)

from defusion.system.machine import free_bytes, processor

REFERENCE = "paper-float32"
OURS = ("paper-float32", "paper-bfloat16", "paper-float16", "default")
#: Rounds of pictures above 4 megapixels, at most.
LARGE_ROUNDS = 3
#: A way gets no further turn at a size that would bring the seconds of all its turns over this.
TURNS_S = 60
#: The part of the free memory that all ways together may take.
MEMORY_PART = 0.7
#: Markers in the plot, one for each way.
MARKERS = "osD^v<>PXh"
#: Between turns, so that no pool of threads still spins when the next way is timed.
PAUSE_S = 0.3
SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """A warmed-up way in a process of its own. `problem` says why it failed, if it did."""

    def __init__(self, job: Job) -> None:
        say(f"{job.size} MP, {job.way}: warming up")
        self.job = job
        self.problem: str | None = None
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=work, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def fuse(self) -> float:
        """Fuses once more and returns the seconds."""
        time.sleep(PAUSE_S)
        seconds = self._answer(request=True)
        say(f"{self.job.size} MP, {self.job.way}: {seconds:.3f} s")
        return seconds

    def end(self) -> float:
        """Ends the process and returns its peak memory in MB."""
        peak_mb = self._answer(request=False)
        self._process.join()
        return peak_mb

    def _answer(self, request: bool | None = None) -> float:
        try:
            if request is not None:
                self._pipe.send(request)
            answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            answer = f"its process ended with {self._process.exitcode}; where that is -9, for want of memory"
        if isinstance(answer, str):
            self.problem = answer
            return math.nan
        return answer


@dataclass
class Measured:
    """The seconds and memory of one way at one size."""

    way: str
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = math.nan
    difference: Difference | None = None


@dataclass(frozen=True)
class Table:
    """All ways at one size, and why some are missing."""

    size: str
    plan: str
    """The task that `defusion` chooses for the pair, and why."""
    rows: list[Measured]
    left_out: dict[str, str]

    @property
    def megapixels(self) -> float:
        """Exact megapixels of the pictures."""
        return math.prod(SIZES[self.size]) / 1e6


def measure(jobs: Mapping[str, Job], rounds: int, before: Sequence[Table]) -> Table:
    """Measures all ways at one size."""
    job = next(iter(jobs.values()))
    left_out = prepare(jobs, before)
    plan = apart(planned, job)
    workers = [Worker(job) for way, job in jobs.items() if way not in left_out]
    measured = take_turns(workers, rounds)
    left_out |= {worker.job.way: worker.problem for worker in workers if worker.problem}
    rows = [row for row in measured if row.way not in left_out]
    compare(jobs, rows)
    for job in jobs.values():
        job.fused.unlink(missing_ok=True)
    return Table(job.size, plan, rows, left_out)


def prepare(jobs: Mapping[str, Job], before: Sequence[Table]) -> dict[str, str]:
    """Writes the files that the ways need. Returns the ways that cannot run, and why."""
    job = next(iter(jobs.values()))
    if not all(source.exists() for source in job.sources):
        apart(make_pair, job)
    left_out = too_large(jobs, float(job.size), before)
    if "onnxruntime" in jobs and "onnxruntime" not in left_out:
        try:
            apart(export, job)
        except Exception as error:
            left_out["onnxruntime"] = f"no export: {error}"
    return left_out


def too_large(ways: Iterable[str], megapixels: float, before: Sequence[Table]) -> dict[str, str]:
    """Returns the ways that would need too much memory, judged by the largest size before."""
    free_gb = MEMORY_PART * free_bytes() / 1e9
    left_out = {}
    for way in (each for each in ways if each in WHOLE_PLANE):
        taken = [(table.megapixels, row.peak_mb / 1e3) for table in before for row in table.rows if row.way == way]
        if not taken:
            if before:
                left_out[way] = "it did not run at the size before"
            continue
        measured_mp, measured_gb = max(taken)
        needed_gb = measured_gb * megapixels / measured_mp
        if needed_gb > free_gb:
            left_out[way] = (
                f"the whole plane at once would take about {needed_gb:.0f} GB, by the {measured_gb:.1f} GB of "
                f"{measured_mp:.1f} MP; {free_gb:.0f} GB are there for it"
            )
        else:
            free_gb -= needed_gb
    return left_out


def take_turns(workers: Sequence[Worker], rounds: int) -> list[Measured]:
    rows = [Measured(worker.job.way) for worker in workers]
    for _ in range(rounds):
        for worker, row in zip(workers, rows, strict=True):
            next_s = statistics.mean(row.seconds) if row.seconds else 0
            if not worker.problem and (not row.seconds or sum(row.seconds) + next_s <= TURNS_S):
                row.seconds.append(worker.fuse())
    for worker, row in zip(workers, rows, strict=True):
        if not worker.problem:
            row.peak_mb = worker.end()
    return rows


def compare(jobs: Mapping[str, Job], rows: Sequence[Measured]) -> None:
    """Compares the pictures of ways that do equal work with those of our float32."""
    if REFERENCE not in [row.way for row in rows]:
        return
    for row in rows:
        if row.way in EQUAL_WORK and row.way != REFERENCE:
            row.difference = apart(difference, jobs[row.way].fused, jobs[REFERENCE].fused)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own, so that this one stays small."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(function, *arguments).result()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def machine() -> str:
    """Describes the machine and the versions of software behind the figures."""
    packages = ("defusion", "torch", "openvino", "onnxruntime", "opencv-python-headless", "numpy")
    versions = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    if enfuse := shutil.which("enfuse"):
        said = subprocess.run([enfuse, "--version"], capture_output=True, text=True, check=True).stdout
        versions.append(said.splitlines()[0])
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{os.cpu_count()} cores, {processor()}, {memory_gb:.0f} GB of memory; {', '.join(versions)}."


def legend() -> str:
    """Describes what each way computes."""
    lines = [f"- {label}: {computes}." for label, computes in WAYS.values()]
    equal = ", ".join(WAYS[way].label.strip("*") for way in EQUAL_WORK)
    return "\n".join(
        [
            "What each way computes:",
            "",
            *lines,
            "",
            f"Equal work, but for the parts that eager torch alone paints: {equal}. Among these the ratio to eager "
            "torch means a faster network; for all others it mostly means less work. PSNR is given between equals.",
        ]
    )


def markdown(table: Table) -> str:
    width, height = SIZES[table.size]
    warm = "after one warm-up" if float(table.size) <= WARM_MP else "after a warm-up on a corner"
    lines = [
        f"## {table.size} MP ({width}x{height}), medians {warm}",
        "",
        table.plan,
        "",
        "| way | seconds (min to max) | turns | MP/s | peak MB | times as fast as eager torch | PSNR to float32, dB "
        "| largest difference, of 255 |",
        "|---|---|---|---|---|---|---|---|",
        *(row_of(row, table) for row in table.rows),
    ]
    missing = [f"- Not run: {WAYS[way].label}: {reason}" for way, reason in table.left_out.items()]
    return "\n".join([*lines, *([""] if missing else []), *missing, ""])


def row_of(row: Measured, table: Table) -> str:
    seconds = statistics.median(row.seconds)
    peer = next((each for each in table.rows if each.way == "eager"), None)
    cells = [
        WAYS[row.way].label,
        f"{seconds:.3f} ({min(row.seconds):.3f} to {max(row.seconds):.3f})",
        f"{len(row.seconds)}",
        f"{table.megapixels / seconds:.2f}",
        f"{row.peak_mb:.0f}",
        f"{statistics.median(peer.seconds) / seconds:.2f}" if peer else "",
        f"{row.difference.psnr_db:.1f}" if row.difference else "",
        f"{row.difference.largest_of_255:.3f}" if row.difference else "",
    ]
    return f"| {' | '.join(cells)} |"


def draw(tables: Sequence[Table], output: Path) -> None:
    """Draws seconds and memory over the size, with one line for each way."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (seconds, memory) = plt.subplots(1, 2, figsize=(13, 6.5), layout="constrained")
    for number, way in enumerate(dict.fromkeys(row.way for table in tables for row in table.rows)):
        points = [(table.megapixels, row) for table in tables for row in table.rows if row.way == way]
        sizes, rows = zip(*points, strict=True)
        style = {
            "color": f"C{number}",
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 7,
            "linestyle": "--" if way in WHOLE_PROCESS else "-",
            "linewidth": 2.8 if way in OURS else 1.4,
        }
        medians = [statistics.median(row.seconds) for row in rows]
        seconds.plot(sizes, medians, label=WAYS[way].label.replace("*", ""), **style)
        memory.plot(sizes, [row.peak_mb for row in rows], **style)
    for axes, title in ((seconds, "seconds a fusion, median"), (memory, "peak memory of the process, MB")):
        axes.set(xlabel="megapixels", title=title, xscale="log", yscale="log")
        axes.set_xticks([table.megapixels for table in tables], [table.size for table in tables])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4)
    figure.savefig(output, dpi=120)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=legend(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="megapixels")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=7, help=f"above 4 megapixels at most {LARGE_ROUNDS}")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    pictures = Path(tempfile.gettempdir()) / "defusion-speed"
    pictures.mkdir(exist_ok=True)
    tables: list[Table] = []
    text = f"# Speed and memory of one fusion\n\n{machine()}\n\n{legend()}\n"
    with tempfile.TemporaryDirectory() as scratch:
        for size in options.sizes:
            jobs = {way: Job(way, size, pictures, Path(scratch)) for way in options.ways}
            rounds = min(options.rounds, LARGE_ROUNDS) if float(size) > 4 else options.rounds
            tables.append(measure(jobs, rounds, tables))
            text += "\n" + markdown(tables[-1])
            if options.output:  # after each size: the largest takes the longest
                options.output.write_text(text, encoding="utf-8")
            if options.plot:
                apart(draw, tables, options.plot)
    print(text, end="")


if __name__ == "__main__":
    main()
