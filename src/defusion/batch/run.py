"""A batch: each scene becomes a picture once, whatever interrupts it; results are given as they come."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any, Literal, NamedTuple, Protocol, Unpack

from defusion.batch.finding import Finder, Found, Source, Sources
from defusion.batch.journal import Entry, Journal
from defusion.batch.local import LocalCrew
from defusion.batch.places import Shelf, absolute, is_url, shelf_of, stamp
from defusion.batch.report import page
from defusion.batch.scenes import BatchScene
from defusion.batch.watch import Settling, changes
from defusion.batch.work import Job, Outcome, settings_of
from defusion.cache import cache_folder
from defusion.errors import BatchError, OptionError, WeightsError
from defusion.imaging import check_output
from defusion.options import DEFAULTS, Choices, Options
from defusion.sources import AS_USUAL, Reading

Status = Literal["done", "failed", "skipped"]
JOURNAL = "batch.sqlite"
REPORT = "report.html"

#: What `--json` prints of a result.
JSON_FIELDS = ("scene", "status", "output", "seconds", "reason")

#: Scenes that get thumbnails: what a page of a few megabytes holds.
THUMBNAILS = 1000


class SceneResult(NamedTuple):
    """What became of a scene."""

    scene: str
    status: Status
    """"skipped" where an earlier batch has done it and nothing changed since."""
    output: str | None
    """Path or URL of the picture; None where it failed."""
    seconds: float | None
    """What reading, fusing and writing took; of an earlier batch where it was done then."""
    reason: str | None
    """Why it failed."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in and what the file cannot hold."""


class Crew(Protocol):
    """Who does the work: an executor."""

    @property
    def has_room(self) -> bool:
        """Whether a job that is started now is begun soon."""

    @property
    def busy(self) -> bool:
        """Whether there are outcomes to come."""

    def start(self, job: Job) -> None:
        """Takes a job."""

    def finished(self) -> list[Outcome]:
        """Waits for outcomes and returns them."""

    def close(self) -> None:
        """Ends all work."""


class Settings(NamedTuple):
    """How a batch is done; see `batch`."""

    output: str
    suffix: str
    options: Options
    reading: Reading
    retry_failed: bool
    journal: Path | None


def batch(
    sources: Sources,
    output: Source,
    options: Options = DEFAULTS,
    *,
    group: bool = False,
    format: str = "png",
    retry_failed: bool = False,
    watch: bool = False,
    stop: Event | None = None,
    executor: str = "local",
    workers: int | None = None,
    scheduler: Any = None,
    journal: Source | None = None,
    reading: Reading = AS_USUAL,
    **choices: Unpack[Choices],
) -> Iterator[SceneResult]:
    """Fuses many scenes, and gives what became of each as it comes.

    What is done is kept in a journal by the content of sources and options: a batch that is called again, after
    whatever ended it, goes on where that was. A scene that fails stops no other one. At the end `report.html` stands
    beside the results.

    Args:
        sources: A folder of scene folders; patterns such as "{scene}_ir.png" and "{scene}_vis.png"; a manifest (.csv
            or .jsonl with scene, sources, options); several of one kind; or a mapping of names to files. Each may be
            a URL that fsspec knows, such as "s3://bucket/folder".
        output: Folder for results, made if need be, or a URL.
        options: How to fuse.
        group: Sources are folders of frames, as on a camera card, that are divided into scenes.
        format: Suffix of results: png, tif, jpg, webp or exr.
        retry_failed: Try scenes again that failed in an earlier batch and have not changed since.
        watch: Go on when all is done, and fuse what appears, until `stop` is set.
        stop: Set by another thread, ends the batch when the scenes that are begun are done.
        executor: "local" for processes on this machine, or "dask".
        workers: How many processes; None for as many as cores and memory take, which is measured.
        scheduler: Of executor dask: an address, a client, or a cluster object.
        journal: File to keep what is done in; unless given, `batch.sqlite` in the output folder, or in the cache
            folder where the output is a URL.
        reading: How the sources of each scene are read where they leave it open.
        **choices: Options by name, such as `align="off"`; they go before `options`. A scene's own go before both.

    Returns:
        An iterator. A script that uses it with executor local does so below `if __name__ == "__main__":`.

    Raises:
        BatchError: Scenes, a place or a scheduler that cannot be used; a full disk while it runs.
        OptionError, WeightsError, EngineError, ImageError: As for `Fuser`; or an unknown format.
    """
    options = anywhere(options.changed(**choices))
    kept_in = None if journal is None else Path(journal)
    settings = Settings(os.fspath(output), suffix_of(format), options, reading, retry_failed, kept_in)
    finder = Finder(sources, settings.output, settings.suffix, group=group)
    found = finder.find(may_be_none=watch)
    crew = crew_of(executor, workers, scheduler, None if watch else len(found.scenes), options.device)
    return run(finder, found, settings, crew, watch=watch, stop=stop or Event())


def anywhere(options: Options) -> Options:
    """Returns options that mean the same in a process that runs in another folder."""
    if options.weights is not None and Path(options.weights).exists():  # not a shipped one's name
        options = options.changed(weights=Path(options.weights).absolute())
    return options if options.rig is None else options.changed(rig=Path(options.rig).absolute())


def suffix_of(format: str) -> str:
    """Returns the suffix of results of a format.

    Raises:
        ImageError: No such format, or its extra is not installed.
    """
    suffix = f".{format.lower().removeprefix('.')}"
    check_output(Path(tempfile.gettempdir()) / f"result{suffix}")
    return suffix


def crew_of(executor: str, workers: int | None, scheduler: Any, count: int | None, device: str | None) -> Crew:
    """Returns who does the work.

    Args:
        executor: As for `batch`; so are the next two.
        workers: How many processes.
        scheduler: Of executor dask.
        count: How many scenes there are, where that is known.
        device: What networks run on: of processes on a GPU there is one, unless a number is given.

    Raises:
        BatchError: No such executor, or it is not there.
    """
    if executor == "local":
        if scheduler is not None:
            raise BatchError("a scheduler came with executor local; expected executor dask with it")
        return LocalCrew(workers or (None if device in (None, "cpu") else 1), count)
    if executor == "dask":
        if workers is not None:
            raise BatchError("a number of workers came with executor dask; its cluster has as many as it was given")
        from defusion.batch.cluster import DaskCrew

        return DaskCrew(scheduler)
    raise BatchError(f"no executor {executor!r}; expected local or dask")


def run(
    finder: Finder,
    found: Found,
    settings: Settings,
    crew: Crew,
    *,
    watch: bool,
    stop: Event,
    told: Callable[[str], None] = lambda note: None,
) -> Iterator[SceneResult]:
    """Does a batch.

    Args:
        finder: Finds scenes again, for `watch`.
        found: What it found first.
        settings: How.
        crew: Who; closed at the end.
        watch: Go on until `stop` is set.
        stop: Ends it.
        told: Gets notes that belong to no scene.
    """
    with closing(crew):
        shelf = shelf_of(settings.output)
        shelf.prepare()
        with Journal(_journal_file(settings)) as journal:
            shelf.sweep()
            if not watch:
                journal.forget_failed({scene.name for scene in found.scenes})
            work = _Work(journal, shelf, settings, crew)
            try:
                for ready in _arrivals(finder, stop, told) if watch else [found.scenes]:
                    yield from work.through(ready, stop)
            except BaseException:
                with suppress(BatchError):  # the disk may be full
                    shelf.write_page(REPORT, page(journal, THUMBNAILS))
                raise
            shelf.write_page(REPORT, page(journal, THUMBNAILS))
            shelf.clear()


def _arrivals(finder: Finder, stop: Event, told: Callable[[str], None]) -> Iterator[list[BatchScene]]:
    """Gives the scenes that have settled, each time something may have changed."""
    settling = Settling()
    trouble: str | None = None
    for _ in changes(finder.folders, settling, stop):
        try:
            found = finder.find(may_be_none=True)
        except BatchError as error:  # as of a manifest that is half written: looked at again when it changes
            if str(error) != trouble:
                trouble = str(error)
                told(trouble)
        else:
            trouble = None
            yield settling.settled(found.scenes)


class _Work:
    """Scenes on their way through the crew."""

    def __init__(self, journal: Journal, shelf: Shelf, settings: Settings, crew: Crew) -> None:
        self._journal, self._shelf, self._settings, self._crew = journal, shelf, settings, crew
        self._thumbnails = journal.count("done")
        self._of_options = {settings.options: settings_of(settings.options, settings.suffix, settings.reading)}
        self._begun: dict[str, tuple[BatchScene, str, str]] = {}
        """Scenes that the crew has, with stamps and settings."""
        self._handled: dict[str, str] = {}
        """The stamps with which scenes were done, skipped or failed in this batch."""

    def through(self, found: Sequence[BatchScene], stop: Event) -> Iterator[SceneResult]:
        """Does what of these scenes is to be done."""
        for scene in found:
            while not (self._crew.has_room or stop.is_set()):
                yield from self._finished()
            if stop.is_set():
                break
            if result := self._begin(scene):
                yield result
        while self._crew.busy:
            yield from self._finished()

    def _begin(self, scene: BatchScene) -> SceneResult | None:
        """Starts a scene, unless what became of it is known."""
        stamps = sha256("\n".join(f"{source} {stamp(source)}" for source in scene.sources).encode()).hexdigest()
        if self._handled.get(scene.name) == stamps:
            return None
        file = scene.name + self._settings.suffix
        if not scene.sources:
            return self._refused(scene, stamps, "it holds no pictures; expected two or more")
        try:
            own: dict[str, Any] = dict(scene.options)
            options = replace(self._settings.options, **own)
            settings = self._settings_of(options)
        except (OptionError, WeightsError) as error:
            return self._refused(scene, stamps, str(error))
        entry = self._journal.entry(scene.name)
        if entry and (entry.settings, entry.stamps) == (settings, stamps):
            if entry.status == "failed" and not self._settings.retry_failed:
                self._handled[scene.name] = stamps
                reason = f"{entry.reason} (found by an earlier batch; --retry-failed tries again)"
                return SceneResult(scene.name, "failed", None, entry.seconds, reason)
            if entry.status == "done" and entry.stamp == self._shelf.stamp(file):
                self._handled[scene.name] = stamps
                return self._skipped(entry)
        known = (entry.key, entry.sha256) if entry and entry.key and entry.sha256 else None
        self._begun[scene.name] = scene, stamps, settings
        with_thumbnails = self._thumbnails < THUMBNAILS
        self._thumbnails += with_thumbnails
        self._crew.start(
            Job(
                scene=scene.name,
                sources=tuple(map(absolute, scene.sources)),
                root=absolute(self._settings.output),
                file=file,
                options=options,
                reading=self._settings.reading,
                own_options=bool(scene.options),
                settings=settings,
                known=known,
                with_thumbnails=with_thumbnails,
            )
        )
        return None

    def _refused(self, scene: BatchScene, stamps: str, reason: str) -> SceneResult:
        """Notes a scene that need not be begun."""
        self._handled[scene.name] = stamps
        refused = Outcome(scene.name, 0.0, reason=reason)
        self._journal.keep(scene.name, scene.name + self._settings.suffix, "", stamps, refused)
        return SceneResult(scene.name, "failed", None, 0.0, reason)

    def _settings_of(self, options: Options) -> str:
        if options not in self._of_options:
            self._of_options[options] = settings_of(options, self._settings.suffix, self._settings.reading)
        return self._of_options[options]

    def _finished(self) -> Iterator[SceneResult]:
        for outcome in self._crew.finished():
            scene, stamps, settings = self._begun.pop(outcome.scene)
            if outcome.ends_batch is not None:
                raise BatchError(f"{outcome.ends_batch} (scene {scene.name}; what was done stays done)")
            self._handled[scene.name] = stamps
            file = scene.name + self._settings.suffix
            if outcome.unchanged:
                self._journal.restamp(scene.name, stamps, outcome.stamp)
                entry = self._journal.entry(scene.name)
                assert entry is not None
                yield self._skipped(entry)
                continue
            self._journal.keep(scene.name, file, settings, stamps, outcome)
            if outcome.reason is not None:
                yield SceneResult(scene.name, "failed", None, outcome.seconds, outcome.reason)
                continue
            self._shelf.drop_record(file)
            path, notes = self._shelf.path(file), tuple(outcome.notes)
            yield SceneResult(scene.name, "done", path, outcome.seconds, None, notes)

    def _skipped(self, entry: Entry) -> SceneResult:
        path = self._shelf.path(entry.output)
        return SceneResult(entry.scene, "skipped", path, entry.seconds, None, entry.notes)


def _journal_file(settings: Settings) -> Path:
    if settings.journal is not None:
        return settings.journal
    if not is_url(settings.output):
        return Path(settings.output) / JOURNAL
    folder = cache_folder("batch") / sha256(settings.output.rstrip("/").encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    return folder / JOURNAL
