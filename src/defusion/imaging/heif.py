"""Reads AVIF and HEIC: pictures in boxes, with 8, 10 or 12 bits."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from defusion.errors import ImageError
from defusion.imaging import exif
from defusion.imaging.colour_tags import Cicp, profile_of_cicp
from defusion.imaging.decoded import check_bytes, upright
from defusion.imaging.picture import Picture
from defusion.imaging.samples import split_alpha
from defusion.imaging.tone import Levels

_AVIF, _HEIC = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

#: Bytes at the start of a file that describe its pictures.
_HEAD = 2**16


def is_avif(start: bytes) -> bool:
    """Says whether a file is an AVIF, from its first bytes."""
    return start[4:8] == b"ftyp" and start[8:12] in _AVIF


def is_heic(start: bytes) -> bool:
    """Says whether a file is a HEIC, from its first bytes."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIC


def deepened(picture: Picture, image: Any, data: bytes, frame: int) -> Picture:
    """Adds to an AVIF that Pillow has read the bits and colours that Pillow leaves out."""
    picture = _with_colours(picture, data)
    bits = _bits(data)
    if bits == 8:
        return picture
    import imagecodecs

    samples = np.asarray(imagecodecs.avif_decode(data, index=frame))
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    colour, alpha, _ = split_alpha(samples[..., :4], 1 if samples.shape[2] < 3 else 3, "", bits)
    turned = exif.orientation(exif.parse(image.info["exif"])) if "exif" in image.info else 1
    alpha = None if alpha is None else exif.set_upright(alpha, turned)
    return replace(picture, samples=exif.set_upright(colour, turned), alpha=alpha, levels=Levels(0, 2**bits - 1))


def read_heic(file: BinaryIO, name: str, frame: int) -> Picture:
    """Reads a frame of a HEIC, upright; 10 and 12 bits become 16.

    Raises:
        ImageError: pi-heif is not installed.
        Exception: The file is damaged.
    """
    data = file.read()
    heif = _library().open_heif(data, convert_hdr_to_8bit=False)
    image = heif[frame]
    width, height = image.size
    check_bytes(name, width, height, 8)
    samples = np.array(image)  # a copy, since the memory belongs to the library's object
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    samples, alpha, told = split_alpha(samples, 1 if samples.shape[2] < 3 else 3, name)
    bits = int(image.info.get("bit_depth", 8))
    levels = Levels(0, (2**bits - 1) << (16 - bits)) if samples.dtype == np.uint16 and bits < 16 else None
    frames = [f"{name}: first of {len(heif)} frames used"] if len(heif) > 1 and frame == 0 else []
    block = image.info.get("exif")
    fields = exif.without_orientation(exif.parse(block)) if block else {}  # libheif has already turned the picture
    icc, xmp = image.info.get("icc_profile"), image.info.get("xmp")
    picture = upright(name, samples, icc, fields, [*frames, *told], alpha, levels, xmp)
    return _with_colours(picture, data)


def frames_in_heic(file: BinaryIO) -> int:
    """Counts the pictures in a HEIC.

    Raises:
        ImageError: pi-heif is not installed.
        Exception: The file is damaged.
    """
    return len(_library().open_heif(file.read()))


def _library() -> Any:
    try:
        import pi_heif
    except ImportError:
        raise ImageError('a HEIC came, which pi-heif reads: pip install "defusion[heic]"') from None
    return pi_heif


def _with_colours(picture: Picture, data: bytes) -> Picture:
    """Gives a picture without a profile the profile of its code points."""
    at = data.find(b"colrnclx", 0, _HEAD)
    if picture.icc or picture.grey or at < 0 or len(data) < at + 15:
        return picture
    primaries, transfer, _, _ = struct.unpack_from(">HHHB", data, at + 8)
    return replace(picture, icc=profile_of_cicp(Cicp(primaries, transfer)))


def _bits(data: bytes) -> int:
    """Returns the number of bits of a sample, by the configuration of the decoder."""
    at = data.find(b"av1C", 0, _HEAD)
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
