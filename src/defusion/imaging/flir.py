"""Radiometric JPEGs of FLIR cameras: reads the raw thermal plane stored beside the painted picture, as degrees
Celsius.

A container of records, FFF, is in the APP1 segments of the file. One record holds the counts of the sensor, raw or as
PNG. Another holds the constants of its Planck curve and the settings for the scene. Their layout is documented in
ExifTool's tables of FLIR tags (https://exiftool.org/TagNames/FLIR.html).

    signal(T) = R1 / (R2 (exp(B / T) - F)) - O
    counts = what the object sends, through air, window and air, and what it reflects, and air and window send

The window is assumed to be half-way, as in other readers of these files.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.decoded import check_bytes
from defusion.imaging.picture import Measured

#: Start of the APP1 segments that hold the container. The numbers of the segment and of the last segment follow.
_APP1, _SEGMENT = 0xE1, b"FLIR\0"

_RAW_DATA, _CAMERA = 1, 0x20
_ENTRY_BYTES, _PLANE_AT = 0x20, 0x20
_ZERO_CELSIUS = 273.15

#: Most records that are read.
_RECORDS = 256

#: Fields of the camera's record: offset, and format.
_FIELDS = {
    **{"emissivity": (0x20, "f"), "distance": (0x24, "f"), "reflected": (0x28, "f"), "air": (0x2C, "f")},
    **{"window": (0x30, "f"), "window_transmission": (0x34, "f"), "humidity": (0x3C, "f")},
    **{"r1": (0x58, "f"), "b": (0x5C, "f"), "f": (0x60, "f"), "o": (0x308, "i"), "r2": (0x30C, "f")},
    **{"alpha1": (0x70, "f"), "alpha2": (0x74, "f"), "beta1": (0x78, "f"), "beta2": (0x7C, "f"), "x": (0x80, "f")},
}


class Radiometric(NamedTuple):
    """The measurements of a radiometric JPEG."""

    celsius: NDArray[np.float32]
    """[H, W], as the sensor is oriented."""
    measured: Measured


def radiometric(jpeg: bytes, name: str) -> Radiometric | None:
    """Reads the temperatures of a radiometric JPEG; None if it has none.

    Raises:
        ValueError: The container is damaged, or holds something unknown.
        ImageError: Its thermal plane is larger than can be read.
    """
    found = segments(jpeg)
    container = b"".join(part[8:] for marker, part in found if marker == _APP1 and part.startswith(_SEGMENT))
    if not container:
        return None
    try:
        records = dict(_records(container))
        if _RAW_DATA not in records or _CAMERA not in records:
            return None
        counts = _counts(records[_RAW_DATA], name)
        camera = _camera(records[_CAMERA])
    except struct.error as error:
        raise ValueError(f"its thermal data end too soon, {error}") from error
    celsius = _celsius(counts, camera)
    facts = {
        "emissivity": round(camera["emissivity"], 4),
        "distance_m": round(camera["distance"], 3),
        "reflected_celsius": round(camera["reflected"] - _ZERO_CELSIUS, 3),
        "air_celsius": round(camera["air"] - _ZERO_CELSIUS, 3),
        "relative_humidity": round(_share(camera["humidity"]), 4),
    }
    return Radiometric(celsius, Measured("celsius", facts))


def segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the markers and contents of the segments of a JPEG, up to the start of the picture."""
    at = 2
    while jpeg[at : at + 1] == b"\xff" and at + 4 <= len(jpeg):
        kind, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if kind == 0xDA or length < 2:
            return
        yield kind, jpeg[at + 4 : at + 2 + length]
        at += 2 + length


def _records(container: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields records by their kind; the first of a kind counts."""
    if not container.startswith((b"FFF\0", b"AFF\0")):
        raise ValueError("its thermal data do not begin as they should")
    order = next((each for each in "><" if 100 <= struct.unpack_from(f"{each}I", container, 0x14)[0] < 200), None)
    if order is None:
        raise ValueError("its thermal data are of an unknown version")
    start, count = struct.unpack_from(f"{order}II", container, 0x18)
    found = []
    for number in range(min(count, _RECORDS)):
        entry = start + number * _ENTRY_BYTES
        (kind,) = struct.unpack_from(f"{order}H", container, entry)
        at, length = struct.unpack_from(f"{order}II", container, entry + 0x0C)
        if kind and length:
            found.append((kind, container[at : at + length]))
    yield from reversed(found)


def _order(record: bytes) -> str:
    """Returns the byte order of a record, which starts with a small number."""
    return "<" if struct.unpack_from("<H", record)[0] < 0x100 else ">"


def _counts(record: bytes, name: str) -> NDArray[np.uint16]:
    order = _order(record)
    width, height = struct.unpack_from(f"{order}HH", record, 2)
    plane = record[_PLANE_AT:]
    if plane.startswith(b"\x89PNG"):
        import imagecodecs

        if struct.unpack(">II", plane[16:24]) != (width, height):
            raise ValueError("its thermal plane is not as large as its header says")
        check_bytes(name, width, height, 8, stored=len(plane))
        counts = np.asarray(imagecodecs.png_decode(plane))
        if counts.dtype != np.uint16 or counts.ndim != 2:
            raise ValueError("its thermal plane does not hold counts of 16 bits")
        swapped = counts.byteswap()  # most cameras write this order, although PNG requires the other
        return swapped if _roughness(swapped) < _roughness(counts) else counts
    if not width or not height or len(plane) < 2 * width * height:
        raise ValueError("its thermal plane is truncated, or packed in a way that is not known")
    return np.frombuffer(plane, f"{order}u2", width * height).reshape(height, width).astype(np.uint16)


def _roughness(counts: NDArray[np.uint16]) -> float:
    return float(np.abs(np.diff(counts.astype(np.int64), axis=1)).mean()) if counts.shape[1] > 1 else 0.0


def _camera(record: bytes) -> dict[str, float]:
    order = _order(record)
    fields = {name: float(struct.unpack_from(order + kind, record, at)[0]) for name, (at, kind) in _FIELDS.items()}
    positive = ("emissivity", "reflected", "air", "r1", "b", "r2")
    if not all(map(math.isfinite, fields.values())) or min(fields[name] for name in positive) <= 0:
        raise ValueError("the constants of its thermal camera are not what any camera has")
    return fields


def _share(humidity: float) -> float:
    return humidity / 100 if humidity > 2 else humidity  # in some files it is in percent


def _celsius(counts: NDArray[np.uint16], camera: dict[str, float]) -> NDArray[np.float32]:
    """Converts counts to the temperature of the object: subtracts what it reflects, and what air and window add and
    absorb.
    """

    def signal(kelvin: float) -> float:
        return camera["r1"] / (camera["r2"] * (math.exp(camera["b"] / kelvin) - camera["f"])) - camera["o"]

    def passed(alpha: float, beta: float) -> float:
        return math.exp(-math.sqrt(max(camera["distance"], 0) / 2) * (alpha + beta * math.sqrt(water)))

    air = camera["air"] - _ZERO_CELSIUS
    saturated = 1.5587 + 6.939e-2 * air - 2.7816e-4 * air**2 + 6.8455e-7 * air**3
    water = max(_share(camera["humidity"]) * math.exp(saturated), 0)
    part = camera["x"]
    through_air = part * passed(camera["alpha1"], camera["beta1"])
    through_air += (1 - part) * passed(camera["alpha2"], camera["beta2"])
    window = camera["window_transmission"] or 1.0
    emissivity = camera["emissivity"]
    whole_way = through_air * window * through_air
    others = (1 - emissivity) * whole_way * signal(camera["reflected"])
    others += (1 - through_air) * (window * through_air + 1) * signal(camera["air"])
    if window < 1 and camera["window"] > 0:
        others += (1 - window) * through_air * signal(camera["window"])
    of_object = (counts.astype(np.float64) - others) / (emissivity * whole_way)
    inside = camera["r1"] / (camera["r2"] * np.maximum(of_object + camera["o"], 1e-6)) + camera["f"]
    kelvin = camera["b"] / np.log(np.maximum(inside, 1 + 1e-9))
    if not np.isfinite(kelvin).all():
        raise ValueError("its counts give no temperatures")
    celsius: NDArray[Any] = kelvin - _ZERO_CELSIUS
    return celsius.astype(np.float32)
