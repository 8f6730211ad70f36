"""Reads TIFF: chooses the page, or the pages, that are the picture. Large pages are read by segments."""

from __future__ import annotations

import logging
import math
import operator
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import exif
from defusion.imaging.colour_tags import profile_of_tiff
from defusion.imaging.decoded import check_bytes, check_pixels, upright
from defusion.imaging.limits import check_jpeg, check_page
from defusion.imaging.picture import Picture
from defusion.imaging.profile import cmyk_to_srgb
from defusion.imaging.samples import as_floats, full_scale, scaled, split_alpha
from defusion.imaging.tiff_segments import TiffSamples, by_segments, is_rgb, of_jpeg

#: Most pages that a file may have.
_MOST_PAGES = 2**16

#: Kinds of extra channels that are alpha: TIFF's associated and unassociated alpha.
_ALPHA = (1, 2)

#: Bits of a page's kind: it is a reduced picture, or a mask.
_NOT_WHOLE = 1 | 4

# TIFF tags
_ICC_PROFILE, _CURVES, _WHITE, _PRIMARIES, _UNIT, _XMP, _IPTC = 34675, 301, 318, 319, 296, 700, 33723

#: Units in which microscopes' programs state the size of a pixel.
_MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer"), 1.0),
    **{"nm": 1e-3, "mm": 1e3, "cm": 1e4, "inch": 25400.0},
}
_INCH_UM = 25400.0
_SILENCE = logging.NullHandler()


#: A page is a thumbnail of a later one of the same form that has this many times its area.
_THUMBNAIL_RATIO = 4


class Stack(NamedTuple):
    """The pages that a file holds."""

    pages: int
    animated: bool = False
    """They are frames of an animation."""
    channels: int = 1
    """Number of channels. Each is a stack of its own."""
    of_channel: tuple[tuple[int, ...], ...] = ()
    """The pages of each channel, if there are several."""


def stack_in_tiff(file: BinaryIO) -> Stack:
    """Says which pages a TIFF holds: planes of a microscope's stack, full-size pages, or colours and a fourth
    channel.
    """
    with _parsed(file) as tif:
        planes = _Planes(tif)
        if planes.channel_of is None:
            return Stack(planes.count)
        channels = range(max(planes.channel_of) + 1)
        pages = tuple(tuple(np.flatnonzero(np.array(planes.channel_of) == each).tolist()) for each in channels)
        return Stack(planes.count, channels=len(channels), of_channel=pages)


def read_tiff(file: BinaryIO, name: str, number: int | None = None) -> Picture:
    """Reads a page of a TIFF that is open at a path, by strips or tiles if it is large.

    Args:
        file: The file.
        name: Name of the file in notes.
        number: Number of the page, as `stack_in_tiff` counts them; None for the first full-size page.

    Raises:
        ImageError: The samples cannot be fused.
        Exception: The file is damaged.
    """
    import tifffile

    with _parsed(file) as tif:
        planes = _Planes(tif)
        page, which = _whole_page(planes.of_file)
        if number is not None:
            page, which = planes.page(number), ""
        elif planes.count > len(planes.of_file) and not planes.fourth_apart:
            which = f"first of {planes.count} planes"
        check_pixels(name, page.imagewidth, page.imagelength)
        check_page(
            *(name, page.imagewidth, page.imagelength, page.nbytes, sum(page.databytecounts)),
            compression=int(page.compression),
        )
        if max(map(operator.add, page.dataoffsets, page.databytecounts)) > tif.filehandle.size:
            raise ValueError("the file ends before its last pixels")
        notes = [f"{name}: {which} used"] if which else []
        notes += _holes(page, name)
        icc, told = (None, None) if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else _profile(page)
        notes += [f"{name}: colours are what its tags say, which is kept as an ICC profile"] if told else []
        notes += [f"{name}: IPTC is not kept"] if _IPTC in page.tags else []
        fields = exif.read_directory(file) | exif.read_directory(file, page.offset)
        if page.is_imagej or page.is_ome or page.is_shaped:
            fields = exif.without_description(fields)
        fields, told_of_size = _with_pixel_size(tif, fields)
        notes += [f"{name}: {told_of_size}"] if told_of_size else []
        xmp = _block(page, _XMP)
        if planes.stored_apart and number:
            check_bytes(name, page.imagewidth, page.imagelength, page.dtype.itemsize)
            return upright(name, planes.stored(number), icc, fields, notes, xmp=xmp)
        if exif.orientation(fields) == 1 and by_segments(page):
            samples = TiffSamples(Path(file.name), page)
            return Picture(samples, icc or None, exif.upright_block(fields), tuple(notes), xmp=xmp)
        check_bytes(name, page.imagewidth, page.imagelength, page.samplesperpixel * max(1, page.bitspersample // 8))
        if planes.fourth_apart and number is not None:
            colours, fourth = np.split(page.asarray(), [3], axis=2)
            return upright(name, fourth if number else colours, None if number else icc, fields, notes)
        decoded, alpha, changes = _decoded(page, name)
        return upright(name, decoded, icc, fields, [*changes, *notes], alpha, xmp=xmp)


@contextmanager
def _parsed(file: BinaryIO) -> Iterator[Any]:
    import tifffile

    # tifffile's remarks about odd tags would otherwise reach stderr through logging's last resort.
    logging.getLogger("tifffile").addHandler(_SILENCE)
    with tifffile.TiffFile(file) as tif:
        yield tif


class _Planes:
    """The planes of a TIFF that belong together: those of its first series, or pages like the first full-size one."""

    def __init__(self, tif: Any) -> None:
        self._tif = tif
        self.of_file = _pages_in(tif)
        """All pages of the file."""
        first, _ = _whole_page(self.of_file)
        self.channel_of: list[int] | None = None
        """The channel of each plane, if there are several channels with several planes."""
        self.stored_apart = False
        """The planes follow each other, without a directory for each."""
        self.fourth_apart = False
        """The planes are the colours of one page, and a fourth channel that is not alpha."""
        alike = [page for page in self.of_file if page.shape == first.shape and not page.subfiletype & _NOT_WHOLE]
        self._pages = alike if first.offset in {page.offset for page in alike} else [first]
        self.count = len(self._pages)
        if self.count == 1 and is_rgb(first) and first.axes == "YXS" and tuple(first.extrasamples) == (0,):
            self.fourth_apart, self.count, self._pages = True, 2, [first, first]
        elif tif.is_imagej or tif.is_ome or tif.is_shaped:
            self._of_series(tif.series[0])

    def _of_series(self, series: Any) -> None:
        others = [(axis, length) for axis, length in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
        count = math.prod(length for _, length in others)
        if not series.axes.replace("S", "").endswith("YX") or count <= 1:
            return
        if count > _MOST_PAGES:
            raise ValueError(f"it says that it has {count} planes")
        lengths = [length for axis, length in others if axis == "C"]
        if lengths and 1 < lengths[0] < count:
            at = np.indices([length for _, length in others])[[axis for axis, _ in others].index("C")]
            self.channel_of = at.ravel().tolist()
        self.stored_apart = len(self.of_file) < count
        self._pages = [self.of_file[0]] * count if self.stored_apart else [page.aspage() for page in series.pages]
        self.count = count

    def page(self, number: int) -> Any:
        """Returns the directory of a plane."""
        return self._pages[number]

    def stored(self, number: int) -> NDArray[Any]:
        """Returns the samples [H, W, C] of a plane that has no directory."""
        page = self._pages[0]
        file, dtype = self._tif.filehandle, np.dtype(page.dtype).newbyteorder(self._tif.byteorder)
        shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
        size = math.prod(shape) * dtype.itemsize
        file.seek(page.dataoffsets[0] + number * size)
        samples = np.frombuffer(file.read(size), dtype).reshape(shape)
        return samples.astype(page.dtype, copy=False)


def _with_pixel_size(tif: Any, fields: exif.Directory) -> tuple[exif.Directory, str]:
    """Adds the size of a pixel, if a microscope's program stated it in its own way; also returns a note."""
    across = unit = None
    if tif.is_ome and (told := re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', tif.ome_metadata)):
        of = re.search(r'PhysicalSizeXUnit="([^"]+)"', tif.ome_metadata)
        across, unit = float(told[1]), of[1] if of else "µm"
    elif tif.is_imagej and (numbers := tif.pages[0].tags.valueof(282)) and numbers[0]:
        across, unit = (
            numbers[1] / numbers[0],
            str((tif.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ"),
        )
    if not across or unit not in _MICROMETRES:
        return fields, ""
    dots = _INCH_UM / (across * _MICROMETRES[unit])
    kept = exif.with_resolution({tag: each for tag, each in fields.items() if tag != _UNIT}, (dots, dots))
    size = f"pixel size of {across:.4g} {unit}"
    if exif.resolution(exif.upright_block(kept)) is None:
        return fields, f"{size} is not kept, it is finer than dots per inch tell"
    return kept, f"{size} is kept as dots per inch"


def _pages_in(tif: Any) -> list[Any]:
    """Returns the pages of a TIFF, without pages inside pages.

    Raises:
        ValueError: They form a circle, or there are more than a file can have: it is damaged.
    """
    pages: list[Any] = []
    seen = set()
    for each in tif.pages:
        if each.offset in seen or len(pages) == _MOST_PAGES:
            raise ValueError(f"it has no end of pages after {len(pages)}")
        seen.add(each.offset)
        pages.append(each.aspage())
    return pages


def _whole_page(pages: Sequence[Any]) -> tuple[Any, str]:
    """Returns the first page that is not a reduced picture, and a description of it unless it is the only one.

    A page inside another (SubIFD) is used if it is larger, because cameras put a thumbnail first.
    """
    whole = [page for page in pages if not page.subfiletype & _NOT_WHOLE]
    first = (whole or pages)[0]
    insides = [inside for page in pages[:1] for inside in page.pages or ()]
    larger = [each for each in insides if not each.subfiletype & _NOT_WHOLE and _area(each) > _area(first)]
    if larger:
        page = max(larger, key=_area)
        return page, f"the picture of {page.imagewidth}x{page.imagelength} inside its thumbnail"
    enlarged = [each for each in whole if _area(each) >= _THUMBNAIL_RATIO * _area(first) and _same_form(each, first)]
    if first is pages[0] and enlarged:
        page = max(enlarged, key=_area)
        return page, f"page {pages.index(page) + 1} of {len(pages)}, of which the first is a thumbnail,"
    if first is not pages[0]:
        return first, f"page {pages.index(first) + 1} of {len(pages)}, the first that is not reduced,"
    return first, f"first of {len(whole)} pages" if len(whole) > 1 else ""


def _holes(page: Any, name: str) -> list[str]:
    """A note where strips or tiles are left out, as in sparse files.

    Raises:
        ValueError: They have a place and no bytes.
    """
    empty = [at for at, size in zip(page.dataoffsets, page.databytecounts, strict=False) if not size]
    if any(empty):
        raise ValueError(f"{len(empty)} of its strips or tiles have no bytes")
    return [f"{name}: {len(empty)} of {len(page.dataoffsets)} strips or tiles are left out in it"] if empty else []


def _same_form(page: Any, other: Any) -> bool:
    """Says whether two pages have the same aspect ratio, except for rounding."""
    wide, other_wide = page.imagewidth * other.imagelength, page.imagelength * other.imagewidth
    return bool(abs(wide - other_wide) <= page.imagewidth + page.imagelength)


def _area(page: Any) -> int:
    return int(page.imagewidth * page.imagelength)


def _block(page: Any, tag: int) -> bytes | None:
    """Returns the bytes of a tag; None if it is missing, or its type holds no bytes."""
    value = page.tags.valueof(tag)
    return value if isinstance(value, bytes) and value else None


def _profile(page: Any) -> tuple[bytes | None, bool]:
    """Returns the ICC profile of a page, and whether it was made from other tags."""
    if icc := _block(page, _ICC_PROFILE):
        return icc, False
    white, primaries, curves = (page.tags.valueof(tag) for tag in (_WHITE, _PRIMARIES, _CURVES))
    steps = 2**page.bitspersample if page.bitspersample in (8, 16) else 0
    table = None if curves is None or not steps else np.array(curves, np.uint16)
    if table is not None and table.size not in (steps, 3 * steps):
        table = None
    made = profile_of_tiff(
        _quotients(white, 2),
        _quotients(primaries, 6),
        None if table is None else table.reshape(-1, steps),
        not is_rgb(page),
    )
    return made, made is not None


def _quotients(numbers: Sequence[int] | None, count: int) -> list[float] | None:
    """Returns the values of a field of rationals, if it has this many."""
    if numbers is None or len(numbers) != 2 * count or 0 in numbers[1::2]:
        return None
    return [above / below for above, below in zip(numbers[::2], numbers[1::2], strict=True)]


def _decoded(page: Any, name: str) -> tuple[NDArray[Any], NDArray[Any] | None, list[str]]:
    """Returns HxWxC grey or RGB samples of a whole page, their alpha, and notes on what was changed."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    photometric = page.photometric
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"{name} holds a volume of shape {page.shape}; expected one plane: export a slice of it.")
    odd = []
    if of_jpeg(page):
        for data, _ in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
            odd += [f"{name}: may be damaged, {reason}"] if (reason := _check_segment(page, data)) else []
    samples: NDArray[Any] = page.asarray()
    if photometric == PHOTOMETRIC.PALETTE:
        palette = (page.colormap >> 8).astype(np.uint8).T
        return palette[samples], None, [f"{name}: palette turned into RGB"]
    if page.bitspersample not in (1, 8 * samples.itemsize):
        raise ImageError(
            f"{name} holds samples of {page.bitspersample} bits; expected 1, 8 or 16 bits, or floats: "
            "convert it first."
        )
    samples = np.moveaxis(samples, 0, 2) if page.axes == "SYX" else samples.reshape(*samples.shape[:2], -1)
    if photometric == PHOTOMETRIC.SEPARATED and samples.dtype == np.uint8 and samples.shape[2] >= 4:
        cmyk, alpha, told = split_alpha(samples, 4, name)
        return cmyk_to_srgb(cmyk, _block(page, _ICC_PROFILE)), alpha, [*told, f"{name}: CMYK turned into sRGB"]
    rgb = is_rgb(page)
    if not rgb and photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE):
        kind = getattr(photometric, "name", photometric)
        raise ImageError(
            f"{name} holds {samples.dtype} samples of kind {kind}; expected grey, RGB or 8-bit CMYK: "
            "convert it first."
        )
    colours = 3 if rgb else 1
    masks = [at for at, kind in enumerate(page.extrasamples, colours) if kind in _ALPHA]
    extra = [f"{name}: extra channels dropped"] if masks and samples.shape[2] > colours + 1 else []
    if extra:
        samples = samples[..., [*range(colours), masks[0]]]
    samples, alpha, told = split_alpha(samples, colours, name)
    if alpha is not None and EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        samples = _unmultiplied(samples, alpha)
    if photometric == PHOTOMETRIC.MINISWHITE:
        samples = 1 - samples if samples.dtype.kind == "f" else ~samples
    samples, floats = as_floats(samples, name)
    one_bit = [f"{name}: 1-bit picture read as 8-bit grey"] if samples.dtype == np.bool_ else []
    return samples, alpha, [*told, *extra, *floats, *one_bit, *odd[:1]]


def _check_segment(page: Any, data: bytes | None) -> str | None:
    return check_jpeg(data, page.jpegtables or b"") if data else None


def _unmultiplied(samples: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Divides colours by the alpha that they were multiplied by."""
    full = full_scale(samples.dtype)
    whole = np.divide(samples, scaled(alpha), out=np.zeros(samples.shape), where=alpha > 0)
    rounded: NDArray[Any] = np.clip(np.rint(whole) if samples.dtype.kind == "u" else whole, 0, full)
    return rounded.astype(samples.dtype)
