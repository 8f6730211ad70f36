"""Encoders that take a picture band by band. Those for TIFF and PNG hold only one band in memory."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.imaging import avif, exif, jpeg_xl
from defusion.imaging.colour_tags import cicp_of_profile
from defusion.imaging.exr import write_exr
from defusion.imaging.profile import to_srgb
from defusion.system.machine import cores

#: Size of a TIFF's strips before compression: small enough to be read in pieces, large enough to compress well.
_STRIP_BYTES = 2**18

#: Larger pictures become BigTIFF. Offsets of a classic TIFF end at 4 GiB, and incompressible data grows a little.
_CLASSIC_BYTES = 2**32 - 2**26

_THREADS = min(8, cores())


class SampleLayout(NamedTuple):
    """What an encoder needs to know before the first row."""

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None = None
    jpeg_quality: int = 95

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of samples."""
        return self.width * self.channels * self.dtype.itemsize


class PictureEncoder(Protocol):
    """Writes one picture to a file."""

    def add(self, samples: NDArray[Any]) -> None:
        """Adds the next rows: samples [h, W, C] of the layout's dtype."""

    def finish(self) -> None:
        """Writes what is left, after the last row."""


class TiffEncoder:
    """TIFF in strips, with deflate and a predictor; all cores compress.

    tifffile writes strips one by one, too, but no directory of EXIF fields.
    """

    def __init__(self, file: BinaryIO, layout: SampleLayout) -> None:
        self._file = file
        self._big = layout.height * layout.row_bytes > _CLASSIC_BYTES
        self._at = file.write(struct.pack("<4sHHQ", b"II+\0", 8, 0, 0) if self._big else b"II*\0" + bytes(4))
        self._link = 8 if self._big else 4
        """Where the offset of the next directory is written."""
        self.begin_page(layout)

    def begin_page(self, layout: SampleLayout, description: str = "") -> None:
        """Starts the first page, or the next one after a finished page.

        Args:
            layout: Layout of the page.
            description: Text that describes the page.
        """
        self._layout, self._description = layout, description
        self._strip_rows = min(layout.height, max(1, _STRIP_BYTES // layout.row_bytes))
        self._held: NDArray[Any] = np.empty((0, layout.width, layout.channels), layout.dtype)
        self._offsets: list[int] = []
        self._sizes: list[int] = []

    def add(self, samples: NDArray[Any]) -> None:
        """Writes all complete strips."""
        samples = np.concatenate([self._held, samples])
        full = len(samples) // self._strip_rows * self._strip_rows
        self._held = samples[full:].copy()
        self._write_strips(samples[:full])

    def finish(self) -> None:
        """Writes the last strip and the directory."""
        self._write_strips(self._held)
        directory = self._directory()
        if self._layout.exif:
            directory |= exif.descriptive(exif.parse(self._layout.exif))
        padding = self._at % 2
        place = self._at + padding
        self._at += self._file.write(bytes(padding) + exif.pack(directory, place, self._big))
        self._file.seek(self._link)
        self._file.write(struct.pack("<Q" if self._big else "<I", place))
        self._file.seek(self._at)
        self._link = place + (8 + 20 * len(directory) if self._big else 2 + 12 * len(directory))

    def _write_strips(self, samples: NDArray[Any]) -> None:
        strips = [samples[top : top + self._strip_rows] for top in range(0, len(samples), self._strip_rows)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for strip in pool.map(_deflated, strips):
                self._offsets.append(self._at)
                self._sizes.append(len(strip))
                self._at += self._file.write(strip)

    def _directory(self) -> exif.Directory:
        height, width, channels, dtype, icc, *_ = self._layout
        floats = dtype.kind == "f"
        place = exif.LONG8 if self._big else exif.LONG
        directory: exif.Directory = {
            256: exif.field(exif.LONG, width),
            257: exif.field(exif.LONG, height),
            258: exif.field(exif.SHORT, *[8 * dtype.itemsize] * channels),
            259: exif.field(exif.SHORT, 8),  # deflate
            262: exif.field(exif.SHORT, 1 if channels == 1 else 2),  # black is zero, RGB
            273: exif.field(place, *self._offsets),
            277: exif.field(exif.SHORT, channels),
            278: exif.field(exif.LONG, self._strip_rows),
            279: exif.field(place, *self._sizes),
            282: exif.Field(exif.RATIONAL, 1, struct.pack("<II", 1, 1)),
            283: exif.Field(exif.RATIONAL, 1, struct.pack("<II", 1, 1)),
            284: exif.field(exif.SHORT, 1),  # samples of a pixel side by side
            296: exif.field(exif.SHORT, 1),  # resolution: no unit
            317: exif.field(exif.SHORT, 3 if floats else 2),  # predictor
            339: exif.field(exif.SHORT, *[3 if floats else 1] * channels),
        }
        if self._description:
            text = self._description.encode() + b"\0"
            directory[270] = exif.Field(exif.ASCII, len(text), text)
        if icc:
            directory[34675] = exif.Field(exif.UNDEFINED, len(icc), icc)
        if xmp := self._layout.xmp:
            directory[700] = exif.Field(exif.BYTE, len(xmp), xmp)
        return directory


def _deflated(strip: NDArray[Any]) -> bytes:
    import imagecodecs

    predict = imagecodecs.floatpred_encode if strip.dtype.kind == "f" else imagecodecs.delta_encode
    # In 16-bit noise, the longer matches of a higher level are chance: files became larger and took longer.
    level = 1 if strip.dtype == np.uint16 else 6
    return bytes(imagecodecs.deflate_encode(predict(strip, axis=-2).tobytes(), level=level))


class PngEncoder:
    """PNG of 8 or 16 bits."""

    def __init__(self, file: BinaryIO, layout: SampleLayout) -> None:
        self._file, self._layout = file, layout
        # As small as adaptive filters at level 6 for photographs, in a quarter of their time.
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        bits, colour = 8 * layout.dtype.itemsize, 0 if layout.channels == 1 else 2
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", layout.width, layout.height, bits, colour, 0, 0, 0))
        if numbers := cicp_of_profile(layout.icc):
            self._chunk(b"cICP", numbers)
        if layout.icc:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(layout.icc))
        if layout.exif:
            self._chunk(b"eXIf", layout.exif)
        if layout.xmp:
            self._chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + layout.xmp)
        if dots_per_inch := exif.resolution(layout.exif):
            across, down = (round(dots / 0.0254) for dots in dots_per_inch)
            self._chunk(b"pHYs", struct.pack(">IIB", across, down, 1))  # a metre

    def add(self, samples: NDArray[Any]) -> None:
        """Writes rows as differences of neighbours, PNG's filter 1."""
        layout = self._layout
        pixel = layout.channels * layout.dtype.itemsize
        stored = np.ascontiguousarray(samples, layout.dtype.newbyteorder(">")).view(np.uint8)
        rows = stored.reshape(len(samples), layout.row_bytes)
        filtered = np.empty((len(rows), 1 + layout.row_bytes), np.uint8)
        filtered[:, 0] = 1
        filtered[:, 1 : 1 + pixel] = rows[:, :pixel]
        np.subtract(rows[:, pixel:], rows[:, :-pixel], out=filtered[:, 1 + pixel :])
        if data := self._deflate.compress(filtered.data):
            self._chunk(b"IDAT", data)

    def finish(self) -> None:
        """Writes the remaining compressed bytes."""
        self._chunk(b"IDAT", self._deflate.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


class _WholeEncoder:
    """Collects the picture for libraries that need it as a whole."""

    def __init__(self, file: BinaryIO, layout: SampleLayout) -> None:
        self._file, self._layout = file, layout
        self._samples = np.empty((layout.height, layout.width, layout.channels), layout.dtype)
        self._top = 0

    def add(self, samples: NDArray[Any]) -> None:
        """Keeps the rows."""
        self._samples[self._top : self._top + len(samples)] = samples
        self._top += len(samples)


class JpegEncoder(_WholeEncoder):
    """JPEG without chroma subsampling."""

    def finish(self) -> None:
        """Encodes the picture."""
        dots = exif.resolution(self._layout.exif)
        options: dict[str, Any] = {"dpi": (round(dots[0]), round(dots[1]))} if dots and max(dots) < 2**16 else {}
        _save_by_pillow(
            self._file,
            "JPEG",
            self._samples,
            self._layout,
            quality=self._layout.jpeg_quality,
            subsampling=0,
            **options,
        )


class WebpEncoder(_WholeEncoder):
    """Lossless WebP at the lowest effort. Lossy WebP halves the resolution of chroma and takes longer."""

    def finish(self) -> None:
        """Encodes the picture."""
        _save_by_pillow(self._file, "WebP", self._samples, self._layout, lossless=True, quality=0, method=0)


class AvifEncoder(_WholeEncoder):
    """AVIF at quality 95 without chroma subsampling, with 8 or 12 bits."""

    def finish(self) -> None:
        """Encodes the picture."""
        layout = self._layout
        if layout.dtype == np.uint16:
            self._file.write(avif.encoded(self._samples, layout.icc, layout.exif, layout.xmp))
            return
        _save_by_pillow(self._file, "AVIF", self._samples, self._layout, quality=95, subsampling="4:4:4")


class JpegXlEncoder(_WholeEncoder):
    """Lossless JPEG XL. Colours that it cannot name are converted to sRGB."""

    def finish(self) -> None:
        """Encodes the picture."""
        import imagecodecs

        layout, samples, icc = self._layout, self._samples, self._layout.icc
        if not jpeg_xl.named(icc):
            samples, icc = to_srgb(samples, icc), None
        made = imagecodecs.jpegxl_encode(
            samples[..., 0] if layout.channels == 1 else samples, lossless=True, usecontainer=True
        )
        # imagecodecs says of deep samples that they are light.
        self._file.write(jpeg_xl.with_colours(made, icc, grey=layout.channels == 1))
        for kind, content in ((b"Exif", layout.exif and bytes(4) + layout.exif), (b"xml ", layout.xmp)):
            if content:
                self._file.write(struct.pack(">I4s", 8 + len(content), kind) + content)


class ExrEncoder(_WholeEncoder):
    """EXR of 32-bit floats."""

    def finish(self) -> None:
        """Encodes the picture, in place of the open file."""
        write_exr(Path(self._file.name), self._samples)


def _save_by_pillow(file: BinaryIO, name: str, samples: NDArray[Any], layout: SampleLayout, **options: Any) -> None:
    from PIL import Image

    encoded = io.BytesIO()
    shot = exif.PREFIX + layout.exif if layout.exif else b""
    image = Image.fromarray(samples[..., 0] if layout.channels == 1 else samples)
    packet = {"xmp": layout.xmp} if layout.xmp else {}
    image.save(encoded, name, icc_profile=layout.icc or b"", exif=shot, **packet, **options)
    file.write(encoded.getbuffer())
