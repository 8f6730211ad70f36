"""Jobs: work that clients asked for. It limits how many may wait and run."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from defusion.serve.metrics import Metrics
from defusion.serve.options import RequestOptions, suffix_like
from defusion.serve.problem import Problem, bad_request, busy, gone, too_large
from defusion.serve.store import PictureStore, StoredPicture
from defusion.serve.workers import Pool

Work = Literal["fuse", "decompose", "align"]
State = Literal["waiting", "running", "done", "failed"]

PARTS = ("common", "unique_a", "unique_b", "fused")

_OF_FUSE = {"output": "fused", "maps": "maps"}

#: Maps that a client can get, with the names that `Maps.save` gives them.
MAPS = {"source_map": "source_in_colour", "depth_map": "depth", "ghost_mask": "moved", "residual_map": "residual"}

#: Fraction of the work from which on the time left can be estimated.
_TELLING_PART = 0.08


@dataclass(eq=False)
class Job:
    """Work that a client asked for."""

    work: Work
    client: str
    sources: list[StoredPicture]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "waiting"
    progress: float = 0.0
    """Fraction of the work that is done."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the command prints about the result."""
    results: dict[str, StoredPicture] = field(default_factory=dict)
    problem: Problem | None = None
    touched: float = field(default_factory=time.monotonic)
    begun: float | None = None
    seconds: float | None = None
    """How long it ran, once it is over."""
    task: asyncio.Task[None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.state in ("done", "failed")

    @property
    def seconds_left(self) -> float | None:
        """Estimated time until it is done, at the speed so far."""
        if self.begun is None or self.over or self.progress < _TELLING_PART:
            return None
        return (time.monotonic() - self.begun) * (1 - self.progress) / self.progress

    def change(self) -> None:
        """Wakes everyone who waits for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changes(self) -> AsyncIterator[None]:
        """Yields once now, and then after each change until the job is over."""
        while True:
            changed, over = self._changed, self.over  # read now, since both may change while the caller works
            yield
            if over:
                return
            await changed.wait()


class Jobs:
    """The jobs of a service.

    Args:
        store: Holds sources and results.
        pool: Runs the jobs.
        metrics: Counts them.
    """

    def __init__(self, store: PictureStore, pool: Pool, metrics: Metrics) -> None:
        self._store, self._pool, self._metrics = store, pool, metrics
        self._jobs: dict[str, Job] = {}

    @property
    def waiting(self) -> int:
        """Number of jobs that wait for a worker."""
        return sum(job.state == "waiting" for job in self._jobs.values())

    @property
    def running(self) -> int:
        """Number of jobs that a worker runs."""
        return sum(job.state == "running" for job in self._jobs.values())

    def check_room(self, client: str) -> None:
        """Checks that a client may start one more job.

        Raises:
            Problem: The queue is full, or the client has as many jobs as allowed.
        """
        limits = self._store.limits
        retry = max(1, min(60, round(self._pool.seconds * (self.waiting + 1))))
        of_client = Counter(job.client for job in self._jobs.values() if not job.over)[client]
        if of_client >= limits.client_jobs:
            raise busy(f"{of_client} of your jobs wait or run, and no more are allowed; wait for one to end", retry)
        if self.waiting >= limits.queue:
            raise busy(f"{self.waiting} jobs wait, and no more are allowed; try again later", retry)

    def begin(self, work: Work, client: str, sources: Sequence[StoredPicture], asked: RequestOptions) -> Job:
        """Starts a job.

        Raises:
            Problem: There is no room for it, or there are too few or too many pictures.
        """
        self.check_room(client)
        if len(sources) > self._store.limits.frames:
            raise too_large(f"{len(sources)} pictures came; expected {self._store.limits.frames} at most; send fewer")
        if work == "decompose" and len(sources) != 2:
            raise bad_request(f"decomposing needs exactly two pictures; {len(sources)} came")
        job = Job(work, client, list(sources))
        self._jobs[job.id] = job
        for source in sources:
            source.held += 1
        job.task = asyncio.create_task(self._run(job, asked))
        return job

    def job(self, id: str) -> Job:
        """Returns a job. This also keeps the job and its pictures longer.

        Raises:
            Problem: There is no job with this id.
        """
        job = self._jobs.get(id)
        if job is None:
            raise gone("job")
        job.touched = time.monotonic()
        for picture in (*job.sources, *job.results.values()):
            picture.touched = job.touched
        return job

    async def remove(self, job: Job) -> None:
        """Ends a job in any state, and deletes its results. Its sources stay."""
        if job.task is not None and not job.task.done():
            job.task.cancel()
            with suppress(asyncio.CancelledError):
                await job.task
        self._jobs.pop(job.id, None)
        for picture in job.results.values():
            self._store.remove(picture)

    async def expire(self) -> None:
        """Deletes jobs that have expired."""
        oldest = time.monotonic() - self._store.limits.kept_seconds
        for job in list(self._jobs.values()):
            if job.over and job.touched < oldest:
                await self.remove(job)

    async def close(self) -> None:
        """Ends all jobs."""
        for job in list(self._jobs.values()):
            await self.remove(job)

    async def _run(self, job: Job, asked: RequestOptions) -> None:
        def begun() -> None:
            job.state, job.progress, job.begun = "running", 0.0, time.monotonic()
            job.change()

        def heard(part: float) -> None:
            job.progress = part
            job.change()

        outputs: dict[str, Path] = {}
        try:
            outputs = self._outputs(job, asked)
            job.facts = await self._pool.run(self._task(job, asked, outputs), heard, begun)
            if job.work == "align":
                names = job.facts.pop("files")
                outputs = self._apart(outputs["folder"], {f"frame_{n}": name for n, name in enumerate(names, 1)})
            elif "maps" in outputs:
                made = job.facts.pop("maps")
                shown = {name: made[what] for name, what in MAPS.items() if what in made}
                outputs |= self._apart(outputs.pop("maps"), shown)
            job.results = {name: self._store.add(file) for name, file in outputs.items()}
            job.state, job.progress = "done", 1.0
        except Problem as problem:
            job.state, job.problem = "failed", problem
        except asyncio.CancelledError:
            job.state, job.problem = "failed", Problem(409, "ended", "the job was ended by its client")
            raise
        finally:
            if job.state != "done":
                for file in outputs.values():
                    self._store.remove(StoredPicture(file.parent.parent.name, file))
            for source in job.sources:
                source.held -= 1
            job.touched = time.monotonic()
            job.seconds = job.touched - job.begun if job.begun is not None else 0.0
            self._metrics.job(job.work, job.state, job.seconds)
            job.change()

    def _outputs(self, job: Job, asked: RequestOptions) -> dict[str, Path]:
        if job.work == "align":  # one folder for all frames; which files it will hold is known at the end
            return {"folder": self._store.new_folder() / "aligned"}
        suffix = asked.suffix or suffix_like(job.sources[0].file)
        names = ("fused",) if job.work == "fuse" else PARTS
        files = {name: self._store.new_folder() / f"{name}{suffix}" for name in names}
        return files | ({"maps": self._store.new_folder() / "maps"} if asked.maps else {})

    def _task(self, job: Job, asked: RequestOptions, outputs: dict[str, Path]) -> dict[str, Any]:
        task: dict[str, Any] = {
            "work": job.work,
            "sources": [str(source.file) for source in job.sources],
            "arguments": asked.arguments,
        }
        if job.work == "align":
            return {**task, "folder": str(outputs["folder"])}
        if job.work == "fuse":
            return {**task, **{what: str(outputs[name]) for what, name in _OF_FUSE.items() if name in outputs}}
        return {**task, "outputs": {name: str(file) for name, file in outputs.items()}}

    def _apart(self, folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
        """Moves each wanted file of a folder into a folder of its own, as the store needs it."""
        files = {name: (folder / file).replace(self._store.new_folder() / file) for name, file in names.items()}
        self._store.remove(StoredPicture(folder.parent.parent.name, folder))
        return files
