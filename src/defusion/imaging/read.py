"""Picture files in, known by their first bytes: PNG, JPEG, WebP, TIFF and BMP become upright float32 pictures."""

from __future__ import annotations

import io
import logging
import operator
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
from defusion.imaging.picture import Picture, from_array, without_alpha

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# 6 GiB of float32 RGB. A few damaged or hostile bytes in a header must not take all memory.
_MOST_PIXELS = 2**29

_ICC_PROFILE = 34675  # TIFF tag
_SILENCE = logging.NullHandler()


def read(path: str | os.PathLike[str]) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF or BMP file.

    The content decides about the format, not the suffix. Pixels come upright; palette, 1-bit and CMYK
    pictures come as RGB or grey; alpha channels and further pages are left out. Notes tell what was changed.

    Args:
        path: The file to read.

    Returns:
        A picture whose depth is the sample type of the file, with the file's ICC profile and EXIF.

    Raises:
        ImageError: No such file, a folder, not a picture, truncated or damaged, or samples that cannot be
            fused (LAB, 16-bit CMYK, 32-bit integers, floats outside [0, 1]).
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, expected a picture; name a file inside it.")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path} was not found, expected a picture; check the spelling and the folder.") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be opened ({error.strerror}); make it readable first.") from error
    with file:
        start = file.read(12)
        if not start:
            raise ImageError(f"{path} is empty (0 bytes), expected a picture; export or copy it again.")
        decode = _decoder(start)
        if decode is None:
            raise ImageError(
                f"{path} is not a picture of a known format; expected PNG, JPEG, WebP, TIFF or BMP: convert it."
            )
        file.seek(0)
        try:
            return decode(file, path.name)
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError(f"{path} does not fit into memory; use a machine with more, or crop it.") from error
        except Exception as error:  # damaged bytes reach four C libraries, each with exceptions of its own
            raise ImageError(f"{path} is truncated or damaged ({error}); export or copy it again.") from error


def _decoder(start: bytes) -> Callable[[BinaryIO, str], Picture] | None:
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if start.startswith(b"RIFF") and start[8:] == b"WEBP":
        return _webp
    if start.startswith(b"BM"):
        return _bmp
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff
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
    if chunks[0][1][8] < 16:
        return _from_pillow(image, name)
    _check_size(name, *image.size)

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
    dropped: tuple[str, ...] = ()
    if samples.ndim == 3 and samples.shape[2] == 2:
        samples, dropped = without_alpha(samples, 1, name)
    return _joined(name, samples, image.info.get("icc_profile"), blocks[0] if blocks else None, dropped)


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


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > _MOST_PIXELS:
        raise ImageError(
            f"{name} says that it is {width}x{height} pixels; expected {_MOST_PIXELS // 10**6} megapixels at "
            "most: crop it, or copy it again if it is damaged."
        )


def _from_pillow(image: ImageFile, name: str) -> Picture:
    """Decode an 8-bit PNG, JPEG, WebP or BMP."""
    _check_size(name, *image.size)
    notes: list[str] = []
    if (frames := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"{name}: first of {frames} frames used")
    image.load()
    icc = image.info.get("icc_profile")
    if image.info.pop("transparency", None) is not None:
        notes.append(f"{name}: transparent colours made opaque")
    samples = np.asarray(image)
    if image.mode == "P":
        notes.append(f"{name}: palette turned into RGB")
        samples = np.asarray(image.convert("RGB"))
    elif image.mode == "1":
        notes.append(f"{name}: 1-bit picture read as 8-bit grey")
    elif image.mode == "CMYK":
        notes.append(f"{name}: CMYK turned into sRGB")
        samples, icc = _srgb(samples, icc), None
    elif image.mode == "LA":
        samples, dropped = without_alpha(samples, 1, name)
        notes += dropped
    elif image.mode not in ("L", "RGB", "RGBA"):
        raise ImageError(f"{name} holds {image.mode} samples; expected grey, RGB or CMYK: convert it first.")
    return _joined(name, samples, icc, image.info.get("exif"), notes)


def _joined(
    name: str, samples: NDArray[Any], icc: bytes | None, block: bytes | None, notes: Sequence[str] = ()
) -> Picture:
    """Join decoded samples with the profile and the EXIF block found beside them."""
    fields: exif.Directory = {}
    if block:
        try:
            fields = exif.parse(block)
        except ValueError as error:
            notes = (*notes, f"{name}: EXIF cannot be read and was dropped, {error}")
    return _upright(name, samples, icc, fields, notes)


def _upright(
    name: str, samples: NDArray[Any], icc: bytes | None, fields: exif.Directory, notes: Sequence[str]
) -> Picture:
    picture = from_array(exif.set_upright(samples, exif.orientation(fields)), name)
    return replace(picture, icc=icc or None, exif=exif.upright_block(fields), notes=(*notes, *picture.notes))


def _tiff(file: BinaryIO, name: str) -> Picture:
    import tifffile

    # Its remarks about odd tags would reach stderr by way of logging's last resort.
    logging.getLogger("tifffile").addHandler(_SILENCE)
    with tifffile.TiffFile(file) as tif:
        page: Any = tif.pages[0]
        _check_size(name, page.imagewidth, page.imagelength)
        if max(map(operator.add, page.dataoffsets, page.databytecounts)) > tif.filehandle.size:
            raise ValueError("the file ends before its last pixels")
        samples, notes = _tiff_samples(page, name)
        if len(tif.pages) > 1:
            notes.append(f"{name}: first of {len(tif.pages)} pages used")
        icc = None if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.tags.valueof(_ICC_PROFILE)
        fields = exif.read_directory(file)
        if page.is_imagej or page.is_ome or page.is_shaped:
            fields = exif.without_description(fields)
        return _upright(name, samples, icc, fields, notes)


def _tiff_samples(page: Any, name: str) -> tuple[NDArray[Any], list[str]]:
    """HxWxC grey or RGB samples of a tifffile page, and what was changed to get them."""
    from tifffile import COMPRESSION, PHOTOMETRIC

    photometric = page.photometric
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"{name} holds a volume of shape {page.shape}; expected one plane: export a slice of it.")
    samples: NDArray[Any] = page.asarray()
    if photometric == PHOTOMETRIC.PALETTE:
        palette = (page.colormap >> 8).astype(np.uint8).T
        return palette[samples], [f"{name}: palette turned into RGB"]
    if page.bitspersample not in (1, 8 * samples.itemsize):
        raise ImageError(
            f"{name} holds samples of {page.bitspersample} bits; expected 1, 8 or 16 bits, or floats: "
            "convert it first."
        )
    samples = np.moveaxis(samples, 0, 2) if page.axes == "SYX" else samples.reshape(*samples.shape[:2], -1)
    if photometric == PHOTOMETRIC.SEPARATED and samples.dtype == np.uint8 and samples.shape[2] >= 4:
        cmyk, dropped = without_alpha(samples, 4, name)
        return _srgb(cmyk, page.tags.valueof(_ICC_PROFILE)), [*dropped, f"{name}: CMYK turned into sRGB"]
    # JPEG inside TIFF is decoded to RGB; other YCbCr stays as it is.
    rgb = photometric == PHOTOMETRIC.RGB or (
        photometric == PHOTOMETRIC.YCBCR and page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)
    )
    if not rgb and photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE):
        kind = getattr(photometric, "name", photometric)
        raise ImageError(
            f"{name} holds {samples.dtype} samples of kind {kind}; expected grey, RGB or 8-bit CMYK: "
            "convert it first."
        )
    samples, dropped = without_alpha(samples, 3 if rgb else 1, name)
    if photometric == PHOTOMETRIC.MINISWHITE:
        samples = 1 - samples if samples.dtype.kind == "f" else ~samples
    one_bit = [f"{name}: 1-bit picture read as 8-bit grey"] if samples.dtype == np.bool_ else []
    return samples, [*dropped, *one_bit]


def _srgb(cmyk: NDArray[np.uint8], icc: bytes | None) -> NDArray[np.uint8]:
    """Turn HxWx4 CMYK samples into sRGB: by their profile if it works, else by Pillow's plain subtraction."""
    from PIL import Image, ImageCms

    image = Image.frombytes("CMYK", cmyk.shape[1::-1], cmyk.tobytes())
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            rgb = ImageCms.profileToProfile(
                image,
                profile,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return np.asarray(rgb)
        except (OSError, ImageCms.PyCMSError):
            pass  # a broken profile, or one of another colour space
    return np.asarray(image.convert("RGB"))
