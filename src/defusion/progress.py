"""How far a fusion has come, for people: a bar on a terminal's stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from defusion.tiling import Progress as FusingProgress
from defusion.tiling import Report


@contextmanager
def fusing_bar(wanted: bool) -> Iterator[Report | None]:
    """Gives the callable that `Fuser.fuse_frames` reports to; None where no bar is wanted or stderr is no terminal.

    Work that is done at its first report is not shown. At the end, however it comes, the bar is taken away.
    """
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("left"))
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=None)

    def report(progress: FusingProgress) -> None:
        # A bar of no known end moves to and fro.
        bar.update(task, completed=progress.rows, total=progress.of_rows or None, description=_described(progress))
        if progress.rows < progress.of_rows or not progress.of_rows:
            bar.start()

    try:
        yield report
    finally:
        bar.stop()


def _described(progress: FusingProgress) -> str:
    if not progress.of_rows:
        return f"looking at frame {progress.frame} of {progress.frames}"
    rows = f"{progress.rows} of {progress.of_rows} rows"
    return rows if progress.frames == 1 else f"frame {progress.frame} of {progress.frames}, {rows}"


@contextmanager
def clip_bar(wanted: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """Gives the callable that `fuse_video` reports to; None where no bar is wanted or stderr is no terminal."""
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield None
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("looking at the clips", total=None)
        started = monotonic()
        begun = 0

        def report(done: int, of: int | None) -> None:
            nonlocal begun
            begun = begun or done - 1
            rate = (done - begun) / max(monotonic() - started, 1e-3)
            bar.update(task, completed=done, total=of, description=f"{done} frames, {rate:.1f} a second")

        yield report
