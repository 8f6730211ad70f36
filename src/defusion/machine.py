"""What this machine has, as far as it decides how sources are fused."""

from __future__ import annotations

import ctypes
import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

#: Where Linux says what a container may take and has taken, in bytes.
_CGROUP = Path("/sys/fs/cgroup")

#: Parameters of glibc's mallopt: how many stores of memory the threads share, how much of what was freed is kept, and
#: from how many bytes on a block is mapped by itself.
_M_ARENA_MAX = -8
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def free_bytes() -> int:
    """Returns how much memory is free, in a container within its own limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit, taken, kinds = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current", "stat"))
    except OSError:
        return free
    if limit.strip() == "max":
        return free
    of_kind = dict(line.split() for line in kinds.splitlines())
    # What was read from files lately is kept while there is room.
    return min(free, int(limit) - int(taken) + int(of_kind.get("inactive_file", 0)))


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[Given], Made], given: Iterable[Given], threads: int) -> Iterator[Made]:
    """Does work on one thing after the other, and goes on while what is made is used.

    Args:
        work: What is done, in any of the threads.
        given: What it is done to; taken in the caller's thread, one more than there are threads at most.
        threads: How many work.

    Yields:
        What is made, in the order of what was given.
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for each in given:
                waiting.append(pool.submit(work, each))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def processor() -> str:
    """Returns the processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def give_memory_back() -> None:
    """Has the C library of Linux return blocks of 16 MiB and more when they are freed, which it would rather keep.

    Smaller ones, as a tile is made of, are kept for the next tile: to get them from the system each time took a sixth
    of the time of fusing 12 megapixels. All threads keep theirs in one place: kept for each of
    two threads, a pair of 12 megapixels took 1.65 GB in place of .75.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**24)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**26)
