"""Checks what a file claims to be against its size and the free memory, before anything is listed or decoded."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from defusion.errors import ImageError
from defusion.imaging import exif
from defusion.system.machine import free_bytes

#: Claims of fewer bytes of samples than this are not checked.
_SMALL_BYTES = 2**26

#: Most bytes of samples for one byte of a file, by TIFF's number of the compression method: the limit of each method.
#: Others get the last value, which no method exceeds even for runs of one value.
_LZW_RATIO, _DEFLATE_RATIO, _MOST_RATIO = 1400, 1032, 2**15
_RATIOS = {1: 1, 5: _LZW_RATIO, 8: _DEFLATE_RATIO, 32946: _DEFLATE_RATIO, 32773: 64}
_JPEG_RATIO = 768  # a block of 64 pixels with three colours takes at least two bits
_PROGRESSIVE_RATIO = 2**14

#: Most scans of a progressive JPEG. Encoders make about ten, and each covers the whole picture.
_MOST_SCANS = 100

#: In other formats a picture of one colour takes almost nothing, so only claims of more than these bytes are checked.
_FLAT_BYTES, _FLAT_RATIO = 2**29, 2**20

#: The same for JPEG 2000, whose decoder needs five times the samples: 192 MB of one colour were seen in 858 bytes.
_WAVELET_BYTES, _WAVELET_RATIO = 2**28, 2**18

#: Number of copies of the samples in memory while a whole picture is decoded.
COPIES = 3

#: Most samples for two bytes of a run in a BMP.
_BMP_RUN = 255

#: Warnings of libjpeg: about an incomplete picture, and about one that may be damaged, although some cameras write
#: such files. Its other warnings are about nothing visible.
_DAMAGED_JPEG = re.compile(r"[Pp]remature end|bad Huffman code|instead of RST")
_ODD_JPEG = re.compile(r"extraneous bytes before marker")

#: Encoders do not end a file with this many bytes of 0: a sector of a disk.
_ZEROS = 512

#: What checks found, by what identifies a file's content, and how many of them are kept.
_found: dict[tuple[int, ...], str | None] = {}
_MOST_FOUND = 1000

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _CHANNELS = 256, 257, 258, 259, 277
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")


def check_claims(file: BinaryIO, name: str) -> None:
    """Checks that a file can be what its first bytes claim. The file is left at its start.

    Raises:
        ImageError: It is too short, its samples do not fit into the free memory, or a JPEG has more scans than any
            encoder makes.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    start = file.read(64)
    if start.startswith(b"\x89PNG") and len(start) >= 26:
        width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
        row_bytes = (width * bits * png_channels(colour) + 7) // 8
        _check(name, width, height, height * row_bytes, size * _DEFLATE_RATIO)
        check_memory(name, width, height, COPIES * width * height * png_channels(colour))
    elif start.startswith(b"\xff\xd8\xff"):
        _check_jpeg(file, name, size)
    elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(file, name, size)
    elif start.startswith(b"GIF8") and len(start) >= 10:
        width, height = struct.unpack("<HH", start[6:10])
        _check(name, width, height, width * height, size * _LZW_RATIO)
    elif start.startswith(b"BM") and len(start) >= 34:
        width, height, _, bits, compression = struct.unpack("<iiHHI", start[18:34])
        runs = compression in (1, 2)
        claimed = abs(width * height) * (bits if not runs else 8) // 8
        _check(name, abs(width), abs(height), claimed, size * _BMP_RUN // 2 if runs else size)
    file.seek(0)


def check_jpeg(data: bytes, tables: bytes = b"") -> str | None:
    """Checks that a JPEG is complete. Decoders do not check that, and make missing parts grey.

    Args:
        data: The JPEG.
        tables: Tables that it needs, as a JPEG of its own: inside a TIFF they are stored separately.

    Returns:
        Why it may be damaged, if it may.

    Raises:
        ValueError: Parts are missing, or cannot be read.
    """
    import simplejpeg

    data = tables[:-2] + data[2:] if tables else data
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        form = {"CMYK": "CMYK", "YCCK": "CMYK", "RGB": "RGB"}.get(colours, "GRAY")
        # At an eighth of the size, everything is read and little is computed.
        simplejpeg.decode_jpeg(data, form, fastdct=True, fastupsample=True, min_height=1, min_width=1)
    except ValueError as error:
        reason = str(error).removeprefix("Corrupt JPEG data: ")
        if _DAMAGED_JPEG.search(reason):
            raise ValueError(reason) from error
        return reason if _ODD_JPEG.search(reason) else None
    return None


def check_once(file: BinaryIO, check: Callable[[], str | None]) -> str | None:
    """Returns what a check of an open file finds. A file that this process has checked is not checked again: the
    frames of a large stack are read several times.
    """
    facts = os.fstat(file.fileno())
    identity = facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
    if identity not in _found:
        if len(_found) >= _MOST_FOUND:
            _found.clear()
        _found[identity] = check()
    return _found[identity]


def zeros_at_end(file: BinaryIO) -> int:
    """Counts the bytes of 0 at a file's end, which an interrupted copy may leave; a few count as none."""
    file.seek(0)
    data = file.read()
    file.seek(0)
    zeros = len(data) - len(data.rstrip(b"\0"))
    return zeros if zeros >= _ZEROS else 0


def png_channels(colour: int) -> int:
    """Returns the number of channels for a PNG's number of the kind of colour."""
    return {2: 3, 4: 2, 6: 4}.get(colour, 1)


def _check_jpeg(file: BinaryIO, name: str, size: int) -> None:
    """Reads the markers of a JPEG up to its end."""
    file.seek(0)
    data = file.read()
    at, scans, width, height, channels, progressive = 2, 0, 0, 0, 1, False
    while found := _JPEG_MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            break
        if marker in (0x01, 0xD8) or len(data) < at + 2:
            continue
        if marker in (0xC0, 0xC1, 0xC2) and len(data) >= at + 8:
            height, width, channels = struct.unpack(">HHB", data[at + 3 : at + 8])
            progressive = marker == 0xC2
        scans += marker == 0xDA
        at += int.from_bytes(data[at : at + 2], "big")
    if scans > _MOST_SCANS:
        raise ImageError(f"{name} holds {scans} scans, expected {_MOST_SCANS} at most; save it again as a JPEG.")
    samples = width * height * channels
    _check(name, width, height, samples, size * (_PROGRESSIVE_RATIO if progressive else _JPEG_RATIO))
    # For a progressive picture all coefficients are held, two bytes each.
    check_memory(name, width, height, (COPIES + 2 * progressive) * samples)


def _check_tiff(file: BinaryIO, name: str, size: int) -> None:
    try:
        directory = exif.read_directory(file)
    except ValueError:
        return  # the reader will say what is wrong
    width, height = _number(directory, _WIDTH, 0), _number(directory, _HEIGHT, 0)
    channels, bits = _number(directory, _CHANNELS, 1), _number(directory, _BITS, 1)
    samples = width * height * channels * bits // 8
    ratio = _RATIOS.get(_number(directory, _COMPRESSION, 1), _MOST_RATIO)
    _check(name, width, height, samples, size * ratio)


def _number(directory: exif.Directory, tag: int, otherwise: int) -> int:
    """Returns the first whole number of a field."""
    field: Any = directory.get(tag)
    if not isinstance(field, exif.Field) or not field.values or len(field.raw) // field.values not in (1, 2, 4, 8):
        return otherwise
    return int(np.frombuffer(field.raw, f"<u{len(field.raw) // field.values}", 1)[0])


def check_flat(name: str, width: int, height: int, pixel_bytes: int, stored: int) -> None:
    """Checks that a picture, in a format without a largest ratio, is not just a header.

    Raises:
        ImageError: It would need more than half a gigabyte, but its file has almost nothing.
    """
    _check(name, width, height, width * height * pixel_bytes, max(stored * _FLAT_RATIO, _FLAT_BYTES))


def check_jpeg_2000(name: str, width: int, height: int, pixel_bytes: int, stored: int) -> None:
    """Checks that a JPEG 2000 is not just a header.

    Raises:
        ImageError: It would need more than a quarter of a gigabyte, but its file has almost nothing.
    """
    _check(name, width, height, width * height * pixel_bytes, max(stored * _WAVELET_RATIO, _WAVELET_BYTES))


def check_page(name: str, width: int, height: int, claimed: int, stored: int, compression: int) -> None:
    """Checks that the strips or tiles of a TIFF page can hold what the page claims.

    Args:
        name: The file.
        width: Width of the page.
        height: Height of the page.
        claimed: Bytes of its samples.
        stored: Bytes of its strips or tiles.
        compression: TIFF's number of the compression method.

    Raises:
        ImageError: There are too few bytes.
    """
    _check(name, width, height, claimed, stored * _RATIOS.get(compression, _MOST_RATIO))


def _check(name: str, width: int, height: int, claimed: int, most: int) -> None:
    if claimed > max(most, _SMALL_BYTES):
        raise ImageError(
            f"{name} says that it is {width}x{height} pixels, and is too short for that: it is damaged or made to "
            "take all memory; export or copy it again."
        )


def check_memory(name: str, width: int, height: int, needed: int) -> None:
    """Checks that this many bytes are free.

    Raises:
        ImageError: They are not.
    """
    if needed > _SMALL_BYTES and needed > (free := free_bytes()):
        raise ImageError(
            f"{name} is {width}x{height} pixels, to decode it takes about {needed // 10**6} MB of memory and "
            f"{free // 10**6} MB are free; close other programs, make it a TIFF, or crop it."
        )
