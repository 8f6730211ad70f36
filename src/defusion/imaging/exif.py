"""EXIF blocks: reads them from any picture, sets them upright, and lays them out for any place in any file.

An EXIF block is a small TIFF: a header, then directories of tagged fields that refer to their values by absolute
offset. A directory is read into a dict, always in little-endian order, so that it can be packed for another offset: 8
for the block of a PNG, JPEG or WebP, the end of the file for a TIFF.

The maker note is copied byte for byte. Absolute offsets inside it, which some makers use, become invalid.

Libraries lose fields on the way: piexif 1.1.3 drops tags that it does not know, and raises when it writes a field of
kind "undefined" that it has read. exifread only reads.
"""

from __future__ import annotations

import io
import os
import re
import struct
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray


class Field(NamedTuple):
    """One value of a directory, in little-endian order."""

    kind: int
    values: int
    raw: bytes


Directory: TypeAlias = "dict[int, Field | Directory]"

# Field types
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16

PREFIX = b"Exif\0\0"
_HEADER = b"II*\0\x08\0\0\0"

_ORIENTATION, _EXIF, _GPS, _INTEROPERABILITY = 0x0112, 0x8769, 0x8825, 0xA005
_ACROSS, _DOWN, _UNIT = 0x011A, 0x011B, 0x0128
_RESOLUTION = {_ACROSS, _DOWN, _UNIT}
_INCH, _CENTIMETRE = 2, 3
_DESCRIPTION = 0x010E

# Tags of the first directory that describe a picture. All others describe how one file stores its pixels.
_DESCRIPTIVE = _RESOLUTION | {
    *(_DESCRIPTION, 0x010F, 0x0110, _ORIENTATION, 0x0131, 0x0132),  # make, model, software, date
    *(0x013B, 0x013C, 0x4746, 0x4749, 0x8298),  # artist, host computer, ratings, copyright
    *range(0x9C9B, 0x9CA0),  # title, comment, author, keywords and subject as Windows writes them
    *(_EXIF, _GPS),
}
# Width and height of the source. They become wrong when a picture is turned or cropped.
_SIZE = (0xA002, 0xA003)

# Directories inside directories. No others are followed, so a block that refers to itself ends.
_POINTERS: dict[int, dict[int, Any]] = {_EXIF: {_INTEROPERABILITY: {}}, _GPS: {}}

# Field type -> words in one value, bytes in one word.
_KINDS = {
    **{1: (1, 1), 2: (1, 1), 3: (1, 2), 4: (1, 4), 5: (2, 4), 6: (1, 1), 7: (1, 1)},
    **{8: (1, 2), 9: (1, 4), 10: (2, 4), 11: (1, 4), 12: (1, 8), 13: (1, 4), 16: (1, 8)},
}


class _Layout(NamedTuple):
    """How a TIFF writes numbers: its byte order, and struct formats for the length of a directory and for
    an offset.
    """

    order: str
    length: str
    offset: str


_LAYOUTS = {
    b"II*\0": _Layout("<", "H", "I"),
    b"MM\0*": _Layout(">", "H", "I"),
    b"II+\0": _Layout("<", "Q", "Q"),
    b"MM\0+": _Layout(">", "Q", "Q"),
}


def parse(block: bytes) -> Directory:
    """Reads an EXIF block, with or without its ``Exif`` prefix.

    Fields that extend beyond the block are left out, so that a truncated maker note does not cost the orientation.

    Raises:
        ValueError: The block does not start like a TIFF.
    """
    return read_directory(io.BytesIO(block.removeprefix(PREFIX)))


def read_directory(file: BinaryIO, at: int | None = None) -> Directory:
    """Reads a directory of a TIFF or BigTIFF file, with the EXIF and GPS directories inside it.

    Args:
        file: The file.
        at: Offset of the directory; None for the first.

    Raises:
        ValueError: The file does not start like a TIFF.
    """
    file.seek(0)
    header = file.read(16)
    layout = _LAYOUTS.get(header[:4])
    if layout is None or len(header) < 8:
        raise ValueError(f"it starts with {header[:8]!r}")
    if at is None:
        start = 8 if layout.offset == "Q" else 4
        (at,) = struct.unpack_from(layout.order + layout.offset, header.ljust(16, b"\0"), start)
    return _fields(file, at, layout, _POINTERS)


def _fields(file: BinaryIO, at: int, layout: _Layout, pointers: dict[int, dict[int, Any]]) -> Directory:
    order, width, room = layout.order, struct.calcsize(layout.length), struct.calcsize(layout.offset)
    entry = struct.Struct(f"{order}HH{layout.offset}{room}s")
    end = file.seek(0, os.SEEK_END)
    file.seek(at)
    (length,) = struct.unpack(order + layout.length, file.read(width).ljust(width, b"\0"))
    table = file.read(entry.size * min(length, 0xFFFF))
    directory: Directory = {}
    for tag, kind, count, inline in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
        (offset,) = struct.unpack(order + layout.offset, inline)
        if tag in pointers:
            if inner := _fields(file, offset, layout, pointers[tag]):
                directory[tag] = inner
            continue
        words, word = _KINDS.get(kind, (0, 1))
        size = words * word * count
        if not words or size > max(room, end - offset):
            continue
        raw = inline[:size]
        if size > room:
            file.seek(offset)
            raw = file.read(size)
        if len(raw) == size:
            little = np.frombuffer(raw, f"{order}u{word}").astype(f"<u{word}").tobytes()
            directory[tag] = Field(kind, count, little)
    return directory


def field(kind: int, *numbers: int) -> Field:
    """Makes a field of whole numbers; its kind is SHORT, LONG or LONG8."""
    return Field(kind, len(numbers), np.array(numbers, f"<u{_KINDS[kind][1]}").tobytes())


def pack(directory: Directory, at: int, big: bool = False) -> bytes:
    """Lays a directory out, little-endian, for the even offset `at` of a file; `big` for a BigTIFF."""
    length, number, room, kind = ("<Q", "Q", 8, LONG8) if big else ("<H", "I", 4, LONG)
    entry = struct.Struct(f"<HH{number}{room}s")
    head = struct.calcsize(length)
    table, values = struct.pack(length, len(directory)), b""
    for tag, value in sorted(directory.items()):
        # The table has an entry for each field, between their count and the offset of the next directory (none).
        offset = at + head + entry.size * len(directory) + room + len(values)
        place = struct.pack(f"<{number}", offset)
        if isinstance(value, dict):
            table += entry.pack(tag, kind, 1, place)
            values += pack(value, offset, big)
        elif len(value.raw) <= room:
            table += entry.pack(tag, value.kind, value.values, value.raw)
        else:
            table += entry.pack(tag, value.kind, value.values, place)
            values += value.raw + bytes(len(value.raw) % 2)
    return table + bytes(room) + values


def orientation(directory: Directory) -> int:
    """Returns how the pixels are turned, 1 (upright) to 8; 1 if the directory does not say."""
    field = directory.get(_ORIENTATION)
    value = int.from_bytes(field.raw, "little") if isinstance(field, Field) else 1
    return value if value in range(1, 9) else 1


def is_adobe_rgb(directory: Directory) -> bool:
    """Says whether a camera has recorded Adobe RGB, which it does in the field for file exchange."""
    shot = directory.get(_EXIF)
    way = shot.get(_INTEROPERABILITY) if isinstance(shot, dict) else None
    index = way.get(1) if isinstance(way, dict) else None
    return isinstance(index, Field) and index.raw.startswith(b"R03")


def upright_block(directory: Directory) -> bytes | None:
    """Makes the EXIF block of a picture that was set upright; None if there is nothing to store.

    The thumbnail, the size and all tags about the layout of the source file are left out.
    """
    kept = descriptive(directory)
    if kept.keys() <= _RESOLUTION | {_ORIENTATION} and _dots_per_inch(kept) is None:
        return None
    shot = kept.get(_EXIF)
    if isinstance(shot, dict):
        kept[_EXIF] = {tag: field for tag, field in shot.items() if tag not in _SIZE}
    kept[_ORIENTATION] = Field(3, 1, b"\1\0")
    return _HEADER + pack(kept, len(_HEADER))


def descriptive(directory: Directory) -> Directory:
    """Keeps the tags of a first directory that describe the picture, and not how one file stores it."""
    return {tag: field for tag, field in directory.items() if tag in _DESCRIPTIVE}


def upright_xmp(packet: bytes | None) -> bytes | None:
    """Changes an XMP packet to say that the picture is upright."""
    return re.sub(rb"(tiff:Orientation(?:=[\"\']|>))[1-8]", rb"\g<1>1", packet) if packet else None


def resolution(block: bytes | None) -> tuple[float, float] | None:
    """Reads dots per inch, across and down, from an EXIF block; None if it has none."""
    try:
        return _dots_per_inch(parse(block)) if block else None
    except ValueError:
        return None


def with_resolution(directory: Directory, dots_per_inch: tuple[float, float] | None) -> Directory:
    """Adds a resolution from outside the EXIF block, unless the block has one."""
    if dots_per_inch is None or not _plausible(*dots_per_inch) or _dots_per_inch(directory):
        return directory
    sides = [Fraction(dots).limit_denominator(1000) for dots in dots_per_inch]
    across, down = (Field(RATIONAL, 1, struct.pack("<II", *side.as_integer_ratio())) for side in sides)
    return directory | {_ACROSS: across, _DOWN: down, _UNIT: field(SHORT, _INCH)}


def _dots_per_inch(directory: Directory) -> tuple[float, float] | None:
    fields = [directory.get(tag) for tag in (_ACROSS, _DOWN, _UNIT)]
    across, down, unit = (each.raw if isinstance(each, Field) else b"" for each in fields)
    units = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(int.from_bytes(unit, "little"))
    if units is None or len(across) != 8 or len(down) != 8:
        return None
    (x, of_x), (y, of_y) = (struct.unpack("<II", side) for side in (across, down))
    dots = (x / max(of_x, 1) * units, y / max(of_y, 1) * units)
    return dots if _plausible(*dots) else None


def _plausible(*dots_per_inch: float) -> bool:
    """Says whether a pixel measures between an inch and 25 nanometres, which all formats can store."""
    return all(1 <= dots <= 1e6 for dots in dots_per_inch)


def without_orientation(directory: Directory) -> Directory:
    """Leaves out the orientation, if a decoder has already turned the picture."""
    return {tag: field for tag, field in directory.items() if tag != _ORIENTATION}


def without_description(directory: Directory) -> Directory:
    """Leaves out the image description, which some programs use for the layout of a stack."""
    return {tag: field for tag, field in directory.items() if tag != _DESCRIPTION}


def set_upright(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns and mirrors samples HxW or HxWxC, stored as EXIF tag 274 says, until they are upright; returns a view."""
    if orientation >= 5:  # stored by columns
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples
