"""A batch: fuses each scene once, even if it is interrupted and started again. Results are yielded as they come."""

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

from defusion.api.options import DEFAULTS, Choices, Options
from defusion.api.sources import AS_USUAL, Reading
from defusion.batch.finding import Finder, FoundScenes, Source, Sources
from defusion.batch.journal import Entry, Journal
from defusion.batch.local import LocalExecutor
from defusion.batch.places import absolute, is_url, stamp
from defusion.batch.report import page
from defusion.batch.result_folder import ResultFolder, result_folder_of
from defusion.batch.scenes import BatchScene
from defusion.batch.watch import Settling, changes
from defusion.batch.work import JobOutcome, SceneJob, settings_of
from defusion.errors import BatchError, OptionError, WeightsError
from defusion.imaging import check_output
from defusion.system.cache import cache_folder

Status = Literal["done", "failed", "skipped"]
JOURNAL = "batch.sqlite"
REPORT = "report.html"

#: Fields that `--json` prints of a result.
JSON_FIELDS = ("scene", "status", "output", "seconds", "reason")

#: Number of scenes that get thumbnails: a page of a few megabytes holds these.
THUMBNAILS = 1000


class SceneResult(NamedTuple):
    """The outcome of a scene."""

    scene: str
    status: Status
    """"skipped" if an earlier batch has done it and nothing has changed since."""
    output: str | None
    """Path or URL of the picture; None if the scene failed."""
    seconds: float | None
    """Time for reading, fusing and writing; that of the earlier batch if the scene was skipped."""
    reason: str | None
    """Why it failed."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in, and what the file cannot hold."""


class Executor(Protocol):
    """What an executor provides: it runs jobs and returns their outcomes."""

    @property
    def has_room(self) -> bool:
        """Whether a job that is sent now would start soon."""

    @property
    def busy(self) -> bool:
        """Whether there are outcomes to come."""

    def start(self, job: SceneJob) -> None:
        """Queues a job."""

    def finished(self) -> list[JobOutcome]:
        """Waits for outcomes and returns them."""

    def close(self) -> None:
        """Ends all work."""


class BatchSettings(NamedTuple):
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
    """Fuses many scenes, and yields the outcome of each as it comes.

    A journal records finished scenes by the content of their sources and by their options. If the batch ends early,
    for whatever reason, the same call continues where it was. A scene that fails does not stop the others. At the
    end, `report.html` is written beside the results.

    Args:
        sources: A folder of scene folders; patterns such as "{scene}_ir.png" and "{scene}_vis.png"; a manifest (.csv
            or .jsonl with scene, sources, options); several of one kind; or a mapping from names to files. Each may
            be a URL that fsspec knows, such as "s3://bucket/folder".
        output: Folder for the results, created if needed, or a URL.
        options: How to fuse.
        group: The sources are folders of frames, such as a camera card, which are divided into scenes.
        format: Suffix of the results: png, tif, jpg, webp or exr.
        retry_failed: Also try scenes that failed in an earlier batch and have not changed since.
        watch: When all is done, wait for new scenes and fuse them, until `stop` is set.
        stop: Another thread can set this to end the batch once the started scenes are done.
        executor: "local" for processes on this machine, or "dask".
        workers: Number of processes; None for as many as cores and memory allow, which is measured.
        scheduler: For executor dask: an address, a client, or a cluster object.
        journal: File of the journal. By default `batch.sqlite` in the output folder, or in the cache folder if the
            output is a URL.
        reading: How to read sources that are unusual.
        **choices: Single options by name, such as `align="off"`; they override `options`. Options of a scene override
            both.

    Returns:
        An iterator. With executor local, a script has to use it below `if __name__ == "__main__":`.

    Raises:
        BatchError: Scenes, a place or a scheduler cannot be used; or the disk is full while the batch runs.
        OptionError, WeightsError, EngineError, ImageError: As for `Fuser`; or the format is unknown.
    """
    options = anywhere(options.changed(**choices))
    kept_in = None if journal is None else Path(journal)
    settings = BatchSettings(os.fspath(output), suffix_of(format), options, reading, retry_failed, kept_in)
    finder = Finder(sources, settings.output, settings.suffix, group=group)
    found = finder.find(may_be_none=watch)
    made = executor_of(executor, workers, scheduler, None if watch else len(found.scenes), options.device)
    return run(finder, found, settings, made, watch=watch, stop=stop or Event())


def anywhere(options: Options) -> Options:
    """Returns options that mean the same in a process with another working folder."""
    if options.weights is not None and Path(options.weights).exists():  # shipped weights have a name, not a path
        options = options.changed(weights=Path(options.weights).absolute())
    return options if options.rig is None else options.changed(rig=Path(options.rig).absolute())


def suffix_of(format: str) -> str:
    """Returns the suffix of results in a format.

    Raises:
        ImageError: The format is unknown, or its extra is not installed.
    """
    suffix = f".{format.lower().removeprefix('.')}"
    check_output(Path(tempfile.gettempdir()) / f"result{suffix}")
    return suffix


def executor_of(name: str, workers: int | None, scheduler: Any, count: int | None, device: str | None) -> Executor:
    """Returns the executor.

    Args:
        name: The executor for `batch`; the next two are as there, too.
        workers: Number of processes.
        scheduler: For executor dask.
        count: Number of scenes, if known.
        device: Device of the networks. On a GPU there is one process, unless a number is given.

    Raises:
        BatchError: The executor is unknown or not available.
    """
    if name == "local":
        if scheduler is not None:
            raise BatchError("a scheduler came with executor local; expected executor dask with it")
        return LocalExecutor(workers or (None if device in (None, "cpu") else 1), count)
    if name == "dask":
        if workers is not None:
            raise BatchError("a number of workers came with executor dask; its cluster decides that, leave it out")
        from defusion.batch.cluster import DaskExecutor

        return DaskExecutor(scheduler)
    raise BatchError(f"no executor {name!r}; expected local or dask")


def run(
    finder: Finder,
    found: FoundScenes,
    settings: BatchSettings,
    executor: Executor,
    *,
    watch: bool,
    stop: Event,
    told: Callable[[str], None] = lambda note: None,
) -> Iterator[SceneResult]:
    """Runs a batch.

    Args:
        finder: Finds new scenes, for `watch`.
        found: The scenes that were found first.
        settings: How the batch is done.
        executor: The executor; it is closed at the end.
        watch: Continue until `stop` is set.
        stop: Ends the batch.
        told: Called with notes that belong to no scene.
    """
    with closing(executor):
        results = result_folder_of(settings.output)
        results.prepare()
        with Journal(_journal_file(settings)) as journal:
            results.sweep()
            if not watch:
                journal.forget_failed({scene.name for scene in found.scenes})
            work = _Work(journal, results, settings, executor)
            try:
                for ready in _arrivals(finder, stop, told) if watch else [found.scenes]:
                    yield from work.through(ready, stop)
            except BaseException:
                with suppress(BatchError):  # the disk may be full
                    results.write_page(REPORT, page(journal, THUMBNAILS))
                raise
            results.write_page(REPORT, page(journal, THUMBNAILS))
            results.clear()


def _arrivals(finder: Finder, stop: Event, told: Callable[[str], None]) -> Iterator[list[BatchScene]]:
    """Yields the scenes whose files are complete, each time that something may have changed."""
    settling = Settling()
    trouble: str | None = None
    for _ in changes(finder.folders, settling, stop):
        try:
            found = finder.find(may_be_none=True)
        except BatchError as error:  # such as a half-written manifest, which is read again when it changes
            if str(error) != trouble:
                trouble = str(error)
                told(trouble)
        else:
            trouble = None
            yield settling.settled(found.scenes)


class _Work:
    """Scenes on their way through the executor."""

    def __init__(self, journal: Journal, results: ResultFolder, settings: BatchSettings, executor: Executor) -> None:
        self._journal, self._folder, self._settings, self._executor = journal, results, settings, executor
        self._thumbnails = journal.count("done")
        self._of_options = {settings.options: settings_of(settings.options, settings.suffix, settings.reading)}
        self._begun: dict[str, tuple[BatchScene, str, str]] = {}
        """Scenes that the executor has, with stamps and settings."""
        self._handled: dict[str, str] = {}
        """Stamps of the scenes that this batch has done, skipped or failed."""

    def through(self, found: Sequence[BatchScene], stop: Event) -> Iterator[SceneResult]:
        """Fuses those of the scenes that are not done yet."""
        for scene in found:
            while not (self._executor.has_room or stop.is_set()):
                yield from self._finished()
            if stop.is_set():
                break
            if result := self._begin(scene):
                yield result
        while self._executor.busy:
            yield from self._finished()

    def _begin(self, scene: BatchScene) -> SceneResult | None:
        """Starts a scene, unless its outcome is known."""
        stamped = "\n".join(f"{source} {stamp(source)}" for source in scene.sources)
        stamps = sha256(stamped.encode(errors="surrogatepass")).hexdigest()  # names of files may not be UTF-8
        if self._handled.get(scene.name) == stamps:
            return None
        file = scene.name + self._settings.suffix
        if not scene.sources:
            return self._refused(scene, stamps, scene.trouble or "it holds no pictures; expected two or more")
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
                reason = f"{entry.reason} (in an earlier batch; --retry-failed tries again)"
                return SceneResult(scene.name, "failed", None, entry.seconds, reason)
            if entry.status == "done" and entry.stamp == self._folder.stamp(file):
                self._handled[scene.name] = stamps
                return self._skipped(entry)
        known = (entry.key, entry.sha256) if entry and entry.key and entry.sha256 else None
        self._begun[scene.name] = scene, stamps, settings
        with_thumbnails = self._thumbnails < THUMBNAILS
        self._thumbnails += with_thumbnails
        self._executor.start(
            SceneJob(
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
        """Records that a scene failed before it was started."""
        self._handled[scene.name] = stamps
        refused = JobOutcome(scene.name, 0.0, reason=reason)
        self._journal.keep(scene.name, scene.name + self._settings.suffix, "", stamps, refused)
        return SceneResult(scene.name, "failed", None, 0.0, reason)

    def _settings_of(self, options: Options) -> str:
        if options not in self._of_options:
            self._of_options[options] = settings_of(options, self._settings.suffix, self._settings.reading)
        return self._of_options[options]

    def _finished(self) -> Iterator[SceneResult]:
        for outcome in self._executor.finished():
            scene, stamps, settings = self._begun.pop(outcome.scene)
            if outcome.ends_batch is not None:
                raise BatchError(f"{outcome.ends_batch} (scene {scene.name}; finished scenes stay finished)")
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
            self._folder.drop_record(file)
            path, notes = self._folder.path(file), tuple(outcome.notes)
            yield SceneResult(scene.name, "done", path, outcome.seconds, None, notes)

    def _skipped(self, entry: Entry) -> SceneResult:
        path = self._folder.path(entry.output)
        return SceneResult(entry.scene, "skipped", path, entry.seconds, None, entry.notes)


def _journal_file(settings: BatchSettings) -> Path:
    if settings.journal is not None:
        return settings.journal
    if not is_url(settings.output):
        return Path(settings.output) / JOURNAL
    folder = cache_folder("batch") / sha256(settings.output.rstrip("/").encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    return folder / JOURNAL
