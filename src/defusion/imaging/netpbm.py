"""Reads PPM and PGM: a short header, and samples of 8 or 16 bits."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from defusion.imaging.decoded import check_bytes, upright
from defusion.imaging.picture import Picture
from defusion.imaging.tone import Levels

#: Magic number -> channels, and whether samples are written as digits.
_KINDS = {b"P2": (1, True), b"P3": (3, True), b"P5": (1, False), b"P6": (3, False)}


def is_netpbm(start: bytes) -> bool:
    """Says whether a file is a PPM or PGM, by its first bytes."""
    return start[:2] in _KINDS and start[2:3].isspace()


def read_netpbm(file: BinaryIO, name: str) -> Picture:
    """Reads a PPM or PGM. Its largest value is white, even if the sample type could hold more.

    Raises:
        ValueError: The file is damaged.
    """
    channels, digits = _KINDS[file.read(2)]
    width, height, most = (_number(file) for _ in range(3))
    if not (width and height and 0 < most < 2**16):
        raise ValueError(f"it says {width}x{height} samples of up to {most}")
    check_bytes(name, width, height, 2 * channels)
    count = width * height * channels
    if digits:
        samples = np.array(file.read().split()[:count], np.uint16)
    else:
        stored = np.dtype("u1" if most < 256 else ">u2")
        samples = np.frombuffer(file.read(count * stored.itemsize), stored)
    if samples.size < count:
        raise ValueError("the file ends before its last pixels")
    dtype = np.uint8 if most < 256 else np.uint16
    samples = samples.reshape(height, width, channels).astype(dtype)
    full = most == np.iinfo(dtype).max
    low, high = np.percentile(samples, [1, 99])
    # Thermal cameras name the largest of their counts, which is white no more than the least is black.
    counts = dtype == np.uint16 and channels == 1 and high - low < min(low, most / 2)
    return upright(name, samples, None, {}, levels=None if full or counts else Levels(0, most))


def _number(file: BinaryIO) -> int:
    """Returns the next number of a header, after space and comments."""
    digits = b""
    while len(digits) < 10:
        byte = file.read(1)
        if byte == b"#":
            file.readline(2**16)
        elif byte.isdigit():
            digits += byte
        elif digits or not byte:
            break
    return int(digits or b"0")
