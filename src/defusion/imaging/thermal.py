"""False colour of thermal cameras: recognises the palette, and converts the colours back to one plane of temperature.

A palette maps temperature to a line through the colour cube. Pixels that all lie near one such line, and fill much of
it, were painted with that palette; the colours of a photograph fill space. The nearest point on the line gives the
temperature of a pixel, on the scale of the picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging.colour import luminance
from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, bands, quantised

#: Colours of each palette from cold to hot, at even steps, 0 to 255. Between them the line is straight.
_PALETTES: dict[str, list[tuple[int, int, int]]] = {
    # black, indigo, violet, magenta-red, orange, yellow, white
    "iron": [
        *((0, 0, 10), (28, 0, 116), (104, 0, 156), (170, 14, 144), (216, 62, 62), (240, 116, 10)),
        *((252, 172, 6), (255, 222, 70), (255, 255, 246)),
    ],
    # matplotlib's map of that name (CC0), at nine places
    "inferno": [
        *((0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51)),
        *((249, 140, 10), (249, 201, 50), (252, 255, 164)),
    ],
    # blue, cyan, green, yellow, red
    "rainbow": [
        *((0, 0, 140), (0, 20, 255), (0, 130, 255), (10, 232, 240), (90, 255, 150), (170, 255, 80)),
        *((250, 240, 0), (255, 140, 0), (250, 20, 0), (130, 0, 0)),
    ],
    # black, dark red, red, orange, yellow, white
    "lava": [
        (8, 0, 0),
        (90, 0, 0),
        (172, 0, 0),
        (252, 2, 0),
        (255, 84, 0),
        (255, 168, 0),
        (255, 248, 8),
        (255, 255, 250),
    ],
    # deep blue, azure, pale blue, then ochre and yellow
    "arctic": [
        (6, 4, 90),
        (10, 50, 200),
        (20, 130, 244),
        (120, 200, 236),
        (150, 150, 140),
        (190, 130, 40),
        (250, 200, 60),
    ],
    # OpenCV's map of that name: red, yellow, green, blue, violet
    "opencv-rainbow": [
        *((255, 0, 0), (255, 43, 0), (255, 85, 0), (255, 128, 0), (255, 170, 0), (255, 213, 0), (255, 255, 0)),
        *((170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 170, 85), (0, 85, 170), (0, 0, 255), (43, 0, 255)),
        *((85, 0, 255), (128, 0, 255), (170, 0, 255)),
    ],
    # all hues, from red to red; the last is slightly before red, to tell it from the first
    "hsv": [
        *((255, 0, 0), (255, 84, 0), (255, 168, 0), (250, 247, 0), (168, 255, 0), (84, 255, 0), (0, 255, 0)),
        *((0, 255, 84), (0, 255, 168), (0, 247, 250), (0, 168, 255), (0, 84, 255), (0, 0, 255), (84, 0, 255)),
        *((168, 0, 255), (247, 0, 250), (255, 0, 168), (255, 0, 84), (255, 0, 6)),
    ],
}

#: Names of the known palettes.
PALETTES = tuple(_PALETTES)


class _Line(NamedTuple):
    """A palette as straight pieces."""

    starts: NDArray[np.float32]
    """Colours [n, 3] in [0, 1] at which the pieces start."""
    steps: NDArray[np.float32]
    """Difference from each start to the next, [n, 3]."""


#: A pixel is on a palette's line if it is no farther away than this, as a fraction of the cube's side.
_NEAR = 0.09

#: Number of parts of a line, and the fraction of the pixels that a part needs to count as filled.
_BINS = 20
_BIN_PART = 0.002

#: What a painted picture has to reach: fraction of the line that is filled; fraction of its pixels on the line;
#: fraction of the pixels on the line that are in a filled part, averaged over parts, so that a dark background counts
#: once. Of 32 thermal pictures, painted with each palette and saved as JPEG of quality 90, none was below 0.25, 0.81
#: and 0.67. Of 575 colour photographs, those that filled as much reached at most 0.51 of the last.
_FILLED, _ON_LINE, _PURE = 0.25, 0.8, 0.65

#: Fraction of the distinct colours of a painted picture that are on the line, each weighted by the square root of its
#: pixels, so that a large background does not dominate. Of 16 thermal pictures, painted with each palette and saved
#: as JPEG of quality 75 and 90, none was below 0.9. Activity in the colours of PET reached 0.42, and pictures in
#: other palettes 0.65.
_DISTINCT = 0.8

#: Number of steps from black to white by which colours are distinguished. Colours with a smaller fraction of the
#: pixels than the second are ignored, since JPEG makes many.
_SHADES, _SHADE_PART = 32, 2e-4

#: A pixel farther than this from the line shows no temperature but a caption or a mark.
_OFF = 0.25

#: Least spread of the colours across the straight line that fits them best. A picture toned in one colour, as by a
#: red light, runs along a single piece of a palette. Of the painted pictures none was below 0.017.
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
    return _nearest(region, _line(palette))[0][..., np.newaxis]


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
    line = _line(palette)
    at = np.clip(places[..., 0], 0, 1) * np.float32(len(line.starts))
    piece = np.minimum(at.astype(int), len(line.starts) - 1)
    colours: NDArray[np.float32] = line.starts[piece] + (at - piece)[..., np.newaxis] * line.steps[piece]
    return colours


def recognised_palette(picture: Picture) -> str | None:
    """Returns the palette that a picture is painted with; None for photographs and grey pictures.

    It looks at a sample of rows and columns, so a large TIFF is not read as a whole.
    """
    if picture.grey:
        return None
    pixels = _sample(picture)
    if len(pixels) < 2 or np.linalg.eigvalsh(np.cov(pixels.T))[1] < _BEND**2:
        return None
    found = [(distance, name) for name in PALETTES if (distance := _distance(pixels, _line(name))) is not None]
    return min(found)[1] if found else None


def distance_from_palette(picture: Picture, palette: str) -> float:
    """Returns the median distance of a picture's colours from a palette, as a fraction of the cube's side; inf for
    grey.
    """
    if picture.grey:
        return float("inf")
    pixels = _sample(picture)
    return float(np.median(_nearest(pixels, _line(palette))[1])) if len(pixels) else float("inf")


def as_temperature(picture: Picture, palette: str, name: str = "source") -> Picture:
    """Converts a picture in false colour back to temperature, region by region: grey, at its own depth, with a note.

    Places whose colour is not on the palette, such as captions, are masked out.
    """
    note = f"{name}: false colour of palette {palette} converted back to temperature"
    alpha = picture.alpha
    line = _line(palette)
    if alpha is None and any(
        (_nearest(picture.region(rows, slice(None)), line)[1] > _OFF).any()
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
        place, far = _nearest(pixels, _line(self._palette))
        shown = np.where(far > _OFF, luminance(pixels)[..., 0], place)
        return quantised(shown[..., np.newaxis], self.dtype)


class _OnPalette(LazySamples):
    """Alpha that shows which pixels of a picture show a temperature."""

    def __init__(self, picture: Picture, palette: str) -> None:
        self.shape, self.dtype = (picture.height, picture.width, 1), np.dtype(np.uint8)
        self._picture, self._palette = picture, palette

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        slices = [slice(each.start, each.stop, each.step) for each in (rows, columns)]
        far = _nearest(self._picture.region(*slices), _line(self._palette))[1]
        return np.where(far > _OFF, np.uint8(0), np.uint8(255))[..., np.newaxis]


def _line(palette: str) -> _Line:
    if palette not in _PALETTES:
        raise ImageError(
            f"no palette {palette!r} is known, expected one of {', '.join(PALETTES)}; choose the nearest."
        )
    colours = np.array(_PALETTES[palette], np.float32) / np.float32(255)
    return _Line(colours[:-1], np.diff(colours, axis=0))


def _nearest(pixels: NDArray[np.float32], line: _Line) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns where on a line the nearest points to pixels [..., 3] are, in [0, 1], and how far away they are."""
    colours = np.ascontiguousarray(pixels.reshape(-1, 3).T)  # one colour in each row is several times as fast
    place = np.zeros(colours.shape[1], np.float32)
    least = np.full(colours.shape[1], np.inf, np.float32)
    for number, (start, step) in enumerate(zip(*line, strict=True)):
        offset = colours - start[:, np.newaxis]
        along = np.clip((step / np.dot(step, step)) @ offset, 0, 1)
        offset -= step[:, np.newaxis] * along
        squared = np.einsum("cn,cn->n", offset, offset)
        closer = squared < least
        np.copyto(least, squared, where=closer)
        np.copyto(place, number + along, where=closer)
    place /= len(line.starts)
    return place.reshape(pixels.shape[:-1]), np.sqrt(least).reshape(pixels.shape[:-1])


def _distance(pixels: NDArray[np.float32], line: _Line) -> float | None:
    """Returns how far pixels [n, 3] are from a line overall; None if they are not painted with it."""
    place, far = _nearest(pixels, line)
    near = far < _NEAR
    bins = np.minimum((place * _BINS).astype(int), _BINS - 1)
    inside, on_line = (np.bincount(bins[which], minlength=_BINS) for which in (slice(None), near))
    filled = inside > _BIN_PART * len(pixels)
    purity = np.mean(on_line[filled] / inside[filled])
    painted = near.mean() >= _ON_LINE and purity >= _PURE and np.mean(on_line > _BIN_PART * len(pixels)) >= _FILLED
    return float(np.median(far)) if painted and _distinct(pixels, line) >= _DISTINCT else None


def _distinct(pixels: NDArray[np.float32], line: _Line) -> float:
    """Returns the fraction of the distinct colours of pixels [n, 3] on a line, weighted by the square root of their
    pixels.
    """
    shades = np.rint(pixels * (_SHADES - 1)).astype(np.int64)
    colours, counts = np.unique(shades, axis=0, return_counts=True)
    seen = counts >= max(2, _SHADE_PART * len(pixels))
    if not seen.any():
        return 0.0
    weights = np.sqrt(counts[seen])
    far = _nearest(colours[seen].astype(np.float32) / np.float32(_SHADES - 1), line)[1]
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
