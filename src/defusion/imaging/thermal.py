"""False colour of thermal cameras: known by the line that its colours lie on, and led back to one plane.

A palette paints temperature along a line through the colour cube. Pixels that all lie near one such line, and fill a
good part of it, come from a palette; a photograph's colours fill space. What a pixel's nearest point on the line says
is its temperature, on the scale of the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture

#: Colours of each palette from cold to hot, at even steps, 0 to 255; between them it runs straight.
_PALETTES: dict[str, list[tuple[int, int, int]]] = {
    # black, indigo, violet, magenta-red, orange, yellow, white
    "iron": [
        *((0, 0, 10), (28, 0, 116), (104, 0, 156), (170, 14, 144), (216, 62, 62), (240, 116, 10)),
        *((252, 172, 6), (255, 222, 70), (255, 255, 246)),
    ],
    # as iron, but duller, and ends in pale yellow
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
    "lava": [(8, 0, 0), (90, 0, 0), (172, 0, 0), (252, 2, 0), (255, 84, 0), (255, 168, 0), (255, 248, 8), (255, 255, 250)],
    # deep blue, azure, pale blue, then ochre and yellow
    "arctic": [(6, 4, 90), (10, 50, 200), (20, 130, 244), (120, 200, 236), (150, 150, 140), (190, 130, 40), (250, 200, 60)],
}

#: Names of the palettes that are known.
PALETTES = tuple(_PALETTES)


class _Line(NamedTuple):
    """A palette as pieces of straight lines."""

    starts: NDArray[np.float32]
    """Colours [n, 3] in [0, 1] at which the pieces begin."""
    steps: NDArray[np.float32]
    """From each to the next [n, 3]."""


#: A pixel this far from a palette's line, of the cube's side, lies on it. JPEG at quality 90 and cameras whose palette
#: differs a little from ours stay within it.
_NEAR = 0.09

#: Part of the pixels that have to: a camera writes its scale and its name over the picture.
_ON_LINE = 0.9

#: Part of the line that they have to fill. A night scene's dark colours are near the dark end of many lines.
_FILLED = 0.45

#: The line is filled where this part of the pixels falls into a twentieth of it.
_BIN_PART = 0.002

_SAMPLE_SIDE = 96


def thermal_luminance(region: NDArray[np.float32], palette: str) -> NDArray[np.float32]:
    """Leads false colour back to temperature.

    Args:
        region: RGB pixels [h, w, 3] in [0, 1].
        palette: One of `PALETTES`.

    Returns:
        [h, w, 1] in [0, 1]: 0 for the coldest colour of the palette, 1 for the hottest.
    """
    return _nearest(region, _line(palette))[0][..., np.newaxis]


def recognised_palette(picture: Picture) -> str | None:
    """Says which palette a picture is painted with; None for photographs and pictures without colour.

    A sample of rows and columns is looked at, so a large TIFF is not read whole.
    """
    if picture.grey:
        return None
    pixels = _sample(picture)
    found = [(distance, name) for name in PALETTES if (distance := _distance(pixels, _line(name))) is not None]
    return min(found)[1] if found else None


def _line(palette: str) -> _Line:
    colours = np.array(_PALETTES[palette], np.float32) / np.float32(255)
    return _Line(colours[:-1], np.diff(colours, axis=0))


def _nearest(pixels: NDArray[np.float32], line: _Line) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where on a line the pixels [..., 3] have their nearest point, in [0, 1], and how far that is."""
    place = np.zeros(pixels.shape[:-1], np.float32)
    least = np.full(pixels.shape[:-1], np.inf, np.float32)
    for number, (start, step) in enumerate(zip(*line, strict=True)):
        offset = pixels - start
        along = np.clip(offset @ (step / np.dot(step, step)), 0, 1)
        offset -= along[..., np.newaxis] * step
        squared = np.einsum("...c,...c->...", offset, offset)
        closer = squared < least
        np.copyto(least, squared, where=closer)
        np.copyto(place, number + along, where=closer)
    place /= len(line.starts)
    return place, np.sqrt(least, out=least)


def _distance(pixels: NDArray[np.float32], line: _Line) -> float | None:
    """How far pixels [n, 3] lie from a line on the whole; None if they are not painted with it."""
    place, far = _nearest(pixels, line)
    near = far < _NEAR
    if near.mean() < _ON_LINE:
        return None
    counts, _ = np.histogram(place[near], bins=20, range=(0, 1))
    if (counts > _BIN_PART * len(pixels)).mean() < _FILLED:
        return None
    return float(np.median(far))


def _sample(picture: Picture) -> NDArray[np.float32]:
    """Pixels [n, 3] from all over a picture."""
    step = max(1, picture.width // _SAMPLE_SIDE)
    tops = np.unique(np.linspace(0, picture.height - 1, _SAMPLE_SIDE).astype(int))
    rows = [picture.region(slice(top, top + 1), slice(None, None, step)) for top in tops.tolist()]
    return np.concatenate(rows, axis=1)[0]
