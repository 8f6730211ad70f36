"""Reads camera RAW: recognised by content, and developed by LibRaw in the same way for every frame of a bracket."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from defusion.errors import ImageError
from defusion.imaging import exif
from defusion.imaging.decoded import check_bytes
from defusion.imaging.overheard import overheard
from defusion.imaging.picture import Picture, from_array

# TIFF tags
_SUBFILE, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 262, 330, 50706
_OFFSETS_AND_SIZES = ((273, 279), (324, 325))  # of strips, of tiles

_SENSOR_PHOTOMETRIC = {32803, 34892}  # colour filter array, and DNG's linear raw
_REDUCED = 1

_DAMAGED = re.compile(r"data corrupted at \d+|Unexpected end of file")

#: For these suffixes a TIFF that starts with a preview is passed to LibRaw.
_TIFF_SUFFIXES = {".dng", ".nef", ".cr2", ".arw", ".pef", ".srw"}

_OTHER_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # RAF, ORF, RW2


def is_raw(file: BinaryIO, start: bytes) -> bool:
    """Says whether a file comes straight from a sensor.

    NEF, ARW, DNG and others start like TIFFs. They differ in having a directory that describes samples behind a
    colour filter. A finished picture has none, whatever its suffix.

    Args:
        file: The file, open at a path.
        start: Its first 16 bytes.
    """
    if (
        start.startswith(_OTHER_STARTS)
        or start[4:11] == b"ftypcrx"
        or (start[:4] == b"II*\0" and start[8:10] == b"CR")
    ):
        return True
    try:
        directories = _directories(file)
    except ValueError:  # not a TIFF
        return False
    if any(map(_of_sensor, directories)):
        return True
    first = directories[0]
    preview = _REDUCED in _values(first, _SUBFILE) and Path(file.name).suffix.lower() in _TIFF_SUFFIXES
    return preview or _DNG_VERSION in first


def read_raw(file: BinaryIO, name: str) -> Picture:
    """Develops a RAW file to upright 16-bit sRGB, with the camera's white balance and the brightness as exposed.

    Raises:
        ImageError: rawpy is not installed, or LibRaw does not know the camera.
        Exception: The file is damaged.
    """
    try:
        import rawpy
    except ImportError:
        raise ImageError(f'{name} is a camera RAW file, which rawpy reads: pip install "defusion[raw]"') from None
    fields = _checked(file)
    file.seek(0)
    try:
        with overheard() as said, rawpy.imread(file) as raw:
            check_bytes(name, raw.sizes.width, raw.sizes.height, 3 * 2, stored=os.fstat(file.fileno()).st_size)
            samples = raw.postprocess(
                output_bps=16,
                output_color=rawpy.ColorSpace.sRGB,
                gamma=(2.4, 12.92),  # sRGB's curve
                use_camera_wb=True,
                no_auto_bright=True,
                # By default, LibRaw lowers white to the brightest sample of each picture, and frames of a bracket
                # would not match.
                adjust_maximum_thr=0.0,
            )
            if found := _DAMAGED.search(said()):  # LibRaw reports damage and continues
                raise ValueError(found[0])
    except rawpy.LibRawFileUnsupportedError as error:
        raise ImageError(f"{name} is a RAW file that LibRaw does not know ({error}); export it as a TIFF.") from error
    return replace(from_array(samples, name), exif=exif.upright_block(fields))


def _checked(file: BinaryIO) -> exif.Directory:
    """Returns the EXIF fields of a RAW file that starts like a TIFF; none for others.

    Raises:
        ValueError: The file ends before its last samples, which LibRaw would leave black.
    """
    try:
        directories = _directories(file)
    except ValueError:
        return {}
    size = file.seek(0, 2)
    for directory in filter(_of_sensor, directories):
        for offsets, sizes in _OFFSETS_AND_SIZES:
            places = zip(_values(directory, offsets), _values(directory, sizes), strict=False)
            if any(offset + count > size for offset, count in places):
                raise ValueError("the file ends before its last samples")
    return directories[0]


def _directories(file: BinaryIO) -> list[exif.Directory]:
    """Returns the first directory of a TIFF, and the directories that it names as its parts."""
    first = exif.read_directory(file)
    # Makers write a handful. A damaged count must not make this read on.
    return [first, *(exif.read_directory(file, offset) for offset in _values(first, _SUB_DIRECTORIES)[:16])]


def _of_sensor(directory: exif.Directory) -> bool:
    return not _SENSOR_PHOTOMETRIC.isdisjoint(_values(directory, _PHOTOMETRIC))


def _values(directory: exif.Directory, tag: int) -> list[int]:
    """Returns the whole numbers of a field; none if the directory lacks it."""
    field: Any = directory.get(tag)
    if not isinstance(field, exif.Field) or not field.values:
        return []
    return [int(value) for value in np.frombuffer(field.raw, f"<u{len(field.raw) // field.values}")]
