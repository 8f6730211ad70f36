"""False colour of thermal cameras: recognises the palette, and converts the colours back to one plane of temperature.

A palette maps temperature to a line through the colour cube. Pixels that all lie near one such line, and fill much of
it, were painted with that palette; the colours of a photograph fill space. The nearest point on the line gives the
temperature of a pixel, on the scale of the picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.colour import luminance
from defusion.imaging.palettes import PALETTES, Line, line_of
from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, bands, quantised

#: A pixel is on a palette's line if it is no farther away than this, as a fraction of the cube's side.
_NEAR = 0.09

#: Photographs come near these palettes, which are almost grey. A picture is painted with one of them only if nine of
#: ten pixels are within the second.
_PALE, _PALE_NEAR = ("cividis", "bone", "pink"), 0.04

#: Number of pixels that are looked at first.
_FIRST_LOOK = 512

#: Number of parts of a line, and the fraction of the pixels that a part needs to count as filled.
_BINS = 20
_BIN_PART = 0.002

#: What a painted picture has to reach: fraction of the line that is filled; fraction of its pixels on the line;
#: fraction of the pixels on the line that are in a filled part, averaged over parts, so that a dark background counts
#: once. Of 9 thermal pictures, each painted with 20 of OpenCV's maps and saved as PNG and as JPEG of quality 75, all
#: but 14 of 360 were recognised, 11 of those in the pale maps. Of 451 photographs and 48 medical pictures none was.
_FILLED, _ON_LINE, _PURE = 0.25, 0.8, 0.65

#: Fraction of the distinct colours of a painted picture that are on the line, each weighted by the square root of its
#: pixels, so that a large background does not dominate. Activity in the colours of PET reached 0.42.
_DISTINCT = 0.8

#: Number of steps from black to white by which colours are distinguished. Colours with a smaller fraction of the
#: pixels than the second are ignored, since JPEG makes many.
_SHADES, _SHADE_PART = 32, 2e-4

#: What a whole line that is filled counts, as a distance: some palettes are parts of others.
_FULLER = 0.03

#: A pixel farther than this from the line shows no temperature but a caption or a mark.
_OFF = 0.25

#: Least spread of the colours across the straight line that fits them best. A picture toned in one colour, as by a
#: red light, runs along a single piece of a palette that begins with black. No photograph lies on the others.
_BEND = 0.015

_SAMPLE_SIDE = 96


def thermal_luminance(region: NDArray[np.float32], palette: str) -> NDArray[np.float32]:
    """Converts false colour back to temperature.

    Args:
        region: RGB pixels [h, w, 3] in [0, 1].
        palette: One of `PALETTES`.

    Returns:
        [h, w, 1] in [0, 1]: 0 for the coldest colour of the palette, 1 for the hottest.

    Raises:
        ImageError: The palette is unknown.
    """
    return line_of(palette).nearest(region)[0][..., np.newaxis]


def in_palette(places: NDArray[np.float32], palette: str) -> NDArray[np.float32]:
    """Paints temperature in false colour.

    Args:
        places: [..., 1], from 0 for the coldest colour of the palette to 1 for the hottest; clipped.
        palette: One of `PALETTES`.

    Returns:
        RGB pixels [..., 3] in [0, 1].

    Raises:
        ImageError: The palette is unknown.
    """
    return line_of(palette).colours(np.clip(places[..., 0], 0, 1))


def recognised_palette(picture: Picture) -> str | None:
    """Returns the palette that a picture is painted with; None for photographs and grey pictures.

    It looks at a sample of rows and columns, so a large TIFF is not read as a whole.
    """
    if picture.grey:
        return None
    pixels = _sample(picture)
    if len(pixels) < 2:
        return None
    bent = np.linalg.eigvalsh(np.cov(pixels.T))[1] >= _BEND**2
    found = []
    for palette in PALETTES:
        line = line_of(palette)
        if bent or not line.begins_dark:
            misfit = _misfit(pixels, line, _PALE_NEAR if palette in _PALE else _NEAR)
            found += [(misfit, palette)] if misfit is not None else []
    return min(found)[1] if found else None


def distance_from_palette(picture: Picture, palette: str) -> float:
    """Returns the median distance of a picture's colours from a palette, as a fraction of the cube's side; inf for
    grey.
    """
    if picture.grey:
        return float("inf")
    pixels = _sample(picture)
    return float(np.median(line_of(palette).nearest(pixels)[1])) if len(pixels) else float("inf")


def as_temperature(picture: Picture, palette: str, name: str = "source") -> Picture:
    """Converts a picture in false colour back to temperature, region by region: grey, at its own depth, with a note.

    Places whose colour is not on the palette, such as captions, are masked out.
    """
    note = f"{name}: false colour of palette {palette} converted back to temperature"
    alpha = picture.alpha
    line = line_of(palette)
    if alpha is None and any(
        (line.nearest(picture.region(rows, slice(None)))[1] > _OFF).any()
        for rows in bands(picture.height, picture.width)
    ):
        alpha = _OnPalette(picture, palette)
        note += "; captions and marks in it count for nothing"
    samples = _Temperature(picture, palette)
    return replace(picture, samples=samples, icc=None, levels=None, alpha=alpha, notes=(*picture.notes, note))


class _Temperature(LazySamples):
    """Temperatures of RGB samples in false colour."""

    def __init__(self, picture: Picture, palette: str) -> None:
        self.shape, self.dtype = (picture.height, picture.width, 1), picture.samples.dtype
        self._picture, self._palette = picture, palette

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        slices = [slice(each.start, each.stop, each.step) for each in (rows, columns)]
        pixels = self._picture.region(*slices)
        place, far = line_of(self._palette).nearest(pixels)
        shown = np.where(far > _OFF, luminance(pixels)[..., 0], place)
        return quantised(shown[..., np.newaxis], self.dtype)


class _OnPalette(LazySamples):
    """Alpha that shows which pixels of a picture show a temperature."""

    def __init__(self, picture: Picture, palette: str) -> None:
        self.shape, self.dtype = (picture.height, picture.width, 1), np.dtype(np.uint8)
        self._picture, self._palette = picture, palette

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        slices = [slice(each.start, each.stop, each.step) for each in (rows, columns)]
        far = line_of(self._palette).nearest(self._picture.region(*slices))[1]
        return np.where(far > _OFF, np.uint8(0), np.uint8(255))[..., np.newaxis]


def _misfit(pixels: NDArray[np.float32], line: Line, usual: float) -> float | None:
    """Returns how badly a line fits pixels [n, 3]; None if they are not painted with it.

    Args:
        pixels: The pixels.
        line: The line.
        usual: Nine of ten painted pixels are no farther away than this.
    """
    some = pixels[:: max(1, len(pixels) // _FIRST_LOOK)]
    if (line.nearest(some)[1] < _NEAR).mean() < _ON_LINE - 0.2:
        return None
    place, far = line.nearest(pixels)
    near = far < _NEAR
    bins = np.minimum((place * _BINS).astype(int), _BINS - 1)
    inside, on_line = (np.bincount(bins[which], minlength=_BINS) for which in (slice(None), near))
    filled = inside > _BIN_PART * len(pixels)
    purity = np.mean(on_line[filled] / inside[filled])
    part = float(np.mean(on_line > _BIN_PART * len(pixels)))
    painted = near.mean() >= _ON_LINE and purity >= _PURE and part >= _FILLED
    if not painted or (usual < _NEAR and np.quantile(far, 0.9) > usual):
        return None
    return float(np.median(far)) - _FULLER * part if _distinct(pixels, line) >= _DISTINCT else None


def _distinct(pixels: NDArray[np.float32], line: Line) -> float:
    """Returns the fraction of the distinct colours of pixels [n, 3] on a line, weighted by the square root of their
    pixels.
    """
    shades = np.rint(pixels * (_SHADES - 1)).astype(np.int64)
    colours, counts = np.unique(shades, axis=0, return_counts=True)
    seen = counts >= max(2, _SHADE_PART * len(pixels))
    if not seen.any():
        return 0.0
    weights = np.sqrt(counts[seen])
    far = line.nearest(colours[seen].astype(np.float32) / np.float32(_SHADES - 1))[1]
    return float(weights[far < _NEAR].sum() / weights.sum())


def _sample(picture: Picture) -> NDArray[np.float32]:
    """Returns pixels [n, 3] from all over a picture."""
    step = max(1, picture.width // _SAMPLE_SIDE)
    tops = np.unique(np.linspace(0, picture.height - 1, _SAMPLE_SIDE).astype(int))
    places = [(slice(top, top + 1), slice(None, None, step)) for top in tops.tolist()]
    pixels: NDArray[np.float32] = np.concatenate([picture.region(*each)[0] for each in places])
    if picture.alpha is None:
        return pixels
    return pixels[np.concatenate([np.asarray(picture.alpha[each])[0, :, 0] for each in places]) > 0]
