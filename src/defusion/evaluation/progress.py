"""Progress of an evaluation on stderr: scenes done, time left, missing pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from defusion.evaluation.run import EvaluationProgress

#: Seconds between lines if stderr is not a terminal but, for example, a log.
LOG_EVERY_S = 30.0


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Callable[[EvaluationProgress], None]]:
    """Yields the callable that `evaluate` reports to: a bar in a terminal, lines elsewhere, nothing if not wanted."""
    console = Console(stderr=True)
    if not wanted:
        yield lambda progress: None
    elif console.is_terminal:
        yield from _bar(console)
    else:
        yield _lines(console)


def _bar(console: Console) -> Iterator[Callable[[EvaluationProgress], None]]:
    columns = (
        TextColumn("scene"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("left  {task.fields[failed]}"),
    )
    bar = Progress(*columns, console=console)
    task = bar.add_task("evaluate", total=None, failed="")

    def report(progress: EvaluationProgress) -> None:
        bar.start()  # not before the first scene, since an error may have to be printed until then
        bar.update(task, completed=progress.scenes_done, total=progress.scenes, failed=_failed(progress))

    try:
        yield report
    finally:
        bar.stop()


def _lines(console: Console) -> Callable[[EvaluationProgress], None]:
    written = time.monotonic()

    def report(progress: EvaluationProgress) -> None:
        nonlocal written
        now = time.monotonic()
        if now - written >= LOG_EVERY_S:
            written = now
            line = f"scene {progress.scenes_done}/{progress.scenes}  {_failed(progress)}".rstrip()
            console.print(line, soft_wrap=True, highlight=False)

    return report


def _failed(progress: EvaluationProgress) -> str:
    return f"{progress.failed} pictures missing" if progress.failed else ""
