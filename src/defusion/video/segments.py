"""The finished segments of a clip, so that a run that was killed can continue after the last of them.

Until the result is complete, a folder `OUT.parts` stands beside it. For each segment it holds the encoded frames, if
they go into one file, and a record: how far it goes, and the state that is kept over time. A run that continues from
there makes the same frames as one that was never stopped.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defusion.errors import ImageError
from defusion.system.files import beside
from defusion.video.steady import Plane

#: Frames in a segment.
FRAMES = 250

_TOLD = "made-of.json"
_LOCK = "lock"


def parts_of(output: Path) -> Path:
    """Returns the folder for the finished parts of a result."""
    whole = output.resolve()
    return whole.with_name(f"{whole.name}.parts")


class Record(NamedTuple):
    """How far a run has come."""

    frames: int
    """Number of all finished frames."""
    first: Fraction
    """Time of the first frame."""
    last: Fraction
    """Time of the last frame."""
    state: dict[str, Plane]
    """State that is kept over time."""


class Segments:
    """The segments of one result.

    Args:
        output: The result.
        made_of: All inputs and options that the result depends on. Segments of another result are deleted.
        suffix: Suffix of the encoded frames; None if they go elsewhere.

    Raises:
        ImageError: The folder cannot be created, or another run uses it.
    """

    def __init__(self, output: Path, made_of: Mapping[str, Any], suffix: str | None) -> None:
        self._folder = parts_of(output)
        self._suffix = suffix
        told = json.dumps(dict(made_of), sort_keys=True)
        try:
            if self._folder.is_dir() and self._told() is None and any(each.name != _LOCK for each in self._inside()):
                raise ImageError(f"{self._folder} is in the way of the folder for finished parts; move it away.")
            self._lock = self._locked(output)
            if self._told() != told:
                for path in self._inside():
                    if path.name != _LOCK:
                        path.unlink()
                with beside(self._folder / _TOLD) as part:
                    part.write_text(told, encoding="utf-8")
        except OSError as error:
            raise ImageError(
                f"{self._folder}, for finished parts, cannot be created ({error.strerror}); choose another place."
            ) from error
        self._count = 0
        while (self._folder / f"{self._count:05}.npz").exists():
            self._count += 1

    def __enter__(self) -> Segments:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def _locked(self, output: Path) -> sqlite3.Connection:
        """Makes the folder and locks it until this process ends, even if it is killed.

        Raises:
            ImageError: Another run holds it.
        """
        while True:
            self._folder.mkdir(exist_ok=True)
            lock = sqlite3.connect(self._folder / _LOCK, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                lock.close()
                raise ImageError(
                    f"{output} is in use by another run; wait for it, or choose another output."
                ) from error
            if (self._folder / _LOCK).exists():
                return lock
            lock.close()  # the other run has just ended, and removed the folder

    def _inside(self) -> list[Path]:
        return list(self._folder.iterdir())

    @property
    def last(self) -> Record | None:
        """Returns how far an earlier run came; None if there was none."""
        if not self._count:
            return None
        with np.load(self._folder / f"{self._count - 1:05}.npz") as stored:
            numbers = [int(each) for each in stored["numbers"]]
            state = {name: stored[name] for name in stored.files if name != "numbers"}
        return Record(numbers[0], Fraction(*numbers[1:3]), Fraction(*numbers[3:5]), state)

    @property
    def paths(self) -> list[Path]:
        """Returns the encoded frames of all complete segments."""
        return [self._folder / f"{number:05}{self._suffix}" for number in range(self._count)]

    @property
    def next_path(self) -> Path:
        """Returns the file for the next segment."""
        return self._folder / f"{self._count:05}{self._suffix}"

    def keep(self, record: Record) -> None:
        """Records that the next segment is complete."""
        numbers = [record.frames]
        for time in (record.first, record.last):
            numbers += [time.numerator, time.denominator]
        with beside(self._folder / f"{self._count:05}.npz") as part, part.open("wb") as file:
            np.savez(file, numbers=np.array(numbers, np.int64), **record.state)  # type: ignore[arg-type]
        self._count += 1

    def drop(self) -> None:
        """Deletes the folder, once the result is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)
        left = self._folder.exists()  # on Windows open files stay
        self._lock.close()
        if left:
            with suppress(OSError):
                (self._folder / _LOCK).unlink()
                self._folder.rmdir()

    def _told(self) -> str | None:
        try:
            return (self._folder / _TOLD).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
