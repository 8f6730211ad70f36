"""The command that fuses many scenes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from defusion.api.options import THERMAL, Options
from defusion.cli.app import app
from defusion.cli.options import MODEL_PANEL, AskedReading, reads, takes
from defusion.cli.output import Talk, bar_wanted, counted, fail, print_line, printable, say

if TYPE_CHECKING:
    from defusion.batch.finding import FoundScenes


class ExecutorName(StrEnum):
    """Values of --executor."""

    local = "local"
    dask = "dask"


WORK_PANEL = "Work"

#: Number of failures that are printed at the end. The report lists all.
_TOLD = 20


@app.command(rich_help_panel="Pictures")
@takes("task", "infrared_palette", "align", "deghost", *THERMAL, "weights", "device", "precision")
@reads()
def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A folder of scene folders, patterns such as '{scene}_ir.png' '{scene}_vis.png', or a manifest "
            "(.csv or .jsonl: scene, sources, options); paths or URLs.",
        ),
    ],
    output: Annotated[str, typer.Option("-o", "--output", metavar="FOLDER", help="Folder or URL for results.")],
    options: Options,
    reading: AskedReading,
    group: Annotated[
        bool, typer.Option("--group", help="Split folders of frames, such as a camera card's, into scenes.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the scenes and fuse nothing.")] = False,
    format: Annotated[str, typer.Option("--format", help="Suffix of results: png, tif, webp, jpg or exr.")] = "png",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try scenes that failed before and have not changed.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep fusing new scenes, until SIGTERM or Ctrl-C.")] = False,
    executor: Annotated[
        ExecutorName,
        typer.Option(
            "--executor", help="local: processes on this machine; dask: a cluster.", rich_help_panel=WORK_PANEL
        ),
    ] = ExecutorName.local,
    engine: Annotated[
        Literal["openvino", "torch", "local", "dask"] | None,
        typer.Option(
            "--engine",
            help="What runs the network, as for `defusion fuse`. local and dask mean --executor.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Number of processes for executor local. Default: as many as cores and memory allow.",
            rich_help_panel=WORK_PANEL,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", metavar="URL", help="Scheduler for executor dask: tcp://...", rich_help_panel=WORK_PANEL
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal",
            help="File that records what is done. Default: batch.sqlite in FOLDER.",
            rich_help_panel=WORK_PANEL,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each scene, as it is done.")
    ] = False,
) -> None:
    """Fuse many scenes, each once. An interrupted batch continues where it was."""
    from defusion.batch.finding import Finder
    from defusion.batch.progress import batch_bar
    from defusion.batch.run import JSON_FIELDS, REPORT, BatchSettings, anywhere, executor_of, run, suffix_of

    if engine in ("local", "dask"):
        executor = ExecutorName(engine)
    else:
        options = options.changed(engine=engine)
    settings = BatchSettings(output, suffix_of(format), anywhere(options), reading.of(None), retry_failed, journal)
    finder = Finder(sources, output, settings.suffix, group=group)
    found = finder.find(may_be_none=watch or dry_run)
    for note in found.notes:
        say(f"note: {note}")
    if dry_run:
        _show(found, as_json)
        return
    counts = dict.fromkeys(("done", "failed", "skipped"), 0)
    failures: dict[str, str] = {}
    total = None if watch else len(found.scenes)
    with _stopped(watch) as stop, batch_bar(total, wanted=bar_wanted(as_json)) as advance:
        made = executor_of(executor, workers, scheduler, total, options.device)
        for result in run(finder, found, settings, made, watch=watch, stop=stop, told=say):
            counts[result.status] += 1
            advance(counts)
            for note in result.notes if result.status == "done" else ():
                say(f"note: {result.scene}: {note}")
            if result.reason is not None:
                failures[result.scene] = result.reason
            # it failed before and its files were repaired, in a watched folder
            elif failures.pop(result.scene, None):
                counts["failed"] -= 1
            if as_json:
                print_line(json.dumps({name: getattr(result, name) for name in JSON_FIELDS}))
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    if not (as_json or Talk.quiet):
        print_line(printable(f"{said}; look at {output.rstrip('/')}/{REPORT}"))
    for scene, reason in list(failures.items())[:_TOLD]:
        say(f"failed: {scene}: {reason}")
    if failures:
        fail(f"{len(failures)} of {counted(sum(counts.values()), 'scene')} failed; all reasons are in {REPORT}", 1)


@contextmanager
def _stopped(watch: bool) -> Iterator[Event]:
    """Yields an event that the first SIGTERM or Ctrl-C sets while a folder is watched. The second one interrupts at
    once.
    """
    stop = Event()
    before: dict[signal.Signals, Any] = {}

    def end(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in (signal.SIGTERM, signal.SIGINT) if watch else ():
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, end)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(found: FoundScenes, as_json: bool) -> None:
    """Prints the scenes that were found, or how frames were grouped into scenes."""
    rows: list[tuple[str, str, tuple[str, ...], str]]
    rows = [(each.name, each.kind, each.frames, each.why) for each in found.groups]
    rows = rows or [(each.name, "scene", each.sources, "") for each in found.scenes]
    if as_json:
        for name, kind, frames, why in rows:
            print_line(json.dumps({"scene": name, "kind": kind, "sources": list(frames), "why": why}))
        return
    from defusion.batch.progress import scene_table

    print_line("\n".join(map(printable, scene_table(rows).split("\n"))))
