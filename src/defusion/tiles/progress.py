"""How far the fusing of a scene has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from defusion.tiles.grid import Size


class FusingProgress(NamedTuple):
    """How far the fusing of a scene has come."""

    rows: int
    """Rows that are done. A row of a stack counts once for each time that its frame is opened."""
    of_rows: int
    """Rows in all; 0 while the frames of a stack are being looked at."""
    frame: int = 1
    """The frame that was worked on last, from 1."""
    frames: int = 1
    """Number of frames that are worked on one after the other; 1 if two are fused as a pair."""


#: Called with the progress of the work.
Report = Callable[[FusingProgress], None]


class Told:
    """Reports the progress of the work on a scene."""

    def __init__(self, report: Report | None, count: int, size: Size) -> None:
        self._report, self._size, self._frame, self._done = report, size, 0, 0
        self._count = count if count > 2 else 1

    def frame(self) -> None:
        """Counts a frame that was looked at."""
        self._frame = self._frame % self._count + 1
        if self._report is not None:
            self._report(FusingProgress(self._done, self._size.height, self._frame, self._count))

    def rows(self, done: int) -> None:
        """Counts rows that are done."""
        self._done = done
        if self._report is not None:
            self._report(FusingProgress(done, self._size.height, self._count, self._count))
