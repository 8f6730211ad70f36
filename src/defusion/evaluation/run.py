"""Runs an evaluation: every method fuses every scene, and every picture is measured, unless an earlier run did so."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2

from defusion.errors import EvaluationError
from defusion.evaluation.datasets import DataSet
from defusion.evaluation.files import eight_bits
from defusion.evaluation.measure import CellResult, CellWork, Work, measure, reason, timed
from defusion.evaluation.methods import Fuse, Method, Network, PictureFolder, code_fingerprint, file_name
from defusion.evaluation.metrics import METRICS, Score
from defusion.evaluation.metrics.learned import set_inception_score
from defusion.evaluation.protocols import PROTOCOLS, check_metrics
from defusion.evaluation.results import EvaluationScene, Outcome, Results
from defusion.evaluation.store import STORE, ResultStore, key_of
from defusion.imaging import make_folder, read
from defusion.system.files import unfit

#: Variables that libraries read, when they are loaded, to decide how many threads to start.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Seconds that a process gets to remove unfinished files after it was told to stop.
_GRACE_S = 5.0


class EvaluationProgress(NamedTuple):
    """Progress of an evaluation."""

    scenes_done: int
    scenes: int
    failed: int
    """Pictures missing so far."""


def evaluate(
    sets: Sequence[DataSet],
    methods: Sequence[Method],
    folder: Path,
    *,
    metrics: Sequence[str] = (),
    protocol: str = "toolkit",
    jobs: int = 1,
    report: Callable[[EvaluationProgress], None] = lambda progress: None,
) -> Results:
    """Measures methods on data sets.

    Pictures are kept in `pictures/METHOD/SET/SCENE.png` below the folder, scores in `cache.sqlite`. They are reused
    while sources, method and code stay the same. If a method fails on a scene, only that cell stays empty. An
    interrupted run keeps what is done.

    Args:
        sets: The scenes, from `find_sets`.
        methods: From `parse_methods`.
        folder: Folder of the report; created if needed.
        metrics: Names of metrics; empty for those of the protocol.
        protocol: One of `PROTOCOLS`.
        jobs: Number of processes that make and measure pictures, each one scene at a time; 1 uses this process. The
            network always runs in this process, on all cores.
        report: Called with the progress after each scene.

    Raises:
        EvaluationError: A metric or protocol is unknown, a folder of pictures has none for any data set, or a process
            died.
        ImageError: The folder cannot be created or written to.
    """
    check_metrics(metrics)
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"there is no protocol {protocol!r}; expected {' or '.join(PROTOCOLS)}")
    make_folder(folder)
    with ResultStore(folder / STORE) as store:
        run = _Run(sets, methods, folder, store, metrics, protocol, report)
        try:
            with _processes(jobs) as submit:
                run.go(submit)
        finally:  # a process that was stopped may have left its command's folder
            for left in (folder / "pictures").rglob(".command-*"):
                shutil.rmtree(left, ignore_errors=True)
        return run.results()


class _Run:
    """A running evaluation."""

    def __init__(
        self,
        sets: Sequence[DataSet],
        methods: Sequence[Method],
        folder: Path,
        store: ResultStore,
        metrics: Sequence[str],
        protocol: str,
        report: Callable[[EvaluationProgress], None],
    ) -> None:
        self._sets, self._folder, self._store = sets, folder, store
        self._asked, self._protocol, self._report = metrics, protocol, report
        self._methods = {method.name: method for method in methods}
        self._scenes = [scene for each in sets for scene in each.scenes]
        self._code = code_fingerprint(
            "evaluation/metrics/*.py", "evaluation/files.py", "evaluation/measure.py", "imaging/*.py"
        )
        self._fingerprints = {each.name: each.fingerprint for each in methods if not isinstance(each, PictureFolder)}
        self._given = {each.name: _given(each, sets) for each in methods if isinstance(each, PictureFolder)}
        self._networks: dict[str, Fuse] = {}
        self._under_way: dict[Future[list[CellResult]], Work] = {}
        self._outcomes: dict[tuple[EvaluationScene, str], Outcome] = {}
        self._scenes_done = 0

    def go(self, submit: Callable[[Work], Future[list[CellResult]]]) -> None:
        """Does all that was not done before."""
        try:
            for scene in self._scenes:
                work = self._work(scene)
                if work.cells:
                    self._under_way[submit(work)] = work
                    self._settle(timeout_s=0)
                else:
                    self._tell()
            while self._under_way:
                self._settle(timeout_s=None)
        except BrokenProcessPool as error:
            raise EvaluationError(
                "a process died, perhaps because memory ran out; run again with fewer --workers; what is done is kept"
            ) from error

    def results(self) -> Results:
        """Collects the outcomes by data set, scene and method, in the order given."""
        cells = [(scene, method) for scene in self._scenes for method in self._methods]
        outcomes = tuple(self._outcomes[cell] for cell in cells if cell in self._outcomes)
        metrics = dict.fromkeys(name for scene in self._scenes for name in self._metrics(scene))
        notes = [note for each in self._sets for note in each.notes]
        for method, given in self._given.items():
            lacking = [each.name for each in self._sets if not given.keys() & set(each.scenes)]
            notes += [f"{method} has no pictures of {name}, so it is not measured there" for name in lacking]
        return Results(self._protocol, tuple(metrics), outcomes, tuple(notes), self._inception(outcomes))

    def _inception(self, outcomes: Sequence[Outcome]) -> dict[str, dict[str, Score]]:
        """Returns the Inception score of each method's pictures of a data set, as the metric `is`."""
        pictures: dict[tuple[str, str], list[tuple[EvaluationScene, Path]]] = {}
        for each in outcomes:
            if each.picture and "is" in self._metrics(each.scene):
                pictures.setdefault((each.scene.data_set, each.method), []).append((each.scene, each.picture))
        found: dict[str, dict[str, Score]] = {}
        for (name, method), made in pictures.items():
            read_one_by_one = (eight_bits(read(picture), as_grey=self._grey(scene)) for scene, picture in made)
            found.setdefault(name, {})[method] = set_inception_score(read_one_by_one)
        return found

    def _work(self, scene: EvaluationScene) -> Work:
        """Returns what is left to do for a scene, after the network has made its pictures."""
        cells = [self._cell(scene, method) for method in self._methods.values()]
        return Work(scene, self._grey(scene), tuple(cell for cell in cells if cell))

    def _cell(self, scene: EvaluationScene, method: Method) -> CellWork | None:
        """Returns what is left to do for a method. If nothing is, records its outcome and returns None."""
        metrics = self._metrics(scene)
        try:
            if isinstance(method, PictureFolder):
                picture = self._given[method.name].get(scene)
                if picture is None:
                    self._note_missing(scene, method)
                    return None
            else:
                picture = self._path(scene, method)
                if not self._is_made(scene, method):
                    self._check_place(picture)
                    picture.parent.mkdir(parents=True, exist_ok=True)
                    if not isinstance(method, Network):
                        return CellWork(method.name, picture, method, metrics)
                    self._keep_picture(scene, method, timed(self._loaded(method), scene, picture))
            known = self._store.scores(self._score_key(scene, picture))
        except Exception as error:
            self._fail(scene, method.name, reason(error))
            return None
        # A metric without a value is tried again, because missing weights may have been added.
        missing = tuple(name for name in metrics if name not in known or known[name].reason is not None)
        if missing:
            return CellWork(method.name, picture, None, missing)
        self._note(scene, method, picture)
        return None

    def _settle(self, timeout_s: float | None) -> None:
        """Stores results that have arrived; without a time limit, waits for the next one."""
        done, _ = wait(self._under_way, timeout_s, FIRST_COMPLETED)
        for future in done:
            work = self._under_way.pop(future)
            pictures = {cell.method: cell.picture for cell in work.cells}
            for found in future.result():
                method, picture = self._methods[found.method], pictures[found.method]
                if found.failure:
                    self._fail(work.scene, found.method, found.failure)
                    continue
                if found.seconds is not None and not isinstance(method, PictureFolder):
                    self._keep_picture(work.scene, method, found.seconds)
                self._store.keep_scores(self._score_key(work.scene, picture), found.scores)
                self._note(work.scene, method, picture)
            self._tell()

    def _note(self, scene: EvaluationScene, method: Method, picture: Path) -> None:
        known = self._store.scores(self._score_key(scene, picture))
        scores = {name: known[name] for name in self._metrics(scene)}
        made = (
            None if isinstance(method, PictureFolder) else self._store.made(picture, self._picture_key(scene, method))
        )
        seconds = made.seconds if made else None
        self._outcomes[scene, method.name] = Outcome(method.name, scene, picture, scores, seconds=seconds)

    def _fail(self, scene: EvaluationScene, method: str, why: str) -> None:
        self._outcomes[scene, method] = Outcome(method, scene, None, {}, failure=why)

    def _note_missing(self, scene: EvaluationScene, method: PictureFolder) -> None:
        """Counts a picture as missing, unless there are none for the whole data set."""
        if any(scene.data_set == other.data_set for other in self._given[method.name]):
            data_set = next(each for each in self._sets if scene in each.scenes)
            several = ", ".join(file.name for file in method.fitting(data_set).get(scene.name, ()))
            self._fail(
                scene,
                method.name,
                f"several pictures in {method.folder} match the scene, {several}: keep one"
                if several
                else f"no picture in {method.folder} is named after the scene",
            )

    def _tell(self) -> None:
        self._scenes_done += 1
        failed = sum(outcome.failure is not None for outcome in self._outcomes.values())
        self._report(EvaluationProgress(self._scenes_done, len(self._scenes), failed))

    def _metrics(self, scene: EvaluationScene) -> tuple[str, ...]:
        names = PROTOCOLS[self._protocol].metrics_of(scene.kind, self._asked)
        return tuple(name for name in names if scene.truth or METRICS[name].against == "sources")

    def _grey(self, scene: EvaluationScene) -> bool:
        return scene.kind in PROTOCOLS[self._protocol].grey

    def _loaded(self, method: Network) -> Fuse:
        if method.name not in self._networks:
            self._networks[method.name] = method.load()
        return self._networks[method.name]

    def _path(self, scene: EvaluationScene, method: Method) -> Path:
        method_name, data_set, name = (file_name(each) for each in (method.name, scene.data_set, scene.name))
        return self._folder / "pictures" / method_name / data_set / f"{name}.png"

    def _check_place(self, picture: Path) -> None:
        """Checks that a picture would not overwrite a source, or anything but a regular file."""
        reason = unfit(picture)
        if reason or (picture.exists() and _identity(picture) in self._read):
            raise EvaluationError(
                f"{picture} {reason or 'is a source under another name, and sources are kept; choose another folder'}"
            )

    @cached_property
    def _read(self) -> set[tuple[int, int]]:
        """Returns the identities of all files that are read, whatever their names."""
        files = [file for scene in self._scenes for file in (*scene.sources, scene.truth)]
        return {_identity(file) for file in files if file is not None and file.exists()}

    def _picture_key(self, scene: EvaluationScene, method: Method) -> str:
        return key_of(self._fingerprints[method.name], *map(self._store.sha256, scene.sources))

    def _is_made(self, scene: EvaluationScene, method: Method) -> bool:
        return self._store.made(self._path(scene, method), self._picture_key(scene, method)) is not None

    def _keep_picture(self, scene: EvaluationScene, method: Method, seconds: float) -> None:
        self._store.keep_made(self._path(scene, method), self._picture_key(scene, method), seconds)

    def _score_key(self, scene: EvaluationScene, picture: Path) -> str:
        files = [*scene.sources, picture, *([scene.truth] if scene.truth else [])]
        return key_of(self._code, self._grey(scene), *map(self._store.sha256, files))


def _identity(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_dev, facts.st_ino


def _given(method: PictureFolder, sets: Sequence[DataSet]) -> dict[EvaluationScene, Path]:
    """Finds the pictures of a folder, by scene."""
    given: dict[EvaluationScene, Path] = {}
    for data_set in sets:
        found = method.find(data_set)
        given |= {scene: found[scene.name] for scene in data_set.scenes if scene.name in found}
    if not given:
        scene = sets[0].scenes[0]
        raise EvaluationError(
            f"{method.folder} has no picture of any scene; expected files named after scenes, such as "
            f"{scene.name}.png or {scene.name}_{method.name}.png, in the folder or in {scene.data_set}/ there"
        )
    return given


@contextmanager
def _processes(jobs: int) -> Iterator[Callable[[Work], Future[list[CellResult]]]]:
    """Yields a function that hands work to processes. With one job, the work is done at once in this process."""
    if jobs == 1:
        yield _at_once
        return
    others = set(multiprocessing.active_children())
    # The processes start at the first work and inherit this environment. Each is to use one thread.
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ |= dict.fromkeys(_THREADS, "1")
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield lambda work: pool.submit(_measure_beside, work)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _stop([each for each in multiprocessing.active_children() if each not in others])
        raise
    finally:
        pool.shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _at_once(work: Work) -> Future[list[CellResult]]:
    future: Future[list[CellResult]] = Future()
    future.set_result(measure(work))
    return future


def _begin() -> None:
    """Prepares a process to measure beside others, and to end when its parent does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends SIGINT to all processes, but the parent decides
    signal.signal(signal.SIGTERM, _leave)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _measure_beside(work: Work) -> list[CellResult]:
    try:
        return measure(work)
    except SystemExit as told:
        # Unfinished files are removed and commands ended by now. The pool would start the next scene.
        os._exit(int(str(told)))


def _stop(processes: Sequence[multiprocessing.process.BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_GRACE_S)
        process.kill()
