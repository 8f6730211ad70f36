"""Clips as numbered images: a folder, or a pattern such as `ir_*.png` or `ir_%05d.png`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from glob import glob
from pathlib import Path

import numpy as np

from defusion.errors import ImageError
from defusion.imaging import read
from defusion.video.clip import Shot

#: Suffixes of pictures that are searched for in a folder.
_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".pgm", ".ppm", ".exr"),
    *(".avif", ".jxl", ".jp2", ".heic", ".dng"),
}


def is_sequence(source: str) -> bool:
    """Says whether a source is a folder or a pattern, and not a single file."""
    return Path(source).is_dir() or (not Path(source).exists() and any(sign in source for sign in "*?%"))


class Sequence:
    """Numbered images as a clip.

    The last number in a name gives the time of its frame. A missing number is a dropped frame.

    Args:
        source: A folder, or a pattern of paths.
        rate: Frames per second.

    Raises:
        ImageError: There are no pictures.
    """

    def __init__(self, source: str, rate: Fraction) -> None:
        self.name, self.step = source, 1 / rate
        self._paths = _ordered(source)
        if not self._paths:
            raise ImageError(
                f"{source} holds no pictures; expected a folder of numbered images, or a pattern like ir_*.png."
            )
        numbers = [_number(path) for path in self._paths]
        steps = np.diff(numbers)
        self.numbered = bool(len(steps) and steps.min() > 0)
        self.usual = int(np.median(steps)) if self.numbered else 1
        """The usual difference between the numbers of neighbouring frames."""
        self._numbers = numbers if self.numbered else list(range(len(numbers)))
        self.first, self.last = self._numbers[0], self._numbers[-1]
        self.origin = self.first
        """The number of the frame at time 0."""
        self.count: int | None = len(self._paths)
        self.notes: tuple[str, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The pictures, in order."""
        return self._paths

    def shots(self) -> Iterator[Shot]:
        """Yields the frames. Each is read when it is opened."""
        for path, number in zip(self._paths, self._numbers, strict=True):
            yield Shot((number - self.origin) * self.step / self.usual, partial(read, path))


def share_numbers(a: Sequence, b: Sequence) -> None:
    """If two sequences have one rate and overlapping numbers, makes equal numbers mean equal times."""
    if a.numbered and b.numbered and a.step == b.step and a.first <= b.last and b.first <= a.last:
        a.origin = b.origin = min(a.first, b.first)
        a.usual = b.usual = min(a.usual, b.usual)


def _ordered(source: str) -> list[Path]:
    if Path(source).is_dir():
        paths = [path for path in Path(source).iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file()]
    else:
        pattern = re.sub(r"%0?\d*d", "*", source)
        paths = [Path(path) for path in glob(pattern) if Path(path).is_file()]  # noqa: PTH207  (of absolute ones, too)
    paths = [path for path in paths if not path.name.startswith(".")]
    return sorted(paths, key=lambda path: [*_parts(path.name), path.name])


def _parts(name: str) -> list[tuple[int, int, str]]:
    """Splits a name into parts for sorting, with numbers by their value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", name)]


def _number(path: Path) -> int:
    """Returns the last number in a name; -1 if there is none."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1
