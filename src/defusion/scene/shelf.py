"""Pictures that are needed several times: kept in memory if they take little of it, otherwise in a temporary file.

Decoding or warping a frame takes far longer than reading its samples again. The file has no name where the system
allows that, so nothing is left of it if the process is killed.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.warp import WARP_PX
from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, Samples, bands

#: Bytes up to which the pictures of a shelf stay in memory. A stack needs each of its frames six times or more.
#: Twelve frames of 3.8 megapixels took 26.5 s of one core when decoded each time, and 20.1 s when kept.
MEMORY_BYTES = 2**28

#: The file takes no more than this part of the free space of its disk. Pictures for which that is too little are made
#: anew each time.
_DISK_PART = 0.5


class Shelf:
    """Keeps pictures of one scene.

    Args:
        count: Number of pictures that will be kept. If all of them fit into memory, they stay there.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._file: _File | None = None

    def keep(self, picture: Picture) -> Picture | None:
        """Computes the samples of a picture and keeps them.

        Returns:
            The picture with those samples; None if there is no room for them on disk.
        """
        needed = self._count * sum(_bytes(each) for each in (picture.samples, picture.alpha) if each is not None)
        if needed <= MEMORY_BYTES:
            return _with(picture, np.asarray)
        try:
            if self._file is None:
                if needed > _DISK_PART * shutil.disk_usage(tempfile.gettempdir()).free:
                    return None
                self._file = _File()
            return _with(picture, self._file.holding)
        except OSError:  # the disk is full or cannot be written
            return None


class _File:
    """A temporary file of samples. It is closed, and gone, with the last picture that uses it."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._lock = threading.Lock()

    def holding(self, samples: Samples) -> Samples:
        """Writes samples and returns them as they are read from here."""
        start, height, width = self._end, *samples.shape[:2]
        for rows in bands(height, width, WARP_PX):
            part = np.ascontiguousarray(samples[rows, :]).data.cast("B")
            with self._lock:
                self._file.seek(self._end)
                while part:
                    part = part[self._file.write(part) :]
                self._end = self._file.tell()
        return _OnFile(self, start, samples)

    def read(self, start: int, into: NDArray[Any]) -> None:
        """Fills an array from the file, starting at a byte."""
        left = into.data.cast("B")
        with self._lock:
            self._file.seek(start)
            while left:
                read = self._file.readinto(left)
                if not read:
                    raise OSError("a temporary file lost its end")
                left = left[read:]


class _OnFile(LazySamples):
    """Samples in a file, row after row."""

    def __init__(self, file: _File, start: int, like: Samples) -> None:
        height, width, channels = like.shape
        self.shape, self.dtype = (height, width, channels), np.dtype(like.dtype)
        self._file, self._start = file, start

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Reads the samples at some rows and columns."""
        _, width, channels = self.shape
        whole = np.empty((len(rows), width, channels), self.dtype)
        row_bytes = width * channels * self.dtype.itemsize
        if rows.step == 1 and rows:
            self._file.read(self._start + rows.start * row_bytes, whole)
        else:
            for row, into in zip(rows, whole, strict=True):
                self._file.read(self._start + row * row_bytes, into)
        return whole[:, columns.start : columns.stop : columns.step]


def _with(picture: Picture, done: Callable[[Samples], Samples]) -> Picture:
    alpha = None if picture.alpha is None else done(picture.alpha)
    return replace(picture, samples=done(picture.samples), alpha=alpha)


def _bytes(samples: Samples) -> int:
    height, width, channels = samples.shape
    return int(height * width * channels * samples.dtype.itemsize)
