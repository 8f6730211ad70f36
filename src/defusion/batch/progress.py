"""What a terminal shows of a batch: a progress bar, and the table of a dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Width of that table if stdout is not a terminal.
_WIDTH = 160


@contextmanager
def batch_bar(total: int | None, wanted: bool) -> Iterator[Callable[[Mapping[str, int]], None]]:
    """Yields a callable that takes the counts of scenes done, failed and skipped. It shows a bar on a terminal."""
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield lambda counts: None
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        started = monotonic()

        def advance(counts: Mapping[str, int]) -> None:
            rate = (counts["done"] + counts["failed"]) / max(monotonic() - started, 1e-3)
            said = (
                f"{counts['done']} done, {counts['failed']} failed, {counts['skipped']} skipped, {rate:.1f} scenes/s"
            )
            bar.update(task, completed=sum(counts.values()), description=said)

        yield advance


def scene_table(rows: Sequence[tuple[str, str, Sequence[str], str]]) -> str:
    """Formats scenes as a table: name, kind, frames, and why they belong together."""
    table = Table("scene", "kind", "frames", "files", "why", box=None, pad_edge=False)
    for name, kind, frames, why in rows:
        names = [PurePath(frame).name for frame in frames]
        files = ", ".join(names) if len(names) < 4 else f"{names[0]} ... {names[-1]}"
        table.add_row(name, kind, str(len(frames)), files, why)
    console = Console(width=None if Console().is_terminal else _WIDTH, no_color=True)
    with console.capture() as shown:
        console.print(table, markup=False)
    return shown.get().rstrip("\n")
