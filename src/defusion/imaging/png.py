"""Reads plain PNGs, checks the others that Pillow reads, and applies what their chunks say about colours."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.colour_tags import profile_of_png
from defusion.imaging.decoded import check_bytes, joined
from defusion.imaging.limits import png_channels
from defusion.imaging.picture import Picture
from defusion.imaging.samples import full_scale, split_alpha
from defusion.imaging.tone import Levels

if TYPE_CHECKING:
    from PIL.Image import Image

_SILENCE = logging.NullHandler()

#: PNG's number for pictures with a palette.
_PALETTE = 3

#: Most bytes of an XMP packet that is compressed.
_MOST_XMP_BYTES = 2**24

#: Kind, data and checksum of each chunk.
Chunks: TypeAlias = Sequence[tuple[bytes, bytes, bytes]]


def chunks_in(file: BinaryIO) -> Chunks:
    """Returns kind, data and checksum of every chunk up to the last one, IEND, which a truncated file lacks.

    Raises:
        ValueError: It is not there.
    """
    file.seek(8)
    chunks = []
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        chunks.append((kind, file.read(length), file.read(4)))
        if kind == b"IEND" and len(chunks[-1][2]) == 4:
            return chunks
    raise ValueError("the file ends before its last chunk")


def check(chunks: Chunks) -> None:
    """Checks that the chunks of a PNG are intact, and that all its rows are there.

    Raises:
        ValueError: A checksum is wrong, or rows are missing.
    """
    for kind, data, checksum in chunks:
        # Chunks whose names start with a small letter are not needed for the picture.
        if kind[:1].isupper() and zlib.crc32(kind + data).to_bytes(4, "big") != checksum:
            raise ValueError(f"the checksum of chunk {kind.decode('ascii', 'replace')} is wrong")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1][:13])
    wide = bits * png_channels(colour)
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, and steps
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    expected = sum(rows * (1 + (columns * wide + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)
    inflate, found = zlib.decompressobj(), 0
    for kind, data, _ in chunks:
        while kind == b"IDAT" and data and found < expected:
            found += len(inflate.decompress(data, 2**20))
            data = inflate.unconsumed_tail
    found += len(inflate.flush())
    if found < expected:
        raise ValueError(f"it holds {found} bytes of its rows, expected {expected}")


def is_plain(chunks: Chunks) -> bool:
    """Returns whether a PNG is one picture, grey or RGB, of 8 or 16 bits."""
    bits, colour = chunks[0][1][8:10]
    return bits >= 8 and colour != _PALETTE and not any(kind == b"acTL" for kind, _, _ in chunks)


def plain(image: Image, chunks: Chunks, name: str) -> Picture:
    """Decodes a PNG of one picture, grey or RGB, of 8 or 16 bits."""
    check_bytes(name, *image.size, 8, copies=2)  # at most four channels of two bytes

    # Pillow reduces 16-bit colour to 8 bits and takes twice as long, so imagecodecs decodes it. It gets only the
    # chunks that hold pixels, because damage in others does not matter.
    import imagecodecs

    # Its remarks about odd chunks would otherwise reach stderr through logging's last resort.
    logging.getLogger("imagecodecs").addHandler(_SILENCE)
    pixels = b"".join(
        struct.pack(">I", len(data)) + kind + data + crc
        for kind, data, crc in chunks
        if kind in (b"IHDR", b"IDAT", b"IEND")
    )
    samples = imagecodecs.png_decode(b"\x89PNG\r\n\x1a\n" + pixels)
    blocks = [data for kind, data, _ in chunks if kind == b"eXIf"]
    keys = [data for kind, data, _ in chunks if kind == b"tRNS"]
    if keys and len(keys[0]) == 2 * samples[0, 0].size:  # a colour that is transparent
        clear = (samples == np.frombuffer(keys[0], ">u2")).reshape(*samples.shape[:2], -1).all(2)
        full = samples.dtype.type(full_scale(samples.dtype))
        samples = np.dstack([samples, np.where(clear, samples.dtype.type(0), full)])
    alpha: NDArray[Any] | None = None
    told: tuple[str, ...] = ()
    if samples.ndim == 3 and samples.shape[2] == 2:
        samples, alpha, told = split_alpha(samples, 1, name)
    block = blocks[0] if blocks else None
    info = image.info
    return joined(name, samples, info.get("icc_profile"), block, info.get("dpi"), told, alpha, _xmp_in(chunks))


def as_told(picture: Picture, chunks: Chunks, name: str) -> Picture:
    """Applies what a PNG's chunks say about its colours."""
    of_kind = {kind: data for kind, data, _ in chunks}
    icc, told = profile_of_png(of_kind)
    if told is None:
        return picture
    full = full_scale(picture.samples.dtype)
    # Video samples leave room below black and above white.
    narrow = told == "cICP" and not of_kind[b"cICP"][3]
    levels = Levels(16 / 255 * full, 235 / 255 * full) if narrow else None
    note = f"{name}: colours are what its {told} says, which is kept as an ICC profile"
    notes = (*picture.notes, note) if icc else picture.notes
    return replace(picture, icc=icc, levels=levels, notes=notes)


def _xmp_in(chunks: Chunks) -> bytes | None:
    """Returns the XMP packet of a PNG, wherever it is; None if there is none, or it is damaged."""
    keyword = b"XML:com.adobe.xmp\0"
    for kind, data, _ in chunks:
        if kind == b"iTXt" and data.startswith(keyword):
            is_packed, method, *_ = (*data[len(keyword) :][:2], 0, 0)
            *_, text = data[len(keyword) + 2 :].split(b"\0", 2)  # after language and translated keyword
            if not is_packed:
                return text
            with suppress(zlib.error):
                return zlib.decompressobj().decompress(text, _MOST_XMP_BYTES) if not method else None
    return None
