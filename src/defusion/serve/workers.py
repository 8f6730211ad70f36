"""Worker processes: they decode and fuse. They are killed if a task takes too long or too much memory."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from defusion.serve.problem import Problem, bad_request, too_large
from defusion.serve.settings import Limits

_log = logging.getLogger("defusion.serve")

#: Longest answer of a worker, in bytes.
_LINE_BYTES = 2**22

#: Seconds between checks of a worker's memory.
_WATCH_SECONDS = 0.2

#: Problems for tasks that cannot be done, by the worker's reason.
_PROBLEMS = {"bad": bad_request, "large": too_large}

Heard = Callable[[float], None]


class _LostError(Exception):
    """A worker ended during a task."""


class Worker:
    """One process of `defusion.serve.work`. It does one task at a time."""

    def __init__(self, process: asyncio.subprocess.Process, number: int, memory_bytes: int) -> None:
        self._process, self.number, self._memory_bytes = process, number, memory_bytes
        self.spent = False
        """It cannot take another task."""

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @classmethod
    async def start(cls, start: dict[str, Any]) -> Worker:
        """Starts a process. It can be given tasks at once, and begins with them when it is ready."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "defusion.serve.work", json.dumps(start)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is meant for the service, which ends its workers itself
        )
        return cls(process, start["number"], start["memory_bytes"])

    async def ready(self) -> None:
        """Waits until the process is ready.

        Raises:
            _LostError: It has ended instead.
        """
        await self._answer()

    async def run(self, task: dict[str, Any], heard: Heard) -> dict[str, Any]:
        """Does a task.

        Args:
            task: As `work.py` takes it.
            heard: Called with the fraction that is done, from 0 to 1.

        Raises:
            Problem: The task cannot be done.
            _LostError: The process ended.
        """
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            await self._process.stdin.drain()
        watch = asyncio.create_task(self._watch())
        self.spent = True  # until it has answered completely
        try:
            while "progress" in (answer := await self._answer()):
                heard(float(answer["progress"]))
            self.spent = False
        except _LostError:
            if watch.done():
                raise too_large(
                    f"this takes more than the {self._memory_bytes // 10**6} MB of memory that a job may use; "
                    "send smaller or fewer pictures"
                ) from None
            raise
        finally:
            watch.cancel()
        if "done" in answer:
            return dict(answer["done"])
        if answer["failed"] in _PROBLEMS:
            raise _PROBLEMS[answer["failed"]](answer["detail"])
        _log.error("a task failed: %s", answer["detail"])
        raise bad_request("this failed, and the service's log says why; a picture may be damaged")

    async def kill(self) -> None:
        """Ends the process at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _LostError
        return dict(json.loads(line))

    async def _watch(self) -> None:
        """Kills the process if it uses too much memory; returns only then.

        The process also limits itself. This is for systems where it cannot, and for mapped memory.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                taken = psutil.Process(self._process.pid).memory_info().rss
            except psutil.NoSuchProcess:
                await asyncio.Event().wait()
            if taken > self._memory_bytes:
                with suppress(ProcessLookupError):
                    self._process.kill()
                return


class Pool:
    """Workers of one kind. A task goes to the first that is free.

    Args:
        count: Number of workers.
        fuses: They load a network.
        folder: Folder of the store; workers delete it if the service dies.
        limits: What a task may use.
        arguments: Options for all tasks; a task may override them.
    """

    def __init__(self, count: int, *, fuses: bool, folder: Path, limits: Limits, arguments: dict[str, str]) -> None:
        self._count, self._limits = count, limits
        self._start = {
            "fuses": fuses,
            "workers": count,
            "folder": str(folder),
            "memory_bytes": limits.memory_bytes,
            "picture_pixels": limits.picture_pixels,
            "arguments": arguments,
        }
        self._free: asyncio.Queue[Worker] = asyncio.Queue()
        self._workers: list[Worker] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.restarts = 0
        self.waiting = 0
        """Number of tasks that wait for a worker."""
        self.seconds = 1.0
        """Time that recent tasks took."""

    @property
    def ready(self) -> bool:
        """Whether a worker is ready."""
        return bool(self._workers)

    def pids(self) -> list[int]:
        """Returns the process ids."""
        return [worker.pid for worker in self._workers]

    def open(self) -> None:
        """Starts the workers."""
        for number in range(self._count):
            self._spawn(number)

    async def close(self) -> None:
        """Ends all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._workers:
            await worker.kill()

    async def run(
        self, task: dict[str, Any], heard: Heard = lambda done: None, begun: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Has a worker do a task. If the worker ends during the task, another one tries again.

        If this coroutine is cancelled, it ends the worker.

        Args:
            task: As `work.py` takes it.
            heard: Called with the fraction that is done.
            begun: Called when a worker takes the task.

        Raises:
            Problem: The task cannot be done, takes too long, or ended two workers.
        """
        for last in (False, True):
            async with self._worker() as worker:
                begun()
                since = time.monotonic()
                try:
                    async with asyncio.timeout(self._limits.job_seconds):
                        done = await worker.run(task, heard)
                    self.seconds += 0.2 * (time.monotonic() - since - self.seconds)
                    return done
                except TimeoutError:
                    allowed = f"{self._limits.job_seconds:g} s"
                    detail = f"this takes more than the {allowed} that a job may take; send smaller or fewer pictures"
                    raise Problem(422, "too-slow", detail) from None
                except _LostError:
                    _log.warning("a worker ended during a task%s", "" if last else "; another one tries it")
        raise bad_request("this ended two worker processes; a picture is damaged, or too large for this machine")

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[Worker]:
        """Takes a worker, and returns the same one or its replacement to the pool."""
        self.waiting += 1
        try:
            worker = await self._free.get()
        finally:
            self.waiting -= 1
        try:
            yield worker
        finally:
            if worker.spent:
                self.restarts += 1
                self._workers.remove(worker)
                self._spawn(worker.number, worker)
            else:
                self._free.put_nowait(worker)

    def _spawn(self, number: int, instead_of: Worker | None = None) -> None:
        task = asyncio.create_task(self._started(number, instead_of))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _started(self, number: int, instead_of: Worker | None) -> None:
        """Starts a worker, repeatedly until one is ready."""
        if instead_of is not None:
            await instead_of.kill()
        pause = 0.5
        while True:
            worker = await Worker.start({**self._start, "number": number})
            try:
                await worker.ready()
                break
            except _LostError:
                _log.error("a worker does not start")
                await asyncio.sleep(pause)
                pause = min(60.0, 2 * pause)
            except asyncio.CancelledError:
                await worker.kill()
                raise
        self._workers.append(worker)
        self._free.put_nowait(worker)
