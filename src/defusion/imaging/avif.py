"""Writes 12-bit AVIF: imagecodecs encodes the picture, and the boxes around it also hold profile, EXIF and XMP."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.colour_tags import cicp_of_profile

#: Number of bits of a sample.
BITS = 12
_BT601, _FULL_RANGE = 6, 0x80

_SRGB, _NOT_TOLD = (1, 13), (2, 2)


def encoded(samples: NDArray[np.uint16], icc: bytes | None, exif: bytes | None, xmp: bytes | None) -> bytes:
    """Encodes a picture at quality 95, without chroma subsampling.

    Args:
        samples: [H, W, 3], from 0 to 65535.
        icc: ICC profile; None for sRGB.
        exif: EXIF block, without prefix.
        xmp: XMP packet.
    """
    import imagecodecs

    few = np.rint(samples * np.float32((2**BITS - 1) / 65535)).astype(np.uint16)
    made = bytes(imagecodecs.avif_encode(few, level=95, bitspersample=BITS, pixelformat="444", matrix=_BT601))
    size, depths, config = (_found(made, kind) for kind in (b"ispe", b"pixi", b"av1C"))
    code = _found(made, b"mdat")[8:]
    told = cicp_of_profile(icc)
    primaries, transfer = told[:2] if told else _SRGB if icc is None else _NOT_TOLD
    properties = [
        size,
        depths,
        config,
        _box(b"colr", b"nclx", _numbers(">HHHB", primaries, transfer, _BT601, _FULL_RANGE)),
    ]
    if icc:
        properties.append(_box(b"colr", b"prof", icc))
    items = [(b"av01", code), (b"Exif", bytes(4) + exif if exif else b""), (b"mime", xmp or b"")]
    items = [(kind, content) for kind, content in items if content]
    start = _box(b"ftyp", b"avif", bytes(4), b"avif", b"mif1", b"miaf")
    at = len(start) + len(_meta(items, properties, 0)) + 8
    return start + _meta(items, properties, at) + _box(b"mdat", *(content for _, content in items))


def _meta(items: list[tuple[bytes, bytes]], properties: list[bytes], at: int) -> bytes:
    """Returns the box that describes items. Their contents follow each other from position `at` on."""
    entries, places, references = [], [], []
    for number, (kind, content) in enumerate(items, 1):
        of_kind = b"application/rdf+xml\0" if kind == b"mime" else b""
        entries.append(_box(b"infe", _numbers(">IHH", 2 << 24, number, 0), kind, b"\0", of_kind))
        places.append(_numbers(">HHHII", number, 0, 1, at, len(content)))
        at += len(content)
        if number > 1:
            references.append(_box(b"cdsc", _numbers(">HHH", number, 1, 1)))
    # The third property is marked as essential, since no decoder can do without it.
    essential = bytes(number | (0x80 if number == 3 else 0) for number in range(1, len(properties) + 1))
    return _box(
        b"meta",
        bytes(4),
        _box(b"hdlr", bytes(8), b"pict", bytes(13)),
        _box(b"pitm", bytes(4), _numbers(">H", 1)),
        _box(b"iloc", bytes(4), _numbers(">HH", 0x4400, len(items)), *places),
        _box(b"iinf", bytes(4), _numbers(">H", len(items)), *entries),
        _box(b"iref", bytes(4), *references) if references else b"",
        _box(
            b"iprp",
            _box(b"ipco", *properties),
            _box(b"ipma", bytes(4), _numbers(">IHB", 1, 1, len(properties)), essential),
        ),
    )


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _numbers(kinds: str, *numbers: Any) -> bytes:
    return struct.pack(kinds, *numbers)


def _found(made: bytes, kind: bytes) -> bytes:
    """Returns a box of a file that imagecodecs has written."""
    at = made.index(kind) - 4
    (size,) = struct.unpack_from(">I", made, at)
    return made[at : at + size]
