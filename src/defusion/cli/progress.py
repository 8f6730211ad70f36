"""Progress bars on stderr, if it is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from defusion.tiles.progress import FusingProgress, Report

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def fusing_bar(wanted: bool) -> Iterator[Report | None]:
    """Yields a callable to pass as `report` to `Fuser.fuse_frames`; None if no bar is wanted or stderr is not a
    terminal.

    Work that is complete at its first report shows no bar. The bar is removed at the end, even after an error.
    """
    console = _terminal() if wanted else None
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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


def _terminal() -> Console | None:
    """Returns stderr if it is a terminal, or is to be taken for one. rich, which takes time to load, is not loaded
    otherwise.
    """
    if not ((sys.stderr is not None and sys.stderr.isatty()) or "FORCE_COLOR" in os.environ):
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal else None


def _described(progress: FusingProgress) -> str:
    if not progress.of_rows:
        return f"looking at frame {progress.frame} of {progress.frames}"
    rows = f"{progress.rows} of {progress.of_rows} rows"
    return rows if progress.frames == 1 else f"frame {progress.frame} of {progress.frames}, {rows}"


@contextmanager
def clip_bar(wanted: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """Yields a callable to pass as `report` to `fuse_video`; None if no bar is wanted or stderr is not a terminal."""
    console = _terminal() if wanted else None
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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
