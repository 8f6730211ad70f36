"""Reads and writes OpenEXR. Values are linear and stay as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging.colour_tags import linear_profile
from defusion.imaging.decoded import check_bytes
from defusion.imaging.overheard import overheard
from defusion.imaging.picture import Picture, from_array
from defusion.imaging.samples import split_alpha

START = b"\x76\x2f\x31\x01"

_COLOURS = ("R", "G", "B")
_GREY = ("Y",)

#: Attributes that other formats can hold, and what they are.
_NOT_KEPT = {"xDensity": "pixel size", "xmp": "XMP"}


def read_exr(file: BinaryIO, name: str) -> Picture:
    """Reads the channels R, G and B, or Y, of an EXR file that is open at a path.

    Raises:
        ImageError: OpenEXR is not installed, there are no such channels at full size, or values are NaN or outside
            [0, 1].
        Exception: The file is damaged.
    """
    openexr = library(name)
    # The header and the arrays of a File become empty when it closes.
    with overheard(), openexr.File(file.name, header_only=True) as opened:
        header = opened.header()
        (left, top), (right, bottom) = header["dataWindow"]
        width, height = int(right) - int(left) + 1, int(bottom) - int(top) + 1
        stored = os.fstat(file.fileno()).st_size
        check_bytes(name, width, height, 4 * len(header["channels"]), stored)
        primaries = [float(each) for each in np.ravel(header.get("chromaticities", ()))]
        not_kept = [what for key, what in _NOT_KEPT.items() if key in header]
    with overheard(), openexr.File(file.name, separate_channels=True) as opened:
        planes = {each: channel.pixels for each, channel in opened.channels().items()}
        parts = len(opened.parts)
    wanted = _COLOURS if planes.keys() >= set(_COLOURS) else _GREY
    size = planes[wanted[0]].shape if wanted[0] in planes else ()
    if len(size) != 2 or any(planes[each].shape != size or planes[each].dtype.kind != "f" for each in wanted):
        raise ImageError(
            f"{name} has the channels {', '.join(planes)}; expected R, G and B, or Y, of half or float: export it so."
        )
    samples = np.stack([planes[each] for each in wanted], axis=2, dtype=np.float32)
    notes: list[str] = []
    alpha = None
    if "A" in planes and planes["A"].shape == size:
        samples, alpha, told = split_alpha(np.dstack([samples, planes.pop("A")]), len(wanted), name)
        notes += told
        if alpha is not None:  # colours are stored multiplied by alpha
            samples = np.divide(samples, alpha, out=np.zeros_like(samples), where=alpha > 0)
    if extra := [each for each in planes if each not in wanted]:
        notes.append(f"{name}: channels {', '.join(extra)} left out")
    if parts > 1:
        notes.append(f"{name}: first of {parts} parts used")
    notes += [f"{name}: {what} is not kept" for what in not_kept]
    grey = samples.shape[2] == 1
    icc = linear_profile(tuple(primaries), grey=grey) if len(primaries) == 8 else linear_profile(grey=grey)
    return Picture(from_array(samples, name).samples, icc, notes=tuple(notes), alpha=alpha)


def write_exr(path: Path, samples: NDArray[np.float32]) -> None:
    """Writes float samples, HxWx1 or HxWx3.

    Raises:
        RuntimeError: The disk is full.
    """
    openexr = library(path.name)
    channels = {"RGB": samples} if samples.shape[2] == 3 else {"Y": np.ascontiguousarray(samples[..., 0])}
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with openexr.File(header, channels) as opened:
        opened.write(str(path))


def library(name: str) -> Any:
    """Returns the module OpenEXR.

    Raises:
        ImageError: It is not installed.
    """
    try:
        import OpenEXR
    except ImportError:
        raise ImageError(f'{name} is an EXR, which OpenEXR reads and writes: pip install "defusion[exr]"') from None
    return OpenEXR
