"""Executor `local`: processes on this machine, as many as memory allows, each with its own network and some of the
cores.

Each process has two scenes at a time, so that one is read or written while the other is fused.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import psutil

from defusion.batch.work import JobOutcome, SceneJob, fuse_scene
from defusion.errors import BatchError
from defusion.system.machine import free_bytes

SCENES_AT_ONCE = 2

#: How often a scene is tried if its process dies.
TRIES = 3

#: Memory reserved for a process, as a multiple of what its first scenes took: later scenes may be larger.
_MARGIN = 1.25

_LOOK_S = 0.05


@dataclass
class _Task:
    job: SceneJob
    tries: int = 1


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    share: int
    tasks: dict[str, _Task] = field(default_factory=dict)
    ended: bool = False
    """It gets no more scenes."""
    has_finished: bool = False
    """It has finished at least one scene."""

    def takes(self, task: _Task) -> bool:
        """Says whether it can take one more scene. A scene that is tried again may be the one that kills processes,
        so it gets a process to itself.
        """
        if self.ended or any(each.tries > 1 for each in self.tasks.values()):
            return False
        return len(self.tasks) < (SCENES_AT_ONCE if task.tries == 1 else 1)

    def send(self, job: SceneJob | None) -> None:
        with suppress(OSError):  # it has died, which is noticed elsewhere
            self.pipe.send(job)


class LocalExecutor:
    """Processes that fuse scenes.

    Args:
        workers: Number of processes. None takes as many as there are cores, scenes and memory for; one process fuses
            the first scenes to measure the memory.
        scenes: Number of scenes, if known.
    """

    def __init__(self, workers: int | None, scenes: int | None) -> None:
        self._cores = _own_cores()
        self._wanted = workers or max(1, min(len(self._cores), scenes or len(self._cores)))
        self._sized = workers is not None or self._wanted == 1
        self._workers: list[_Worker] = []
        self._waiting: deque[_Task] = deque()
        self._peak_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether a job that is sent now would start soon."""
        return self._in_work < SCENES_AT_ONCE * self._allowed

    @property
    def busy(self) -> bool:
        """Whether there are outcomes to come."""
        return self._in_work > 0

    @property
    def _in_work(self) -> int:
        return len(self._waiting) + sum(len(worker.tasks) for worker in self._workers)

    @property
    def _allowed(self) -> int:
        """Number of processes allowed now: one, until its memory is known."""
        return self._wanted if self._sized else 1

    def start(self, job: SceneJob) -> None:
        """Queues a job."""
        self._waiting.append(_Task(job))
        self._hand_out()

    def finished(self) -> list[JobOutcome]:
        """Waits for outcomes and returns them.

        Raises:
            BatchError: Processes cannot start.
        """
        outcomes: list[JobOutcome] = []
        while not outcomes and self.busy:
            self._hand_out()
            handles = [handle for each in self._workers for handle in (each.pipe, each.process.sentinel)]
            wait(handles, None if self._sized else _LOOK_S)
            if not self._sized:
                self._look_at_memory()
            for worker in list(self._workers):
                outcomes += self._heard(worker)
        return outcomes

    def close(self) -> None:
        """Ends the processes at once, whatever they are doing."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _hand_out(self) -> None:
        """Gives waiting jobs to processes that can take them."""
        for _ in range(len(self._waiting)):
            task = self._waiting.popleft()
            if worker := self._worker_for(task):
                worker.tasks[task.job.scene] = task
                worker.send(task.job)
            else:
                self._waiting.append(task)

    def _worker_for(self, task: _Task) -> _Worker | None:
        """Returns the process with the fewest scenes. Starts a new one if all are busy and more are wanted."""
        going_on = [worker for worker in self._workers if not worker.ended]
        least = min(
            (worker for worker in going_on if worker.takes(task)), key=lambda each: len(each.tasks), default=None
        )
        if (least is None or least.tasks) and len(going_on) < self._allowed:
            taken = {worker.share for worker in going_on}
            share = min(number for number in range(self._wanted) if number not in taken)
            least = _started(share, _cores_of(self._cores, share, self._wanted))
            self._workers.append(least)
        return least

    def _heard(self, worker: _Worker) -> list[JobOutcome]:
        """Receives what a process has sent, and notices if it has died."""
        alive, outcomes = worker.process.is_alive(), []
        with suppress(EOFError, OSError):  # raised if it has died
            while worker.pipe.poll():
                outcome: JobOutcome = worker.pipe.recv()
                worker.has_finished = True
                task = worker.tasks.pop(outcome.scene)
                if outcome.memory_short and task.tries < TRIES:
                    self._take_one_less()
                    self._again(task)
                else:
                    outcomes.append(outcome)
        if not alive:
            return outcomes + self._buried(worker)
        if not self._sized and worker.has_finished:
            self._size(worker)
        if worker.ended and not worker.tasks:
            worker.send(None)
        return outcomes

    def _buried(self, worker: _Worker) -> list[JobOutcome]:
        """Queues the scenes of a process that died again, except those that were tried too often."""
        self._workers.remove(worker)
        worker.pipe.close()
        if worker.ended and not worker.tasks:
            return []
        code = worker.process.exitcode or 0
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if not worker.has_finished and code > 0:
            raise BatchError(
                f"a process for fusing could not start ({ended}); a script has to call defusion.batch below a "
                'line if __name__ == "__main__":'
            )
        self._take_one_less()
        lost = []
        for task in worker.tasks.values():
            if task.tries < TRIES:
                self._again(task)
            else:
                reason = f"its process ended {TRIES} times ({ended}), as happens when memory runs out"
                lost.append(JobOutcome(task.job.scene, 0.0, reason=reason))
        return lost

    def _again(self, task: _Task) -> None:
        task.tries += 1
        self._waiting.append(task)

    def _take_one_less(self) -> None:
        """Uses one process less, so that each has more memory."""
        self._sized = True
        self._wanted = max(self._wanted - 1, 1)
        going_on = [worker for worker in self._workers if not worker.ended]
        if len(going_on) > self._wanted:
            self._end(going_on[-1])

    def _end(self, worker: _Worker) -> None:
        worker.ended = True
        if not worker.tasks:
            worker.send(None)

    def _look_at_memory(self) -> None:
        for worker in self._workers:
            with suppress(psutil.Error):
                self._peak_bytes = max(self._peak_bytes, psutil.Process(worker.process.pid).memory_info().rss)

    def _size(self, first: _Worker) -> None:
        """Decides on the number of processes, by the memory that the first one took."""
        taken = max(int(self._peak_bytes * _MARGIN), 1)
        fitting = max(1, min(self._wanted, (free_bytes() + self._peak_bytes) // taken))
        self._sized = True
        if fitting < self._wanted:  # each gets more cores then, so the first process is replaced
            self._wanted = fitting
            self._end(first)


def _started(share: int, cores: list[int]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, cores), daemon=True, name="defusion batch")
    process.start()
    theirs.close()
    return _Worker(process, ours, share)


def _work(pipe: Connection, cores: list[int]) -> None:
    """Runs in a worker process: fuses jobs until it receives None or its parent is gone."""
    # a terminal sends SIGINT to all processes, but the parent decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(len(cores))
    if hasattr(psutil.Process, "cpu_affinity"):
        psutil.Process().cpu_affinity(cores)
    sending = threading.Lock()

    def fuse(job: SceneJob) -> None:
        outcome = fuse_scene(job)
        with sending:
            pipe.send(outcome)

    with ThreadPoolExecutor(SCENES_AT_ONCE) as threads:
        while (job := pipe.recv()) is not None:
            threads.submit(fuse, job)


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is gone, because a new batch may already have started on its work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _own_cores() -> list[int]:
    if hasattr(psutil.Process, "cpu_affinity"):
        return sorted(psutil.Process().cpu_affinity())
    return list(range(os.cpu_count() or 1))


def _cores_of(cores: list[int], share: int, of: int) -> list[int]:
    """Returns the cores for one of several processes."""
    if of >= len(cores):
        return [cores[share % len(cores)]]
    return cores[share * len(cores) // of : (share + 1) * len(cores) // of]
