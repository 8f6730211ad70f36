"""Reads JPEG XL and JPEG 2000 by imagecodecs, which returns their samples only."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from defusion.imaging import exif, jpeg_xl, libjxl
from defusion.imaging.decoded import check_bytes, upright
from defusion.imaging.limits import check_jpeg_2000
from defusion.imaging.picture import Picture
from defusion.imaging.samples import split_alpha
from defusion.imaging.tone import Levels

#: What names the boxes of XMP and EXIF.
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"

JPEG_2000_STARTS = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")


def read_jpeg_xl(file: BinaryIO, name: str, page: int | None = None) -> Picture:
    """Reads a frame of a JPEG XL, the first unless one is named, with the colours, EXIF and XMP that it states.

    Raises:
        Exception: The file is damaged.
    """
    import imagecodecs

    data = file.read()
    head = jpeg_xl.header(data)
    check_bytes(name, head.width, head.height, 3, len(data))
    samples = np.asarray(imagecodecs.jpegxl_decode(data, index=page or 0))
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    samples, alpha, told = split_alpha(samples, 1 if samples.shape[2] < 3 else 3, name)
    icc = head.icc if head.known else libjxl.profile(data)
    unread = not (head.known or icc)
    notes = [f"{name}: its profile is not read, its colours count as sRGB", *told] if unread else [*told]
    notes += [f"{name}: first frame of an animation used"] if head.animated and page is None else []
    fits = icc is not None and (icc[16:20] == b"GRAY") == (samples.shape[2] == 1)
    block = jpeg_xl.box(data, b"Exif")
    fields = exif.parse(block[4:]) if block else {}  # after the offset of the block's header
    # The decoder has already turned the picture.
    fields = exif.without_orientation(fields)
    return upright(name, samples, icc if fits else None, fields, notes, alpha, xmp=jpeg_xl.box(data, b"xml "))


def frames_in_jpeg_xl(file: BinaryIO) -> int:
    """Counts the frames of a JPEG XL; those of an animation are decoded for that.

    Raises:
        Exception: The file is damaged.
    """
    import imagecodecs

    data = file.read()
    head = jpeg_xl.header(data)
    if not head.animated:
        return 1
    check_bytes("an animation", head.width, head.height, 3, len(data))
    return len(imagecodecs.jpegxl_decode(data))


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
    pixel_bytes = channels * (2 if bits > 8 else 1)
    check_bytes(name, width - left, height - top, pixel_bytes, copies=5)
    check_jpeg_2000(name, width - left, height - top, pixel_bytes, len(data))
    icc, known = _colours_of_jpeg_2000(data[:at])
    # With its boxes the decoder would convert the samples to sRGB.
    samples = np.asarray(imagecodecs.jpeg2k_decode(data[at:] if icc else data))
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    samples, alpha, told = split_alpha(samples, 1 if samples.shape[2] < 3 else 3, name, bits)
    levels = None if bits in (8, 16) else Levels(0, 2**bits - 1)
    notes = told if known else (f"{name}: no profile states its colours, so they count as sRGB", *told)
    boxes = dict(_uuid_boxes(data))
    block = boxes.get(_EXIF_UUID, b"").removeprefix(exif.PREFIX)
    # EXIF of JPEG 2000 says how the pixels are turned, as that of TIFF does.
    fields = exif.parse(block) if block[:4] in (b"II*\0", b"MM\0*") else {}
    fields = exif.with_resolution(fields, _dots_of_jpeg_2000(data[:at]))
    return upright(name, samples, icc, fields, notes, alpha, levels, boxes.get(_XMP_UUID))


def _uuid_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields name and content of the boxes of a JPEG 2000 that programs define by themselves."""
    at = 0
    while data.startswith(JPEG_2000_STARTS[0]) and at + 24 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"uuid" and size > 24:
            yield data[at + 8 : at + 24], data[at + 24 : at + size]
        if size < 8:  # it extends to the end, or has a longer size: the picture
            return
        at += size


def _dots_of_jpeg_2000(head: bytes) -> tuple[float, float] | None:
    """Returns dots per inch, across and down, as a box of a JPEG 2000 states them for capture."""
    at = head.find(b"resc")
    if at < 0 or len(head) < at + 14:
        return None
    down, of_down, across, of_across, power_down, power_across = struct.unpack_from(">4H2b", head, at + 4)
    metre = 0.0254  # the box counts dots per metre
    return (
        metre * across / max(of_across, 1) * 10.0**power_across,
        metre * down / max(of_down, 1) * 10.0**power_down,
    )


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
