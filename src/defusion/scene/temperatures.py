"""Temperatures through a fusion: the measured plane as it lies in the result, and isotherms."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import PALETTES, Picture, PictureWriter, in_palette, luminance
from defusion.scene.frame import Frame
from defusion.system.files import unfit, write_json

Pixels = NDArray[np.float32]

#: Share of the palette's colour where an isotherm is painted; the rest is the fused picture.
_PAINT = 0.8

NOT_MEASURED = (
    "an isotherm was asked for, but not exactly one source holds measured values; give one thermal picture of "
    "degrees or counts: a radiometric JPEG, or a TIFF of 16 bits or floats."
)


@dataclass(frozen=True)
class Isotherm:
    """A range of measured values that is painted.

    Raises:
        ImageError: The range is empty, or the palette is unknown.
    """

    low: float
    high: float
    palette: str = "iron"

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ImageError(f"an isotherm from {self.low:g} to {self.high:g} came; expected the lower value first.")
        if self.palette not in PALETTES:
            raise ImageError(f"no palette {self.palette!r} is known; expected one of {', '.join(PALETTES)}.")

    @classmethod
    def read(cls, text: str, palette: str) -> Isotherm:
        """Reads an isotherm such as "30..40".

        Raises:
            ImageError: The text is not an isotherm.
        """
        found = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)\.\.(-?[0-9]+(?:\.[0-9]+)?)", text)
        if not found:
            raise ImageError(f"the isotherm {text!r} is not understood; expected a range such as 30..40.")
        return cls(float(found[1]), float(found[2]), palette)

    def painted(self, pixels: Pixels, values: NDArray[Any]) -> Pixels:
        """Paints the pixels whose measured value is in the range.

        Args:
            pixels: Fused pixels, [h, W, C] in [0, 1].
            values: Measured values, [h, W, 1]; NaN where nothing was measured.

        Returns:
            Pixels [h, W, 3].
        """
        values = values.astype(np.float32)
        light = pixels if pixels.shape[2] == 1 else luminance(pixels)
        colours = in_palette((values - np.float32(self.low)) / np.float32(self.high - self.low), self.palette)
        inside = (values >= self.low) & (values <= self.high)
        painted: Pixels = np.where(inside, np.float32(_PAINT) * colours + np.float32(1 - _PAINT) * light, pixels)
        return painted

    def painted_bands(self, bands: Iterable[tuple[slice, Pixels]], heat: Heat) -> Iterator[Pixels]:
        """Paints the bands of a result, by what is measured in their rows."""
        for rows, pixels in bands:
            yield self.painted(pixels, heat.values(rows))


class Heat(NamedTuple):
    """What one source of a scene measures."""

    name: str
    """Name of the source."""
    picture: Picture
    """The source in the coordinates of the result."""

    @classmethod
    def among(cls, frames: Sequence[Frame]) -> Heat | None:
        """Finds the frame with measured values; None if there is none or more than one."""
        found = [cls(frame.name, picture) for frame in frames if (picture := frame.open()).measured is not None]
        return found[0] if len(found) == 1 else None

    @property
    def unit(self) -> str:
        """Unit of the values, such as "celsius" or "counts"."""
        assert self.picture.measured is not None
        return self.picture.measured.unit

    def values(self, rows: slice) -> NDArray[Any]:
        """Returns the measured values of rows, [h, W, 1], as float32; NaN where the source shows nothing."""
        values: NDArray[np.float32] = np.asarray(self.picture.samples[rows, :]).astype(np.float32)
        confidence = self.picture.confidence(rows, slice(None))
        if confidence is not None:
            values[confidence == 0] = np.nan
        return values

    def added_to(self, out: PictureWriter, height: int) -> dict[str, Any]:
        """Writes the values as the second page of a TIFF, after the first; returns facts about that page."""
        values = self.values(slice(0, height))
        measured = self.picture.measured
        assert measured is not None
        facts = {
            "source": self.name,
            "unit": measured.unit,
            "least": round(float(np.nanmin(values)), 4),
            "most": round(float(np.nanmax(values)), 4),
            **measured.facts,
        }
        out.add_page(values, json.dumps(facts))
        return facts


def sidecar_of(output: str | os.PathLike[str]) -> Path:
    """Returns the path of the JSON file beside a result that describes its second page."""
    return Path(output).with_suffix(".temperatures.json")


def has_pages(output: str | os.PathLike[str]) -> bool:
    """Says whether the file format of a result can hold measured values."""
    return Path(output).suffix.lower() in (".tif", ".tiff")


def check_sidecar(
    output: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]], heat: Heat | None
) -> tuple[str, ...]:
    """Makes sure that the file beside a result can be written.

    Returns:
        A note if temperatures will be lost.

    Raises:
        ImageError: A source would be overwritten, or something that is not a file is in the way.
    """
    if heat is None:
        return ()
    if not has_pages(output):
        lost = heat.unit == "celsius"
        return (f"{Path(output).name}: temperatures are not kept; a .tif has a page for them",) if lost else ()
    if reason := unfit(sidecar_of(output), sources):
        raise ImageError(f"{sidecar_of(output)} {reason}.")
    return ()


def write_sidecar(output: str | os.PathLike[str], facts: dict[str, Any]) -> None:
    """Writes a JSON file that describes the second page of a result.

    Raises:
        ImageError: The file cannot be written.
    """
    write_json(sidecar_of(output), {"file": Path(output).name, "page": 2, **facts})
