"""Executor `dask`: fuses scenes on the workers of a Dask cluster. Only paths and outcomes travel, no pictures."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from defusion.batch.work import JobOutcome, SceneJob, fuse_scene
from defusion.errors import BatchError

#: Scenes that are sent for each thread of a worker: one is fused while the next waits.
_SENT_AHEAD = 2

#: How often a scene may lose its worker before it is given up.
_LOSSES = 3

_CONNECT_S = 15
_CLOSE_S = 2

#: Seconds between counts of the workers.
_COUNT_S = 2.0


class DaskExecutor:
    """The workers of a Dask cluster, which may come and go.

    Every worker has to see the sources and the folder of results under the same paths, and needs the same version of
    defusion.

    Args:
        scheduler: Address of a scheduler, such as "tcp://host:8786"; a `distributed.Client`; or a cluster object from
            dask-jobqueue (SLURM and others) or dask-kubernetes. None starts workers on this machine.

    Raises:
        BatchError: Dask is not installed, or there is no scheduler.
    """

    def __init__(self, scheduler: Any) -> None:
        try:
            from distributed import Client, as_completed
        except ImportError as error:
            raise BatchError('executor dask needs distributed: pip install "defusion[cluster]"') from error
        self._own = not isinstance(scheduler, Client)
        if self._own:
            # Dask logs when it loses its scheduler, and sets a level for each of these loggers. The loss is raised
            # here instead.
            for name in ("distributed.client", "distributed.core", "distributed.comm"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._client = Client(scheduler, timeout=_CONNECT_S) if self._own else scheduler
        except (OSError, ValueError) as error:  # nobody answers, or the address is malformed
            raise BatchError(
                f"there is no Dask scheduler at {scheduler} ({error}); start one, or correct it"
            ) from error
        self._done = as_completed()
        self._sent: dict[Any, str] = {}
        """Scenes, by the Dask future of their outcome."""
        self._threads, self._counted_s = 0, 0.0

    @property
    def has_room(self) -> bool:
        """Whether a job that is sent now would start soon."""
        now = time.monotonic()
        if now - self._counted_s > _COUNT_S:
            with self._telling_loss():
                self._threads, self._counted_s = sum(self._client.nthreads().values()), now
        return len(self._sent) < _SENT_AHEAD * max(self._threads, 1)

    @property
    def busy(self) -> bool:
        """Whether there are outcomes to come."""
        return bool(self._sent)

    def start(self, job: SceneJob) -> None:
        """Sends a job to the cluster."""
        # Equal jobs have equal keys. If the scheduler still runs a job from a batch that was killed, it does not
        # start another.
        key = f"defusion-{job.scene}-{hashlib.sha256(repr(job).encode()).hexdigest()[:16]}"
        with self._telling_loss():
            future = self._client.submit(fuse_scene, job, key=key, pure=False, retries=_LOSSES)
        self._sent[future] = job.scene
        self._done.add(future)

    def finished(self) -> list[JobOutcome]:
        """Waits for outcomes and returns them.

        Raises:
            BatchError: The scheduler is gone.
        """
        outcomes = []
        for future in [next(self._done), *self._done.next_batch(block=False)]:
            scene = self._sent.pop(future)
            try:
                with self._telling_loss():
                    outcome: JobOutcome = future.result()
            except BatchError:
                raise
            except Exception as error:  # all workers that tried it were lost, or Dask failed
                outcome = JobOutcome(scene, 0.0, reason=f"Dask gave it up ({error})")
            outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        """Cancels what is not done."""
        if self._client.status == "running":
            self._client.cancel(list(self._sent))
        if self._own:
            self._client.close(timeout=_CLOSE_S)

    @contextmanager
    def _telling_loss(self) -> Iterator[None]:
        """Turns errors that mean a lost scheduler into one sentence."""
        try:
            yield
        except Exception as error:
            # Futures notice the loss a moment before the client's own status changes.
            if isinstance(error, OSError | CancelledError) or self._client.status != "running":
                where = self._client.scheduler.address if self._client.scheduler else "its address"
                raise BatchError(
                    f"the Dask scheduler at {where} is gone; start both again: finished scenes stay finished"
                ) from error
            raise
