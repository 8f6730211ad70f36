"""A progress bar for training: samples a second, time left, the errors of the last step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from defusion.training.run import Progress as TrainingProgress


@contextmanager
def progress_bar() -> Iterator[Callable[[TrainingProgress], None]]:
    """Gives the callable that `train` reports to; the bar is on stderr."""
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[rate]:.1f} samples/s,"),
        TimeRemainingColumn(),
        TextColumn("left  {task.fields[errors]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task("train", total=None, rate=0.0, errors="")

    def report(progress: TrainingProgress) -> None:
        bar.start()  # not before the first step: until then an error may have to be said
        errors = "  ".join(f"{name} {value:.3f}" for name, value in progress.errors.items())
        bar.update(
            task, completed=progress.step, total=progress.steps, rate=progress.samples_per_second, errors=errors
        )

    try:
        yield report
    finally:
        bar.stop()
