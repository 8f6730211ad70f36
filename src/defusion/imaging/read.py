"""Picture files in, known by their first bytes: PNG, JPEG, WebP, TIFF, BMP, camera RAW and EXR, upright."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import exif
from defusion.imaging.colour_tags import profile_of_png
from defusion.imaging.decoded import check_bytes, telling_damage, upright
from defusion.imaging.exr import START as EXR_START
from defusion.imaging.exr import read_exr
from defusion.imaging.picture import Picture, full_scale, split_alpha
from defusion.imaging.profile import cmyk_to_srgb
from defusion.imaging.raw import is_raw, read_raw
from defusion.imaging.tiff import read_tiff
from defusion.imaging.tone import Levels

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


def read(path: str | os.PathLike[str]) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF, BMP, camera RAW or EXR file.

    The content decides about the format, not the suffix. Pictures come upright; palette, 1-bit and CMYK
    pictures come as RGB or grey; alpha says which places count; further pages are left out. Notes tell what was
    changed.

    A large TIFF is read when its samples are asked for, so that damage in it may show as late as that; keep the
    file until then.

    Args:
        path: The file to read.

    Returns:
        A picture whose depth is the sample type of the file, with the file's ICC profile and EXIF. RAW is developed
        to 16 bits; EXR keeps its linear values.

    Raises:
        ImageError: No such file, a folder, not a picture, truncated or damaged, samples that cannot be
            fused (LAB, 16-bit CMYK, 32-bit integers, floats outside [0, 1]), or an extra that is not installed.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, expected a picture; name a file inside it.")
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path} was not found, expected a picture; check the spelling and the folder.") from None
    except (OSError, ValueError) as error:  # the second of a name that cannot be
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path!s:.200} cannot be opened ({reason}); make it readable first.") from error
    with file, telling_damage(path):
        start = file.read(16)
        if not start:
            raise ImageError(f"{path} is empty (0 bytes), expected a picture; export or copy it again.")
        decode = _decoder(file, start)
        if decode is None:
            raise ImageError(
                f"{path} is not a picture of a known format; expected PNG, JPEG, WebP, TIFF, BMP, RAW or EXR: "
                "convert it."
            )
        file.seek(0)
        return decode(file, path.name)


def _decoder(file: BinaryIO, start: bytes) -> Callable[[BinaryIO, str], Picture] | None:
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return _webp
    if start.startswith(b"BM"):
        return _bmp
    if start.startswith(EXR_START):
        return read_exr
    if is_raw(file, start):
        return read_raw
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return read_tiff
    return None


# Pillow's plugins are called by name: PIL.Image.open refuses pictures of more than 179 megapixels.


def _jpeg(file: BinaryIO, name: str) -> Picture:
    from PIL.JpegImagePlugin import JpegImageFile

    return _from_pillow(JpegImageFile(file), name)


def _webp(file: BinaryIO, name: str) -> Picture:
    from PIL.WebPImagePlugin import WebPImageFile

    return _from_pillow(WebPImageFile(file), name)


def _bmp(file: BinaryIO, name: str) -> Picture:
    from PIL.BmpImagePlugin import BmpImageFile

    return _from_pillow(BmpImageFile(file), name)


def _png(file: BinaryIO, name: str) -> Picture:
    from PIL.PngImagePlugin import PngImageFile

    chunks = _png_chunks(file)
    file.seek(0)
    image = PngImageFile(file)
    deep = chunks[0][1][8] == 16
    picture = _deep_png(image, chunks, name) if deep else _from_pillow(image, name)
    return _as_told(picture, {kind: data for kind, data, _ in chunks}, name)


def _as_told(picture: Picture, chunks: dict[bytes, bytes], name: str) -> Picture:
    """Gives a picture what a PNG's chunks tell of its colours."""
    icc, told = profile_of_png(chunks)
    if told is None:
        return picture
    full = full_scale(picture.samples.dtype)
    # Of video the samples leave room below black and above white.
    narrow = told == "cICP" and not chunks[b"cICP"][3]
    levels = Levels(16 / 255 * full, 235 / 255 * full) if narrow else None
    note = f"{name}: colours are what its {told} says, which is kept as an ICC profile"
    notes = (*picture.notes, note) if icc else picture.notes
    return replace(picture, icc=icc, levels=levels, notes=notes)


def _deep_png(image: ImageFile, chunks: Sequence[tuple[bytes, bytes, bytes]], name: str) -> Picture:
    """Decodes a PNG of 16 bits."""
    check_bytes(name, *image.size, 8)  # two bytes in each of four channels at most

    # Pillow brings 16-bit colour down to 8 bits, so imagecodecs decodes it; of the chunks it gets those that
    # hold pixels, since libpng talks on stderr about the others.
    import imagecodecs

    pixels = b"".join(
        struct.pack(">I", len(data)) + kind + data + crc
        for kind, data, crc in chunks
        if kind in (b"IHDR", b"IDAT", b"IEND")
    )
    samples = imagecodecs.png_decode(b"\x89PNG\r\n\x1a\n" + pixels)
    blocks = [data for kind, data, _ in chunks if kind == b"eXIf"]
    keys = [data for kind, data, _ in chunks if kind == b"tRNS"]
    if keys and len(keys[0]) == 2 * samples[0, 0].size:  # the colour that is transparent
        clear = (samples == np.frombuffer(keys[0], ">u2")).reshape(*samples.shape[:2], -1).all(2)
        samples = np.dstack([samples, np.where(clear, np.uint16(0), np.uint16(full_scale(samples.dtype)))])
    alpha: NDArray[Any] | None = None
    told: tuple[str, ...] = ()
    if samples.ndim == 3 and samples.shape[2] == 2:
        samples, alpha, told = split_alpha(samples, 1, name)
    block = blocks[0] if blocks else None
    return _joined(name, samples, image.info.get("icc_profile"), block, image.info.get("dpi"), told, alpha)


def _png_chunks(file: BinaryIO) -> list[tuple[bytes, bytes, bytes]]:
    """Kind, data and checksum of every chunk up to the last one, IEND, which a truncated file lacks."""
    file.seek(8)
    chunks = []
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        chunks.append((kind, file.read(length), file.read(4)))
        if kind == b"IEND" and len(chunks[-1][2]) == 4:
            return chunks
    raise ValueError("the file ends before its last chunk")


def _from_pillow(image: ImageFile, name: str) -> Picture:
    """Decode an 8-bit PNG, JPEG, WebP or BMP."""
    check_bytes(name, *image.size, len(image.getbands()))
    notes: list[str] = []
    if (frames := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"{name}: first of {frames} frames used")
    image.load()
    icc = image.info.get("icc_profile")
    clear = "transparency" in image.info
    alpha = None
    samples = np.asarray(image)
    if image.mode == "P" or clear:
        notes += [f"{name}: palette turned into RGB"] if image.mode == "P" else []
        kind = "LA" if image.mode in ("L", "1") else "RGBA"
        samples = np.asarray(image.convert(kind if clear else "RGB"))
        if kind == "LA":
            samples, alpha, told = split_alpha(samples, 1, name)
            notes += told
    elif image.mode == "1":
        notes.append(f"{name}: 1-bit picture read as 8-bit grey")
    elif image.mode == "CMYK":
        notes.append(f"{name}: CMYK turned into sRGB")
        samples, icc = cmyk_to_srgb(samples, icc), None
    elif image.mode == "LA":
        samples, alpha, told = split_alpha(samples, 1, name)
        notes += told
    elif image.mode not in ("L", "RGB", "RGBA"):
        raise ImageError(f"{name} holds {image.mode} samples; expected grey, RGB or CMYK: convert it first.")
    dots_per_inch = image.info.get("dpi")
    if "jfif_unit" in image.info:  # Pillow makes 72 up where JPEG tells none
        unit = {1: 1.0, 2: 2.54}.get(image.info["jfif_unit"], 0.0)
        dots_per_inch = tuple(unit * dots for dots in image.info["jfif_density"])
    elif image.format == "JPEG":
        dots_per_inch = None
    return _joined(name, samples, icc, image.info.get("exif"), dots_per_inch, notes, alpha)


def _joined(
    name: str,
    samples: NDArray[Any],
    icc: bytes | None,
    block: bytes | None,
    dots_per_inch: tuple[float, float] | None,
    notes: Sequence[str] = (),
    alpha: NDArray[Any] | None = None,
) -> Picture:
    """Join decoded samples with the profile, the EXIF block and the resolution found beside them."""
    fields: exif.Directory = {}
    if block:
        try:
            fields = exif.parse(block)
        except ValueError as error:
            notes = (*notes, f"{name}: EXIF cannot be read and was dropped, {error}")
    return upright(name, samples, icc, exif.with_resolution(fields, dots_per_inch), notes, alpha)
