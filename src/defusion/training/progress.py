"""Progress of training on stderr: samples a second, time left, the errors of the last step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from defusion.training.run import TrainingProgress

#: Where stderr is no terminal, as in the log of a cluster, a line is written this often.
LOG_EVERY_S = 30.0


@contextmanager
def progress_bar() -> Iterator[Callable[[TrainingProgress], None]]:
    """Gives the callable that `train` reports to: a bar in a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from _bar(console)
    else:
        yield _lines(console)


def _bar(console: Console) -> Iterator[Callable[[TrainingProgress], None]]:
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[rate]:.1f} samples/s,"),
        TimeRemainingColumn(),
        TextColumn("left  {task.fields[errors]}"),
    )
    bar = Progress(*columns, console=console)
    task = bar.add_task("train", total=None, rate=0.0, errors="")

    def report(progress: TrainingProgress) -> None:
        bar.start()  # not before the first step: until then an error may have to be said
        rate, errors = progress.samples_per_second, _errors(progress)
        bar.update(task, completed=progress.step, total=progress.steps, rate=rate, errors=errors)

    try:
        yield report
    finally:
        bar.stop()


def _lines(console: Console) -> Callable[[TrainingProgress], None]:
    began: float | None = None
    first = 0
    written = 0.0

    def report(progress: TrainingProgress) -> None:
        nonlocal began, first, written
        now = time.monotonic()
        if began is None:
            began, first = now, progress.step
        if now - written < LOG_EVERY_S and progress.step < progress.steps:
            return
        written = now
        steps_done = max(progress.step - first, 1)
        left = timedelta(seconds=round((now - began) / steps_done * (progress.steps - progress.step)))
        console.print(
            f"step {progress.step}/{progress.steps}  {progress.samples_per_second:.1f} samples/s, {left} left  "
            f"{_errors(progress)}",
            soft_wrap=True,
            highlight=False,
        )

    return report


def _errors(progress: TrainingProgress) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in progress.errors.items())
