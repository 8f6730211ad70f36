"""What a frame of a camera card tells about its scene: its EXIF, and a small picture of it."""

from __future__ import annotations

import math
import struct
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.imaging import Picture, exif, luminance, read
from defusion.imaging.exif import Directory, Field
from defusion.imaging.samples import bands

#: Longest side of the small picture that is made of a frame. Finer detail of a camera is mostly noise.
SMALL_PX = 2048

#: Longest side of the maps that are kept of a frame: tones, and the amount of detail at each place.
PLACES_PX = 128

#: Distances, in pixels of the small picture, at which detail is measured: the finest, and one that defocus leaves.
_FINE_PX, _COARSE_PX = 1, 8

_MODEL, _SHOT, _SERIAL = 0x0110, 0x8769, 0xA431
_TIME, _TIME_OF_FILE, _PART_OF_SECOND = 0x9003, 0x0132, 0x9291
_EXPOSURE_TIME, _F_NUMBER, _ISO, _BIAS = 0x829A, 0x829D, 0x8827, 0x9204
_DISTANCE, _FOCAL_LENGTH = 0x9206, 0x920A

#: Codes of `struct` for the kinds of EXIF fields that hold numbers. Two letters are a fraction.
_NUMBERS = {3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}


class Capture(NamedTuple):
    """A frame. What its file does not tell is None."""

    file: str
    size: tuple[int, int]
    """Height and width."""
    camera: tuple[str, ...]
    """Model, serial number and focal length, as far as they are known."""
    time_s: float | None
    """Time when it was taken, by the camera's clock."""
    exposure_s: float | None
    exposure_ev: float | None
    """Amount of light, in stops."""
    bias_ev: float | None
    """Exposure compensation, in stops."""
    focus_m: float | None
    """Distance at which it was focused."""
    tones: NDArray[np.float32]
    """Luminance of the frame, [h, w] in [0, 1], with PLACES_PX on the longest side."""
    fine: NDArray[np.float32]
    """Amount of fine detail at these places, as a mean square."""
    coarse: NDArray[np.float32]
    """Amount of coarser detail at these places, as a mean square."""


def captured(file: str) -> Capture:
    """Looks at a frame.

    Raises:
        ImageError: The file cannot be read.
    """
    picture = read(Path(file))
    small = _small(picture)
    told = _told(picture)
    text = {tag: _text(told.get(tag)) for tag in (_MODEL, _SERIAL)}
    number = {
        tag: _number(told.get(tag)) for tag in (_EXPOSURE_TIME, _F_NUMBER, _ISO, _BIAS, _DISTANCE, _FOCAL_LENGTH)
    }
    camera = (text[_MODEL], text[_SERIAL], str(number[_FOCAL_LENGTH] or ""))
    distance = number[_DISTANCE]
    return Capture(
        file,
        (picture.height, picture.width),
        camera,
        _time(told),
        number[_EXPOSURE_TIME],
        _exposure_ev(number[_EXPOSURE_TIME], number[_F_NUMBER], number[_ISO]),
        number[_BIAS],
        distance if distance and distance < 2**31 else None,  # infinity has all bits set
        _means(small, PLACES_PX),
        _means(_detail(small, _FINE_PX), PLACES_PX),
        _means(_detail(small, _COARSE_PX), PLACES_PX),
    )


def _told(picture: Picture) -> Directory:
    """Returns all EXIF tags of a picture in one directory."""
    try:
        first = exif.parse(picture.exif) if picture.exif else {}
    except ValueError:
        return {}
    shot = first.get(_SHOT)
    return {**first, **(shot if isinstance(shot, dict) else {})}


def _text(value: Field | Directory | None) -> str:
    return value.raw.decode("latin-1").strip("\0 ") if isinstance(value, Field) else ""


def _number(value: Field | Directory | None) -> float | None:
    if not isinstance(value, Field) or value.kind not in _NUMBERS:
        return None
    form = struct.Struct(f"<{_NUMBERS[value.kind]}")
    if len(value.raw) < form.size:
        return None
    above, *below = form.unpack_from(value.raw)
    if below and not below[0]:
        return None
    number = float(above / below[0] if below else above)
    return number if math.isfinite(number) else None


def _time(told: Directory) -> float | None:
    for tag in (_TIME, _TIME_OF_FILE):
        try:
            seconds = datetime.strptime(_text(told.get(tag)), "%Y:%m:%d %H:%M:%S").timestamp()
        except (ValueError, OverflowError, OSError):
            continue
        part = _text(told.get(_PART_OF_SECOND)) if tag == _TIME else ""
        return seconds + (float(f"0.{part}") if part.isdigit() else 0)
    return None


def _exposure_ev(seconds: float | None, f_number: float | None, iso: float | None) -> float | None:
    if not seconds or seconds < 0:
        return None
    return math.log2(seconds * (iso or 100) / 100 / (f_number or 1) ** 2)


def _small(picture: Picture) -> NDArray[np.float32]:
    """Returns means of squares of pixels; the longest side is at most SMALL_PX."""
    step = -(-max(picture.height, picture.width) // SMALL_PX)
    height, width = max(picture.height // step, 1), max(picture.width // step, 1)
    small = np.empty((height, width), np.float32)
    for part in bands(height, width * step**2):
        rows = slice(part.start * step, min(part.stop * step, picture.height))
        plane = luminance(picture.region(rows, slice(0, width * step)))[..., 0]
        down = np.add.reduceat(plane, np.arange(0, len(plane), step), axis=0)
        across = np.add.reduceat(down, np.arange(0, plane.shape[1], step), axis=1)
        small[part] = across[: part.stop - part.start, :width] / step**2
    return small


def _detail(plane: NDArray[np.float32], distance: int) -> NDArray[np.float32]:
    """Returns squared differences between pixels at a distance, across and down."""
    plane = np.pad(plane, ((0, distance), (0, distance)), mode="edge")
    here = plane[:-distance, :-distance]
    return (plane[distance:, :-distance] - here) ** 2 + (plane[:-distance, distance:] - here) ** 2


def _means(plane: NDArray[np.float32], longest: int) -> NDArray[np.float32]:
    """Returns means in square cells. The longer side has the given number of cells, or as many as it has pixels."""
    counts = [max(side * min(longest, max(plane.shape)) // max(plane.shape), 1) for side in plane.shape]
    down, across = (
        np.linspace(0, side, count + 1, dtype=int) for side, count in zip(plane.shape, counts, strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(plane, down[:-1], axis=0), across[:-1], axis=1)
    means: NDArray[np.float32] = (sums / np.outer(np.diff(down), np.diff(across))).astype(np.float32)
    return means
