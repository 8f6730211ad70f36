"""Facts about this machine that affect fusing: memory, cores, processor."""

from __future__ import annotations

import ctypes
import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TypeVar

from defusion.errors import EngineError

Given = TypeVar("Given")
Made = TypeVar("Made")

#: Where Linux states a container's memory limit and use, in bytes.
_CGROUP = Path("/sys/fs/cgroup")

#: Parameters of glibc's mallopt: how many heaps the threads share, how much freed memory is kept, and from which size
#: a block is mapped on its own.
_M_ARENA_MAX = -8
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def free_bytes() -> int:
    """Returns how much memory is free, within the limit of a container."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit, taken, kinds = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current", "stat"))
    except OSError:
        return free
    if limit.strip() == "max":
        return free
    of_kind = dict(line.split() for line in kinds.splitlines())
    # The kernel gives up its cache of files when memory is needed.
    return min(free, int(limit) - int(taken) + int(of_kind.get("inactive_file", 0)))


def check_free(needed: int) -> None:
    """Checks that `needed` bytes of memory are free.

    Raises:
        EngineError: They are not.
    """
    free = free_bytes()
    if needed > free:
        raise EngineError(
            f"fusing takes about {needed // 10**6} MB of memory at once and {free // 10**6} MB are free; "
            "close other programs, or use a machine with more"
        )


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[Given], Made], given: Iterable[Given], threads: int) -> Iterator[Made]:
    """Does work on one thing after the other in threads, and continues while the caller uses the results. After an
    error no more work is begun.

    Args:
        work: What to do; called in any of the threads.
        given: What to do it to. Taken in the caller's thread, at most one more than there are threads.
        threads: Number of threads.

    Yields:
        The results, in the order of what was given.
    """
    waiting: deque[Future[Made]] = deque()
    failed = Event()

    def done(each: Given) -> Made:
        if failed.is_set():
            raise CancelledError
        try:
            return work(each)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(threads) as pool:
        try:
            for each in given:
                waiting.append(pool.submit(done, each))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def processor() -> str:
    """Returns the processor's name as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def give_memory_back() -> None:
    """Makes the C library of Linux return blocks of 16 MiB and more to the system when they are freed.

    Smaller blocks, such as the arrays of a tile, are kept for the next tile: getting them from the system each time
    took a sixth of the time of fusing 12 megapixels. All threads share one heap: with one for each of two threads, a
    pair of 12 megapixels took 1.65 GB instead of .75.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**24)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**26)
