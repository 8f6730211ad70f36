"""What all readers share: limits for headers, upright pictures from decoded samples, one sentence for
damaged files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import exif
from defusion.imaging.colour_tags import adobe_rgb
from defusion.imaging.limits import COPIES, check_flat, check_memory
from defusion.imaging.picture import Picture, from_array
from defusion.imaging.tone import Levels

#: Most bytes of samples that are decoded at once, so that a damaged header cannot take all memory.
_MOST_BYTES = 2**32

_most_pixels: int | None = None


class PixelsError(ImageError):
    """A picture has more pixels than this process accepts."""


def limit_pixels(most: int | None) -> None:
    """Makes this process refuse larger pictures before they are decoded, as a service does; None accepts all."""
    global _most_pixels
    _most_pixels = most


def check_pixels(name: str, width: int, height: int) -> None:
    """Checks, before samples are decoded, that this process accepts so many pixels.

    Raises:
        PixelsError: It does not.
    """
    if _most_pixels is not None and width * height > _most_pixels:
        raise PixelsError(
            f"{name} says that it is {width}x{height} pixels; expected {_most_pixels / 1e6:g} megapixels at most: "
            "crop or resize it."
        )


@contextmanager
def telling_damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns any error of a decoder into one sentence about the file."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{path} does not fit into memory; use a machine with more, or crop it.") from error
    except Exception as error:  # damaged bytes reach six C libraries, which raise many kinds of errors
        raise ImageError(f"{path} is truncated or damaged ({error}); export or copy it again.") from error


def check_bytes(
    name: str, width: int, height: int, pixel_bytes: int, stored: int | None = None, copies: int = COPIES
) -> None:
    """Checks that samples can be decoded at once, before that is done.

    Args:
        name: The file.
        width: Width of the picture.
        height: Height of the picture.
        pixel_bytes: Bytes of a pixel.
        stored: Bytes of the file; None if they have been checked.
        copies: How many copies of the samples are in memory during decoding.

    Raises:
        ImageError: They need more than 4 GiB, more than the free memory or more pixels than this process accepts; or
            the file is far too short for them.
    """
    check_pixels(name, width, height)
    if width * height * pixel_bytes > _MOST_BYTES:
        size = f"{width * height * pixel_bytes / 1e9:.1f} GB"
        raise ImageError(
            f"{name} says that it is {width}x{height} pixels, {size} of samples; "
            f"expected {_MOST_BYTES / 1e9:.1f} GB at most: crop it, make it a TIFF of strips or tiles, or copy it "
            "again if it is damaged."
        )
    if stored is not None:
        check_flat(name, width, height, pixel_bytes, stored)
    check_memory(name, width, height, copies * width * height * pixel_bytes)


def upright(
    name: str,
    samples: NDArray[Any],
    icc: bytes | None,
    fields: exif.Directory,
    notes: Sequence[str] = (),
    alpha: NDArray[Any] | None = None,
    levels: Levels | None = None,
    xmp: bytes | None = None,
) -> Picture:
    """Makes a picture from decoded samples and what was found with them; alpha is [H, W, 1]."""
    turned = exif.orientation(fields)
    picture = from_array(exif.set_upright(samples, turned), name)
    if alpha is not None:
        picture = replace(picture, alpha=exif.set_upright(alpha, turned))
    if not icc and not picture.grey and exif.is_adobe_rgb(fields):
        icc = adobe_rgb()
        notes = (*notes, f"{name}: colours are Adobe RGB by its EXIF, which is kept as an ICC profile")
    return replace(
        picture,
        icc=icc or None,
        exif=exif.upright_block(fields),
        notes=(*notes, *picture.notes),
        levels=levels,
        turned=turned,
        xmp=exif.upright_xmp(xmp),
    )


def joined(
    name: str,
    samples: NDArray[Any],
    icc: bytes | None,
    block: bytes | None,
    dots_per_inch: tuple[float, float] | None,
    notes: Sequence[str] = (),
    alpha: NDArray[Any] | None = None,
    xmp: bytes | None = None,
) -> Picture:
    """Joins decoded samples with the profile, the EXIF block and the resolution that were found with them."""
    fields: exif.Directory = {}
    if block:
        try:
            fields = exif.parse(block)
        except ValueError as error:
            notes = (*notes, f"{name}: EXIF cannot be read and was dropped, {error}")
    return upright(name, samples, icc, exif.with_resolution(fields, dots_per_inch), notes, alpha, xmp=xmp)
