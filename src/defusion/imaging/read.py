"""Reads picture files. One table lists the formats, which are recognised by their first bytes. Pictures are set
upright.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from defusion.errors import ImageError
from defusion.imaging import codecs, dji, exr, flir, heif, jpeg_xl, netpbm, png, raw
from defusion.imaging.decoded import check_bytes, joined, telling_damage
from defusion.imaging.limits import COPIES, check_claims, check_flat, check_jpeg, check_once, zeros_at_end
from defusion.imaging.picture import Picture
from defusion.imaging.profile import cmyk_to_srgb
from defusion.imaging.samples import split_alpha
from defusion.imaging.tiff import Stack, read_tiff, stack_in_tiff

if TYPE_CHECKING:
    from PIL.Image import Image


#: Pillow's other words for samples that are grey or RGB, with alpha or not.
_PLAINER = {"RGBa": "RGBA", "PA": "RGBA", "La": "LA", "RGBX": "RGB", "YCbCr": "RGB"}

#: Formats whose decoders do not tell that the end of a file is zeros.
_END_UNTOLD = ("WebP", "AVIF", "HEIC", "JPEG XL", "JPEG 2000")


class _Format(NamedTuple):
    name: str
    begins: Callable[[BinaryIO, bytes], bool]
    """Says whether a file has this format, from its first bytes or more."""
    decode: Callable[[BinaryIO, str, int | None], Picture]
    """Reads a page of an open file; by default the first complete one."""
    stack: Callable[[BinaryIO], Stack] | None = None
    """Says which pages an open file holds; None if there is always one."""


def read(path: str | os.PathLike[str], page: int | None = None) -> Picture:
    """Reads a picture file: PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, JPEG XL, AVIF, HEIC, camera RAW or EXR.

    The content decides about the format, not the suffix. Pictures are set upright. Palette, 1-bit and CMYK pictures
    become RGB or grey; alpha says which places count. Notes say what was changed.

    A large TIFF is only read when its samples are used. So keep the file until then, and expect errors from damage in
    it as late as that.

    Args:
        path: The file to read.
        page: Number of the page, from 0, as `stack_in` counts them. None reads the first full-size page, with a note
            if there are others.

    Returns:
        A picture with the sample type of the file as depth, and the file's ICC profile, EXIF and XMP. RAW is
        developed to 16 bits.

    Raises:
        ImageError: The file does not exist, is a folder, not a picture, truncated or damaged; its samples cannot be
            fused (LAB, 16-bit CMYK, 32-bit integers); or an extra is not installed.
    """
    path = Path(path)
    with _opened(path) as file, telling_damage(path):
        form = _format(file, path)
        zeros = zeros_at_end(file) if form.name in _END_UNTOLD else 0
        picture = form.decode(file, path.name, page)
        if not zeros:
            return picture
        note = f"{path.name}: may be damaged, its last {zeros} bytes are zeros"
        return replace(picture, notes=(*picture.notes, note))


def stack_in(path: str | os.PathLike[str]) -> Stack:
    """Says which pages a picture file holds.

    Raises:
        ImageError: As for `read`.
    """
    path = Path(path)
    with _opened(path) as file, telling_damage(path):
        form = _format(file, path)
        return form.stack(file) if form.stack else Stack(1)


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, expected a picture; name a file inside it.")
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{path} is a pipe or device, expected a file: it is read several times; save it first.")
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path} was not found, expected a picture; check the spelling and the folder.") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError for impossible names
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path!s:.200} cannot be opened ({reason}); make it readable first.") from error
    return file


def _format(file: BinaryIO, path: Path) -> _Format:
    start = file.read(16)
    if not start:
        raise ImageError(f"{path} is empty (0 bytes), expected a picture; export or copy it again.")
    for form in _FORMATS:
        if form.begins(file, start):
            check_claims(file, path.name)
            return form
    names = ", ".join(dict.fromkeys(form.name for form in _FORMATS))
    raise ImageError(f"{path} is not a picture of a known format; expected one of {names}: convert it.")


# Pillow's plugins are called by name, because PIL.Image.open refuses pictures of more than 179 megapixels.


def _jpeg(file: BinaryIO) -> Image:
    from PIL.JpegImagePlugin import JpegImageFile

    return JpegImageFile(file)


_lifted = threading.Lock()


def _webp(file: BinaryIO) -> Image:
    import PIL.Image
    from PIL.WebPImagePlugin import WebPImageFile

    with _lifted:  # this plugin checks the limit anyway
        most, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            return WebPImageFile(file)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = most


def _bmp(file: BinaryIO) -> Image:
    from PIL.BmpImagePlugin import BmpImageFile

    return BmpImageFile(file)


def _gif(file: BinaryIO) -> Image:
    from PIL.GifImagePlugin import GifImageFile

    return GifImageFile(file)


def _avif(file: BinaryIO) -> Image:
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile(file)


def _png(file: BinaryIO) -> Image:
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(file)


def _read_jpeg(file: BinaryIO, name: str, page: int | None) -> Picture:
    data = file.read()
    odd = check_once(file, partial(check_jpeg, data))
    file.seek(0)
    image = _jpeg(file)
    told = (f"{name}: may be damaged, {odd}",) if odd else ()
    try:
        found = flir.radiometric(data, name) or dji.radiometric(data, *image.size)
    except ValueError as error:
        found, told = None, (*told, f"{name}: its temperatures cannot be read, {error}: the painted picture is used")
    if found is None:
        picture = _from_file(image, file, name, page)
        return replace(picture, notes=(*picture.notes, *told)) if told else picture
    celsius, measured = found
    note = f"{name}: temperatures from {celsius.min():.1f} to {celsius.max():.1f} degrees Celsius read from it"
    picture = joined(name, celsius, None, image.info.get("exif"), None, (note, *told))
    return replace(picture, measured=measured)


def _read_avif(file: BinaryIO, name: str, page: int | None) -> Picture:
    image = _avif(file)
    picture = _from_file(image, file, name, page)
    file.seek(0)
    return heif.deepened(picture, image, file.read(), page or 0)


def _read_png(file: BinaryIO, name: str, page: int | None) -> Picture:
    chunks = png.chunks_in(file)
    file.seek(0)
    image = _png(file)
    if png.is_plain(chunks):
        picture = png.plain(image, chunks, name)
    else:
        check_once(file, partial(png.check, chunks))  # Pillow leaves missing parts black
        picture = from_pillow(image, name, page)
    return png.as_told(picture, chunks, name)


def _by_pillow(
    name: str, plugin: Callable[[BinaryIO], Image], *starts: bytes, read: Any = None, begins: Any = None
) -> _Format:
    """Describes a format that Pillow reads. Its pages are frames of an animation."""

    def decode(file: BinaryIO, of: str, page: int | None) -> Picture:
        return _from_file(plugin(file), file, of, page)

    def stack(file: BinaryIO) -> Stack:
        return Stack(getattr(plugin(file), "n_frames", 1), animated=True)

    def is_of(_: BinaryIO, start: bytes) -> bool:
        return start.startswith(starts)

    return _Format(name, begins or is_of, read or decode, stack)


def _single(
    name: str, decode: Callable[[BinaryIO, str], Picture], begins: Callable[[BinaryIO, bytes], bool]
) -> _Format:
    """Describes a format with one page."""
    return _Format(name, begins, lambda file, of, _: decode(file, of))


def _starts(*starts: bytes) -> Callable[[BinaryIO, bytes], bool]:
    return lambda _, start: start.startswith(starts)


def _is_webp(_: BinaryIO, start: bytes) -> bool:
    return start.startswith(b"RIFF") and start[8:12] == b"WEBP"


#: The formats in the order in which they are tried. RAW comes before TIFF, because RAW files start like TIFFs.
_FORMATS = [
    _by_pillow("PNG", _png, b"\x89PNG\r\n\x1a\n", read=_read_png),
    _by_pillow("JPEG", _jpeg, b"\xff\xd8\xff", read=_read_jpeg),
    _by_pillow("WebP", _webp, begins=_is_webp),
    _by_pillow("BMP", _bmp, b"BM"),
    _by_pillow("GIF", _gif, b"GIF8"),
    _by_pillow("AVIF", _avif, begins=lambda _, start: heif.is_avif(start), read=_read_avif),
    _single("PPM", netpbm.read_netpbm, lambda _, start: netpbm.is_netpbm(start)),
    _Format(
        "JPEG XL",
        _starts(*jpeg_xl.STARTS),
        codecs.read_jpeg_xl,
        lambda file: Stack(codecs.frames_in_jpeg_xl(file), animated=True),
    ),
    _single("JPEG 2000", codecs.read_jpeg_2000, _starts(*codecs.JPEG_2000_STARTS)),
    _single("EXR", exr.read_exr, _starts(exr.START)),
    _single("RAW", raw.read_raw, raw.is_raw),
    _Format("TIFF", _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff, stack_in_tiff),
    _Format(
        "HEIC",
        lambda _, start: heif.is_heic(start),
        lambda file, name, page: heif.read_heic(file, name, page or 0),
        lambda file: Stack(heif.frames_in_heic(file), animated=True),
    ),
]


def _from_file(image: Image, file: BinaryIO, name: str, page: int | None) -> Picture:
    check_flat(name, *image.size, len(image.getbands()), os.fstat(file.fileno()).st_size)
    return from_pillow(image, name, page)


def from_pillow(image: Image, name: str, frame: int | None = None) -> Picture:
    """Makes a picture from an image that Pillow has opened: grey, RGB, CMYK or palette of 8 bits, grey of 16 or
    float.

    Args:
        image: The image. The contents of its `info` are kept.
        name: Name of the image in errors and notes.
        frame: Number of the frame of an animation; None for the first, with a note.

    Raises:
        ImageError: The samples cannot be fused.
    """
    image = image.convert(_PLAINER[image.mode]) if image.mode in _PLAINER else image
    # A palette becomes colours, with four bytes for each pixel in Pillow. For WebP there are also two canvases.
    copies = 12 if image.mode == "P" else 6 if image.format == "WEBP" else COPIES
    check_bytes(name, *image.size, len(image.getbands()), copies=copies)
    notes: list[str] = []
    if (frames := getattr(image, "n_frames", 1)) > 1 and frame is None:
        notes.append(f"{name}: first of {frames} frames used")
    if frame:
        image.seek(frame)
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
    elif image.mode == "I" and samples.min() >= 0 and samples.max() < 2**16:
        samples = samples.astype(np.uint16)
    elif image.mode not in ("L", "RGB", "RGBA", "F", "I;16", "I;16B"):
        raise ImageError(f"{name} holds {image.mode} samples; expected grey, RGB or CMYK: convert it first.")
    if "photoshop" in image.info:
        notes.append(f"{name}: IPTC is not kept")
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return joined(
        name,
        samples,
        icc,
        image.info.get("exif"),
        _dots_per_inch(image),
        notes,
        alpha,
        xmp.encode() if isinstance(xmp, str) else xmp,
    )


def _dots_per_inch(image: Image) -> tuple[float, float] | None:
    if "jfif_unit" in image.info:  # Pillow invents 72 if a JPEG has none
        unit = {1: 1.0, 2: 2.54}.get(image.info["jfif_unit"], 0.0)
        across, down = image.info["jfif_density"]
        return unit * across, unit * down
    return None if image.format == "JPEG" else image.info.get("dpi")
