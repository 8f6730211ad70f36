"""Writes picture files: encodes beside the final name, and moves the complete file into place."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import avif, encode, exr, jpeg_xl
from defusion.imaging.colour_tags import linear_profile
from defusion.imaging.encode import PictureEncoder, SampleLayout
from defusion.imaging.exif import PREFIX, resolution
from defusion.imaging.folders import check_writable, in_folder
from defusion.imaging.picture import Picture
from defusion.imaging.samples import DEPTHS, Depth, bands, converted, quantised, shares
from defusion.imaging.tone import Levels, is_linear
from defusion.system.files import beside, unfit


class _Format(NamedTuple):
    name: str
    encoder: Callable[[BinaryIO, SampleLayout], PictureEncoder]
    depths: tuple[Depth, ...]
    """Sample types that it can hold. A picture of another type gets the last."""
    longest_side: int = 2**31 - 1
    grey: bool = True
    """It can hold pictures with one channel."""
    profile_and_exif: bool = True
    """It can hold profile and EXIF."""
    bits: int = 16
    """Number of bits of its 16-bit samples."""
    by_bands: bool = False
    """It is written band by band, and is hardly smaller than its samples."""


_PNG = _Format("PNG", encode.PngEncoder, ("uint8", "uint16"), by_bands=True)
_JPEG = _Format("JPEG", encode.JpegEncoder, ("uint8",), 65_500)
_WEBP = _Format("WebP", encode.WebpEncoder, ("uint8",), 16_383, grey=False)
_TIFF = _Format("TIFF", encode.TiffEncoder, DEPTHS, by_bands=True)
_AVIF = _Format("AVIF", encode.AvifEncoder, ("uint8", "uint16"), 65_536, grey=False, bits=avif.BITS)
_JPEG_XL = _Format("JPEG XL", encode.JpegXlEncoder, DEPTHS)
_EXR = _Format("EXR", encode.ExrEncoder, ("float32",), profile_and_exif=False)
_FORMATS = {
    **{".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP},
    **{".tif": _TIFF, ".tiff": _TIFF, ".exr": _EXR, ".avif": _AVIF, ".jxl": _JPEG_XL},
}

_BITS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}

# Bytes for the content of one APP1 segment of a JPEG, without its length and prefix.
_JPEG_EXIF_LIMIT = 65_533 - len(PREFIX)
_JPEG_XMP_LIMIT = 65_533 - len(b"http://ns.adobe.com/xap/1.0/\0")


def check_output(path: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Checks, before any work, that a picture can be written to a path.

    Args:
        path: The picture to write.
        sources: Files that the picture is made from. They must not be overwritten: by their name, through links or
            hard links, or by a name that differs only in capitals.

    Raises:
        ImageError: The suffix is unknown; a source, folder, named pipe or device is in the way; there is no folder to
            write into; or the format's extra is not installed.
    """
    path = Path(path)
    if reason := unfit(path, sources):
        raise ImageError(f"{path!s:.200} {reason}.")
    if path.suffix.lower() not in _FORMATS:
        suffix = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        raise ImageError(f"{path} has {suffix}; expected one of {', '.join(_FORMATS)}: rename the output.")
    if _FORMATS[path.suffix.lower()] is _EXR:
        exr.library(path.name)
    check_writable(path, path.resolve().parent)


@contextmanager
def open_output(
    path: str | os.PathLike[str],
    *,
    height: int,
    width: int,
    channels: int,
    depth: Depth,
    icc: bytes | None = None,
    exif: bytes | None = None,
    levels: Levels | None = None,
    xmp: bytes | None = None,
    jpeg_quality: int = 95,
) -> Iterator[PictureWriter]:
    """Opens a picture file that is written band by band, in the format of the path's suffix.

    TIFF and PNG are written as the bands come. For other formats the whole picture is held, in its depth. JPEG is
    written without chroma subsampling, WebP lossless, TIFF with deflate and predictor, as BigTIFF from about 4 GiB of
    samples. The file appears at the end, complete, or not at all. An existing file is replaced; its permissions are
    kept.

    Args:
        path: File to write; `check_output` names the suffixes.
        height: Rows of the picture; exactly this many have to be appended.
        width: Pixels in a row.
        channels: 1 for grey (WebP gets three anyway) or 3 for RGB.
        depth: Sample type. If the format does not have it, values are rounded to what it has, with a note.
        icc: ICC profile to embed; dropped, with a note, if it does not fit the number of channels.
        exif: EXIF block to embed.
        levels: The values for 0 and 1 of what is appended, if the format has the depth; otherwise, and with None, the
            range of the sample type. Values brighter than white are then clipped, with a note.
        xmp: XMP packet to embed.
        jpeg_quality: Quality of a JPEG, from 1 to 100.

    Yields:
        The writer. Its notes say what the format cannot hold.

    Raises:
        ImageError: The path cannot be written, the disk is full or will be, the pixels hold NaN, rows are missing, or
            a side is too long for the format.

    Example:
        >>> import tempfile
        >>> rows = np.full((8, 32, 3), 0.5, np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open_output(f"{folder}/a.tif", height=16, width=32, channels=3, depth="uint16") as out:
        ...         out.append(rows)
        ...         out.append(rows)
    """
    check_output(path)
    form = _FORMATS[Path(path).suffix.lower()]
    name = Path(path).name
    if max(height, width) > form.longest_side:
        raise ImageError(
            f"{path} would be {width}x{height} pixels, {form.name} ends at {form.longest_side} a side; "
            "choose PNG or TIFF."
        )
    notes = []
    held = depth if depth in form.depths else form.depths[-1]
    exact = held == depth and (held != "uint16" or form.bits == 16)
    if DEPTHS.index(held) <= DEPTHS.index(depth) and not exact:
        bits = form.bits if held == "uint16" else _BITS[held].removesuffix("-bit")
        notes.append(f"{name}: {form.name} holds {bits} bits, {_BITS[depth]} result rounded to {bits}")
    elif held != depth and not is_linear(icc):
        notes.append(f"{name}: values written unchanged, although {form.name} holds linear light")
    held_levels, brightest = (levels, 1.0) if exact else (None, 1.0)
    if levels is not None and not exact and levels.white is not None:
        brightest = (levels.high - levels.low) / (levels.white - levels.low)
        notes.append(f"{name}: what is brighter than white is clipped, {form.name} does not hold it")
    elif levels is not None and not exact:
        notes.append(f"{name}: values from {levels.low:g} to {levels.high:g} mapped to the range of {form.name}")
    stored_channels = channels if form.grey else 3
    block = exif and exif.removeprefix(PREFIX)
    if icc and icc[16:20] != (b"GRAY" if stored_channels == 1 else b"RGB "):
        icc = None
        notes.append(f"{name}: ICC profile dropped, it is not for {'grey' if stored_channels == 1 else 'RGB'}")
    if form is _EXR and icc in (linear_profile(), linear_profile(grey=True)):
        icc = None  # an EXR's meaning follows from its format
    if form is _JPEG_XL and not jpeg_xl.named(icc):
        notes.append(f"{name}: colours converted to sRGB, JPEG XL has no name for the profile")
    elif icc and not form.profile_and_exif:
        icc = None
        notes.append(f"{name}: ICC profile dropped, {form.name} holds none")
    if block and not form.profile_and_exif:
        notes.append(f"{name}: EXIF{' and pixel size' * bool(resolution(block))} dropped, {form.name} holds none")
        block = None
    if block and form is _JPEG and len(block) > _JPEG_EXIF_LIMIT:
        block = None
        notes.append(f"{name}: EXIF dropped, it is too long for JPEG")
    if xmp and not form.profile_and_exif:
        xmp = None
        notes.append(f"{name}: XMP dropped, it is not written to {form.name}")
    if xmp and form is _JPEG and len(xmp) > _JPEG_XMP_LIMIT:
        xmp = None
        notes.append(f"{name}: XMP dropped, it is too long for JPEG")
    layout = SampleLayout(height, width, stored_channels, np.dtype(held), icc, block, xmp, jpeg_quality)
    _check_room(path, form, layout)
    with _written_beside(path) as file:
        with _telling_failure(path):
            encoder = form.encoder(file, layout)
        writer = PictureWriter(path, encoder, layout, channels, tuple(notes), held_levels, brightest, file)
        writer.keeps_values = exact
        yield writer
        writer.finish()


class PictureWriter:
    """A picture file that is being written, opened by `open_output`."""

    notes: tuple[str, ...]
    """What the format cannot hold, one short sentence each."""
    keeps_values = True
    """Samples of the picture's depth are written as they are."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoder: PictureEncoder,
        layout: SampleLayout,
        channels: int,
        notes: tuple[str, ...],
        levels: Levels | None,
        brightest: float,
        file: BinaryIO,
    ) -> None:
        self.notes = notes
        self._levels, self._brightest = levels, brightest
        self._path, self._encoder, self._layout, self._channels = path, encoder, layout, channels
        self._file, self._rows, self._finished = file, 0, False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Sample type of the file."""
        return self._layout.dtype

    def append(self, rows: NDArray[Any]) -> None:
        """Writes the next rows, below those before.

        Args:
            rows: [h, W, C], pixels of float32, clipped to [0, 1], or samples of uint8 or uint16.

        Raises:
            ImageError: The rows do not fit, hold NaN, or the disk is full.
        """
        layout = self._layout
        left = layout.height - self._rows
        if rows.ndim != 3 or rows.shape[1:] != (layout.width, self._channels) or len(rows) > left:
            raise ImageError(
                f"{self._path} got rows of shape {rows.shape}, expected ({left} or fewer, {layout.width}, "
                f"{self._channels}); append each row once."
            )
        if not len(rows):
            return
        if rows.dtype.kind == "f" and self._brightest > 1:
            rows = np.minimum(rows * np.float32(self._brightest), 1)
        of_parts = rows.dtype.kind == "f" and self._levels is not None
        samples = quantised(rows, layout.dtype, self._levels) if of_parts else converted(rows, layout.dtype)
        if layout.channels > self._channels:
            samples = np.repeat(samples, layout.channels, axis=2)
        with _telling_failure(self._path):
            self._encoder.add(samples)
        self._rows += len(rows)

    def add_page(self, plane: NDArray[Any], description: str) -> None:
        """Writes a second page into a TIFF whose rows are complete.

        Args:
            plane: [H, W, 1] of uint8, uint16 or float32, which the page will have, too.
            description: Text that describes the page.

        Raises:
            ImageError: The file is not a TIFF, rows are missing, or the disk is full.
        """
        if not isinstance(self._encoder, encode.TiffEncoder):
            raise ImageError(f"{self._path} is not a TIFF, and other formats hold one page; choose .tif.")
        self.finish()
        height, width, channels = plane.shape
        with _telling_failure(self._path):
            self._encoder.begin_page(SampleLayout(height, width, channels, plane.dtype, None, None), description)
            for rows in bands(height, width):
                self._encoder.add(plane[rows])
            self._encoder.finish()
            self._file.flush()

    def finish(self) -> None:
        """Writes what is left after the last row, so that the file only has to be renamed.

        Raises:
            ImageError: Rows are missing, or the disk is full.
        """
        if self._finished:
            return
        if self._rows < self._layout.height:
            raise ImageError(f"{self._path} got {self._rows} rows, expected {self._layout.height}; append them all.")
        with _telling_failure(self._path):
            self._encoder.finish()
            self._file.flush()
        self._finished = True


def write(path: str | os.PathLike[str], picture: Picture) -> tuple[str, ...]:
    """Writes a picture with its ICC profile and EXIF, as `open_output` does.

    Args:
        path: File to write.
        picture: What to write. Float samples are clipped to [0, 1].

    Returns:
        What the format could not hold, one short sentence each; the picture's own notes are not repeated.

    Raises:
        ImageError: As for `open_output`; or the picture is read from its file now, and that is damaged.
    """
    with open_for(path, picture) as out:
        _append(out, picture)
    return out.notes


def write_together(folder: str | os.PathLike[str], pictures: Mapping[str, Picture]) -> tuple[str, ...]:
    """Writes pictures to a folder, created if needed, as `write` does. All of them appear, or none.

    Args:
        folder: Where to write; its parent has to exist.
        pictures: What to write, by file name.

    Returns:
        What the formats could not hold, one short sentence each.

    Raises:
        ImageError: As for `write`, or the folder cannot be created.
    """
    with in_folder(folder), ExitStack() as outputs:
        outs = []
        for name, picture in pictures.items():
            outs.append(outputs.enter_context(open_for(Path(folder) / name, picture)))
            _append(outs[-1], picture)
            outs[-1].finish()
    return tuple(note for out in outs for note in out.notes)


def open_for(path: str | os.PathLike[str], picture: Picture) -> AbstractContextManager[PictureWriter]:
    """Opens a file for the samples of a picture, with its profile, EXIF and XMP; see `open_output`."""
    return open_output(
        path,
        height=picture.height,
        width=picture.width,
        channels=picture.samples.shape[2],
        depth=picture.depth,
        icc=picture.icc,
        exif=picture.exif,
        xmp=picture.xmp,
    )


def _append(out: PictureWriter, picture: Picture) -> None:
    for rows in bands(picture.height, picture.width):
        samples = picture.samples[rows, :]
        spread = picture.levels is not None and not out.keeps_values
        out.append(shares(samples, picture.levels) if spread else converted(samples, out.dtype, picture.levels))


def _check_room(path: str | os.PathLike[str], form: _Format, layout: SampleLayout) -> None:
    """Checks, before a long work, that there is room for a file that is hardly compressed."""
    needed, free = layout.height * layout.row_bytes, shutil.disk_usage(Path(path).resolve().parent).free
    if form.by_bands and needed > free:
        raise ImageError(
            f"{path} takes up to {needed / 1e6:.0f} MB, its disk has {free / 1e6:.0f} MB free; free some space or "
            "choose another output."
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _written_beside(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file that takes the path's name at the end; after an error it is removed."""
    with ExitStack() as ending:
        with _telling_failure(path):
            file = ending.enter_context(beside(Path(path))).open("r+b")
        try:
            yield file
            with _telling_failure(path):
                file.close()
        except BaseException:
            with suppress(OSError):  # closing tries again to write what a full disk did not take
                file.close()
            raise
        with _telling_failure(path):
            ending.close()


@contextmanager
def _telling_failure(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns errors of an encoder or the file system into one sentence about the output."""
    try:
        yield
    except ImageError:
        raise
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{path} could not be written ({reason}); free some space or choose another output."
        ) from error
