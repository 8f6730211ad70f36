"""Reads JPEG XL and JPEG 2000 by imagecodecs, which returns their samples only."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from defusion.imaging import exif
from defusion.imaging.decoded import check_bytes, upright
from defusion.imaging.picture import Picture, split_alpha
from defusion.imaging.tone import Levels

JPEG_XL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
JPEG_2000_STARTS = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")


def read_jpeg_xl(file: BinaryIO, name: str) -> Picture:
    """Reads the first frame of a JPEG XL. Its colours count as sRGB; its EXIF is kept unless it is compressed.

    Raises:
        Exception: The file is damaged.
    """
    import imagecodecs

    data = file.read()
    check_bytes(name, *_size_of_jpeg_xl(data), 3, len(data))
    samples = np.asarray(imagecodecs.jpegxl_decode(data, index=0))
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    samples, alpha, told = split_alpha(samples, 1 if samples.shape[2] < 3 else 3, name)
    notes = [f"{name}: a profile in it is not read, its colours count as sRGB", *told]
    fields = exif.parse(block) if (block := _exif_box(data)) else {}
    # The decoder has already turned the picture.
    return upright(name, samples, None, exif.without_orientation(fields), notes, alpha)


def read_jpeg_2000(file: BinaryIO, name: str) -> Picture:
    """Reads a JPEG 2000 with its ICC profile. Without one its colours count as sRGB.

    Raises:
        Exception: The file is damaged.
    """
    import imagecodecs

    data = file.read()
    at = data.find(b"\xff\x4f\xff\x51")
    width, height, left, top = struct.unpack_from(">4I", data, at + 8)
    (channels,) = struct.unpack_from(">H", data, at + 40)
    bits = (data[at + 42] & 0x7F) + 1
    check_bytes(name, width - left, height - top, channels * (2 if bits > 8 else 1), len(data), copies=5)
    icc, known = _colours_of_jpeg_2000(data[:at])
    # With its boxes the decoder would bring the samples to sRGB.
    samples = np.asarray(imagecodecs.jpeg2k_decode(data[at:] if icc else data))
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    samples, alpha, told = split_alpha(samples, 1 if samples.shape[2] < 3 else 3, name, bits)
    levels = None if bits in (8, 16) else Levels(0, 2**bits - 1)
    notes = told if known else (f"{name}: its colours are not told by a profile and count as sRGB", *told)
    return upright(name, samples, icc, {}, notes, alpha, levels)


def _colours_of_jpeg_2000(head: bytes) -> tuple[bytes | None, bool]:
    """Returns the ICC profile in the boxes of a JPEG 2000, and whether its colours are known. sRGB and its grey have
    none.
    """
    at = head.find(b"colr")
    while at >= 4:
        (size,) = struct.unpack_from(">I", head, at - 4)
        box = head[at + 4 : at - 4 + size]
        if box[:1] in (b"\2", b"\3") and box[39:43] == b"acsp":
            return (None if b"pclr" in head else box[3:]), True  # a palette is the decoder's, profile and all
        if box[:1] == b"\1" and box[3:7] in (struct.pack(">I", 16), struct.pack(">I", 17)):
            return None, True
        at = head.find(b"colr", at + 4)
    return None, False


def _exif_box(data: bytes) -> bytes | None:
    """Returns the EXIF block of a JPEG XL in its container."""
    at = len(JPEG_XL_STARTS[1])
    while data.startswith(JPEG_XL_STARTS[1]) and at + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"Exif":
            return data[at + 12 : at + size]  # after the offset of the block's header
        if size < 8:  # it extends to the end, or has a longer size: these are samples
            return None
        at += size
    return None


def _size_of_jpeg_xl(data: bytes) -> tuple[int, int]:
    """Returns the width and height that a JPEG XL claims (ISO 18181-1, SizeHeader).

    Raises:
        ValueError: It holds no picture.
    """
    at = 0
    while data.startswith(JPEG_XL_STARTS[1]):
        if at + 8 > len(data):
            raise ValueError("it has no picture")
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"jxlc", b"jxlp"):
            at += 8 + 8 * (size == 1) + 4 * (kind == b"jxlp")
            break
        if size < 8:
            raise ValueError("it has no picture")
        at += size
    bits = int.from_bytes(data[at + 2 : at + 16], "little")

    def number(wide: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << wide) - 1), bits >> wide
        return value

    def side() -> int:
        return 8 * (number(5) + 1) if small else 1 + number((9, 13, 18, 30)[number(2)])

    small = number(1)
    height = side()
    across, down = ((0, 0), (1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[number(3)]
    return (height * across // down if across else side()), height
