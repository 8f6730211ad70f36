"""Progress bars on stderr, if it is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from defusion.tiles.progress import FusingProgress, Report


@contextmanager
def fusing_bar(wanted: bool) -> Iterator[Report | None]:
    """Yields a callable to pass as `report` to `Fuser.fuse_frames`; None if no bar is wanted or stderr is not a
    terminal.

    Work that is complete at its first report shows no bar. The bar is removed at the end, even after an error.
    """
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("left"))
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=None)

    def report(progress: FusingProgress) -> None:
        # A bar without a known end moves back and forth.
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
    """Yields a callable to pass as `report` to `fuse_video`; None if no bar is wanted or stderr is not a terminal."""
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
