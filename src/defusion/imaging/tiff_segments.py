"""Reads large TIFF pages by strips or tiles, so that a picture takes the memory of what is being read."""

from __future__ import annotations

import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.decoded import telling_damage
from defusion.imaging.limits import check_jpeg
from defusion.imaging.samples import DEPTHS, LazySamples
from defusion.imaging.tone import check_finite
from defusion.system.machine import cores

#: Pictures of up to this many bytes are decoded at once.
_AT_ONCE_BYTES = 2**24

#: Decoded strips and tiles are kept for this many rows of the picture: twice a row of tiles of 1024 pixels, so that
#: neighbours in a row, and the halo of the next row, are decoded once.
_KEPT_ROWS = 1536

#: Size of the strips in which uncompressed pictures are read.
_STRIP_BYTES = 2**19

_THREADS = min(8, cores())


class TiffSamples(LazySamples):
    """The samples of a TIFF page. Strips or tiles are decoded when a region touches them.

    Args:
        path: The file; it stays open as long as this object exists.
        page: A page of it, as tifffile describes it, for which `by_segments` is true.
    """

    def __init__(self, path: Path, page: Any) -> None:
        self.shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
        self.dtype = np.dtype(page.dtype)
        self._path = path
        self._segment_high, self._segment_wide, self._places, self._decode = _layout(page)
        self._across = math.ceil(page.imagewidth / self._segment_wide)
        row_bytes = page.imagewidth * page.samplesperpixel * self.dtype.itemsize
        self._room = max(_KEPT_ROWS, 2 * self._segment_high) * row_bytes
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS)
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Decodes what a region touches.

        Raises:
            ImageError: A strip or tile is damaged, or holds floats that are NaN or outside [0, 1].
        """
        high, wide = self._segment_high, self._segment_wide
        samples = np.empty((len(rows), len(columns), self.shape[2]), self.dtype)

        def paste(place: tuple[int, int]) -> None:
            down, across = place
            to_rows, from_rows = _overlap(rows, down * high, high)
            to_columns, from_columns = _overlap(columns, across * wide, wide)
            samples[to_rows, to_columns] = self._segment(down * self._across + across)[from_rows, from_columns]

        touched = list(product(sorted({row // high for row in rows}), sorted({column // wide for column in columns})))
        with self._lock:
            to_decode = sum(down * self._across + across not in self._kept for down, across in touched)
        # Most regions are a neighbour's halo or a small window, where threads would take longer.
        for _ in (self._pool.map if to_decode > 1 else map)(paste, touched):
            pass
        return samples

    def _segment(self, number: int) -> NDArray[Any]:
        """Returns a decoded strip or tile [h, w, C], from those that are kept if possible."""
        with telling_damage(self._path):
            with self._lock:
                if number in self._kept:
                    self._kept.move_to_end(number)
                    return self._kept[number]
                offset, size = self._places[number]
                self._file.seek(offset)
                data = self._file.read(size)
            if len(data) < size:
                raise ValueError("the file ends before its last pixels")
            segment = self._decode(data, number)
            height, width = self.shape[0], self.shape[1]
            down, across = divmod(number, self._across)
            # The part of a tile beyond the picture's border is not used.
            segment = segment[: height - down * self._segment_high, : width - across * self._segment_wide]
            if self.dtype.kind == "f":
                check_finite(segment, self._path.name)
        with self._lock:
            if number not in self._kept:  # another thread may have been faster
                self._kept[number] = segment
                self._kept_bytes += segment.nbytes
            while self._kept_bytes > self._room:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return segment


def by_segments(page: Any) -> bool:
    """Says whether a page is large, plain grey or RGB, and stored in pieces that are small enough."""
    from tifffile import PHOTOMETRIC

    if page.axes not in ("YX", "YXS") or page.dtype not in DEPTHS or page.nbytes <= _AT_ONCE_BYTES:
        return False
    rgb = is_rgb(page)
    high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    piece_bytes = high * wide * page.samplesperpixel * page.dtype.itemsize
    return bool(
        (rgb or page.photometric == PHOTOMETRIC.MINISBLACK)
        and page.samplesperpixel == (3 if rgb else 1)
        and page.bitspersample == 8 * page.dtype.itemsize
        and (page.is_final or 4 * piece_bytes <= page.nbytes)
    )


def _layout(page: Any) -> tuple[int, int, Sequence[tuple[int, int]], Callable[[bytes, int], NDArray[Any]]]:
    """Returns height and width of a page's segments, offset and size of each in the file, and a function that decodes
    one.
    """
    height, width, channels, dtype = page.imagelength, page.imagewidth, page.samplesperpixel, np.dtype(page.dtype)
    if page.is_final:  # rows without segments, which can be cut as needed
        row_bytes = width * channels * dtype.itemsize
        high = min(height, max(1, _STRIP_BYTES // row_bytes))
        start, stored = page.dataoffsets[0], dtype.newbyteorder(page.parent.byteorder)
        places = [(start + top * row_bytes, min(high, height - top) * row_bytes) for top in range(0, height, high)]
        return (
            high,
            width,
            places,
            lambda data, _: np.frombuffer(data, stored).reshape(-1, width, channels).astype(dtype, copy=False),
        )
    high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(places) != (expected := math.ceil(height / high) * math.ceil(width / wide)):
        raise ValueError(f"it has {len(places)} strips or tiles of {expected}")
    decode, tables, empty = page.decode, page.jpegtables, page.nodata

    jpeg = of_jpeg(page)

    def decoded(data: bytes, number: int) -> NDArray[Any]:
        if not data:  # a hole in a sparse file
            return np.full((high, wide, channels), empty, dtype)
        if jpeg:
            check_jpeg(data, tables or b"")
        segment: NDArray[Any] = decode(data, number, jpegtables=tables)[0][0]
        return segment

    return high, wide, places, decoded


def _overlap(wanted: range, first: int, length: int) -> tuple[slice, slice]:
    """Returns where the indices of `wanted` within [first, first + length) are: in the result, and in the segment."""
    start = max(0, math.ceil((first - wanted.start) / wanted.step))
    stop = max(start, min(len(wanted), math.ceil((first + length - wanted.start) / wanted.step)))
    inside = wanted.start + start * wanted.step - first
    return slice(start, stop), slice(inside, inside + (stop - start) * wanted.step, wanted.step)


def is_rgb(page: Any) -> bool:
    """Says whether a page gives RGB. JPEG inside TIFF is decoded to RGB; other YCbCr is not."""
    from tifffile import COMPRESSION, PHOTOMETRIC

    of_jpeg = page.photometric == PHOTOMETRIC.YCBCR and page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)
    return bool(page.photometric == PHOTOMETRIC.RGB or of_jpeg)


def of_jpeg(page: Any) -> bool:
    """Says whether each strip or tile is a JPEG."""
    from tifffile import COMPRESSION

    return bool(page.compression == COMPRESSION.JPEG)
