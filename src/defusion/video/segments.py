"""The finished segments of a clip, so that a run that was killed can continue after the last of them.

Until the result is complete, a folder `OUT.parts` stands beside it. For each segment it holds the encoded frames, if
they go into one file, and a record: how far it goes, and the state that is kept over time. A run that continues from
there makes the same frames as one that was never stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defusion.errors import ImageError
from defusion.files import beside
from defusion.video.steady import Plane

#: Frames in a segment.
FRAMES = 250

_TOLD = "made-of.json"


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
        made_of: All that the result depends on. Segments of anything else are deleted.
        suffix: Suffix of the encoded frames; None if they go elsewhere.

    Raises:
        ImageError: The folder cannot be created.
    """

    def __init__(self, output: Path, made_of: Mapping[str, Any], suffix: str | None) -> None:
        self._folder = parts_of(output)
        self._suffix = suffix
        told = json.dumps(dict(made_of), sort_keys=True)
        try:
            if self._folder.is_dir() and (before := self._told()) != told:
                if before is None and any(self._folder.iterdir()):
                    raise ImageError(f"{self._folder} is in the way of the folder for finished parts; move it away.")
                shutil.rmtree(self._folder)
            self._folder.mkdir(exist_ok=True)
            with beside(self._folder / _TOLD) as part:
                part.write_text(told, encoding="utf-8")
        except OSError as error:
            raise ImageError(
                f"{self._folder}, for finished parts, cannot be created ({error.strerror}); choose another place."
            ) from error
        self._count = 0
        while (self._folder / f"{self._count:05}.npz").exists():
            self._count += 1

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

    def _told(self) -> str | None:
        try:
            return (self._folder / _TOLD).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
