"""Recognises the kind of scene that sources show.

The network does not need it. The kind decides how moving things are found before fusing and whether the brightness of
frames is equalised, and it is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.imaging import Picture, luminance
from defusion.imaging.samples import bands
from defusion.model.config import TaskName
from defusion.tiles.grid import Size
from defusion.tiles.sample import sample

#: Side, in pixels, of the places whose mean tones are compared.
PLACE_PX = 8

#: Sources were exposed differently if their luminance differs by more than this factor at half of all places, and if
#: the brighter one is brighter at the given fraction of all places: for sources of one sensor, in which something may
#: have moved, and for grey ones that may be of two. Brackets were seen at 1.6 to 24, pairs of different sensors at up
#: to .97 of all places.
SAME_EXPOSURE_RATIO = 1.4
BRIGHTER_PART = 0.9
GREY_BRIGHTER_PART = 0.98

#: Grey sources of which one is brighter everywhere are still from different sensors if their tones correlate less
#: than this. Brackets were seen from .42 on, parts of infrared and visible pairs up to .25.
BRACKET_CORRELATION = 0.3

#: Grey pictures whose tones correlate less than this are from different sensors. Focus pairs were seen from .81 on,
#: and at .66 with defocused lights on black; infrared and visible pairs up to .35, medical pairs at .43 to .60.
SAME_SENSOR_CORRELATION = 0.63

#: Other sources that correlate better than this differ in focus. Half of all focus pairs are above .99; sources that
#: lack places reach .87, with few exceptions.
FOCUS_CORRELATION = 0.9

#: Sources that correlate less also differ in focus, if one of them is noise or black at no more than this fraction of
#: all places. Six focus pairs were seen up to .017, sources with noise in places from .037 on, with black from .007
#: on.
MISSING_PART = 0.025

#: Pictures with colour whose tones correlate less than this are from different sensors. Two focus pairs that do not
#: line up were seen at .65 and .68.
COLOURED_SENSORS_CORRELATION = 0.4

#: A place is noise if its pixels vary by more than the first, and neighbours differ by nearly as much as any two
#: pixels of it. In real scenes neighbours are alike.
LEAST_NOISE = 0.04
UNLIKE_NEIGHBOURS = 0.8

#: Two sources show one kind of light if the rank correlation of their tones is above this.
SAME_LIGHT_CORRELATION = 0.8

#: A picture has no colour if red, green and blue differ by more than the first at no more than this fraction of all
#: pixels. Such differences come from rounding in a change of profile, or from a mark or two.
COLOURLESS = 1.5 / 255
COLOURED_PART = 0.001

#: Number of pixels that are checked for colour at a time. Most colour pictures show enough in the first.
_LOOK_PX = 2**16

#: A place is missing if it is black in one source and brighter than this in another; or if it is noise, and its mean
#: differs by this much from the other sources: texture has the same mean in and out of focus.
NOT_BLACK = 0.1
OTHER_TONE = 0.05


#: Skewness of a thermal picture's tones. Below it, few places are much darker than the rest, so warm things may be
#: shown dark. Of 21 scenes with warm things bright, none was below -1.2.
FEW_DARK = -1.5


class SourceStatistics(NamedTuple):
    """Measurements of a source that tell the kind of scene."""

    colourless: bool
    """Red, green and blue are equal everywhere, except for rounding."""
    tones: NDArray[np.float32]
    """Mean luminance at places all over the picture, the same places in each source of a scene; NaN where there is
    none.
    """
    noise: NDArray[np.bool_]
    """Which of these places are noise."""
    blank: str | None
    """For a source that shows nothing: "black all over" or "white all over"."""

    @property
    def brightness(self) -> float:
        """Mean of the tones, over the places that have one."""
        has = self.tones[~np.isnan(self.tones)]
        return float(has.mean()) if has.size else 0.0

    @property
    def few_dark(self) -> bool:
        """Whether few places are much darker than the rest."""
        tones = self.tones[~np.isnan(self.tones)].astype(np.float64)
        spread = tones.std() if tones.size else 0.0
        return bool(spread) and bool(((tones - tones.mean()) ** 3).mean() / spread**3 <= FEW_DARK)


class SceneKind(NamedTuple):
    """A kind of scene, and the reason for it."""

    task: TaskName
    why: str


def measure(picture: Picture) -> SourceStatistics:
    """Measures a source."""
    (pixels,) = sample(partial(_with_gaps, picture), Size(picture.height, picture.width))
    tones = pixels[0] if len(pixels) == 1 else luminance(pixels.transpose(1, 2, 0))[..., 0]
    side = min(PLACE_PX, *tones.shape)
    rows, columns = (length // side for length in tones.shape)
    places = tones[: rows * side, : columns * side].reshape(rows, side, columns, side)
    variance = places.var((1, 3))
    colourless, blank = _is_colourless(picture), _blank(picture, tones)
    if side == 1:  # no pixel has a neighbour
        return SourceStatistics(colourless, places.ravel(), np.zeros(places.size, np.bool_), blank)
    # both directions, since print is smooth along its strokes
    changes = [(np.diff(places, axis=axis) ** 2).mean((1, 3)) for axis in (1, 3)]
    noise = (np.minimum(*changes) > UNLIKE_NEIGHBOURS * 2 * variance) & (variance > LEAST_NOISE**2)
    return SourceStatistics(colourless, places.mean((1, 3)).ravel(), noise.ravel(), blank)


def _with_gaps(picture: Picture, rows: slice, columns: slice) -> NDArray[np.float32]:
    """Returns a region of a picture as planes, NaN where it has nothing."""
    planes = picture.region(rows, columns).transpose(2, 0, 1)[None]
    confidence = picture.confidence(rows, columns)
    return planes if confidence is None else np.where(confidence > 0, planes, np.float32(np.nan))


def recognise(sources: Sequence[SourceStatistics]) -> SceneKind:
    """Says what kind of scene some sources show."""
    colourless = sum(source.colourless for source in sources)
    seen = ~np.any([np.isnan(source.tones) for source in sources], axis=0)
    if seen.any() and not seen.all():  # places that a source does not have say nothing
        sources = [each._replace(tones=each.tones[seen], noise=each.noise[seen]) for each in sources]
    alike = _correlation(sources)
    # In a stack, one frame may have lost its colour and still show the same things as the others.
    if 0 < colourless < len(sources) and (len(sources) == 2 or alike <= FOCUS_CORRELATION):
        return SceneKind("infrared", f"{colourless} of {len(sources)} sources have no colour")
    darkest, *_, brightest = sorted((source.tones for source in sources), key=np.mean)
    # The median ignores lamps and clipped places.
    ratio = float(np.median(np.maximum(brightest, 1 / 255) / np.maximum(darkest, 1 / 255)))
    brighter = float((brightest > darkest - 0.02).mean())
    least_brighter = GREY_BRIGHTER_PART if colourless and alike < SAME_SENSOR_CORRELATION else BRIGHTER_PART
    one_sensor = colourless < len(sources) or alike > BRACKET_CORRELATION
    if ratio > SAME_EXPOSURE_RATIO and brighter > least_brighter and one_sensor:
        return SceneKind("exposure", f"the brightest source is {ratio:.1f} times as bright as the darkest, all over")
    if colourless and alike < SAME_SENSOR_CORRELATION:
        return SceneKind("infrared", f"the tones of colourless sources correlate {alike:.2f}")
    if alike > FOCUS_CORRELATION:
        return SceneKind("focus", f"the tones of the sources correlate {alike:.2f}")
    missing = _missing(sources)
    if missing <= MISSING_PART and alike < COLOURED_SENSORS_CORRELATION:
        return SceneKind("infrared", f"the tones of the sources correlate {alike:.2f}, and neither lacks places")
    if missing <= MISSING_PART:
        return SceneKind("focus", f"the tones of the sources correlate only {alike:.2f}, but neither lacks places")
    return SceneKind("generic", f"a source is noise or black at {missing:.0%} of all places")


def _correlation(sources: Sequence[SourceStatistics]) -> float:
    """Returns the smallest correlation of a source's tones with those of the source most like it; 1 if a source has
    one tone.
    """
    if len(sources[0].tones) == 1:
        return 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.nan_to_num(np.corrcoef([source.tones for source in sources]), nan=1.0)
    np.fill_diagonal(matrix, -1)
    return float(matrix.max(1).min())


def _missing(sources: Sequence[SourceStatistics]) -> float:
    """Returns the fraction of all places where a source is noise, or black while another is not."""
    tones = np.stack([source.tones for source in sources])
    black = (tones == 0) & (tones.max(0) > NOT_BLACK)
    others = (tones.sum(0) - tones) / (len(tones) - 1)
    noise = np.stack([source.noise for source in sources]) & (np.abs(tones - others) > OTHER_TONE)
    return float((black | noise).any(0).mean())


def _blank(picture: Picture, tones: NDArray[np.float32]) -> str | None:
    """Looks at all pixels if a sample of them is black or white, since details may lie between the samples."""
    for level, name in ((0, "black all over"), (1, "white all over")):
        if abs(tones - level).max() < 1e-5 and all(
            (picture.region(rows, slice(None)) == level).all() for rows in bands(picture.height, picture.width)
        ):
            return name
    return None


def _is_colourless(picture: Picture) -> bool:
    """Says whether a picture has no colour. It stops as soon as there is enough colour."""
    if picture.grey:
        return True
    most = COLOURED_PART * picture.height * picture.width
    (low, high, _), linear = picture.tone
    least = COLOURLESS if linear else COLOURLESS * abs(high - low)
    coloured = 0
    step = max(1, _LOOK_PX // picture.width)
    for top in range(0, picture.height, step):
        rows = slice(top, top + step)
        colours = picture.counted(rows, slice(None))
        red, green, blue = (picture.tone.pixels(colours) if linear else colours).T
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        coloured += int((spread > least).sum())
        if coloured > most:
            return False
    return True


def same_light_as_another(statistics: Sequence[SourceStatistics], number: int) -> bool:
    """Returns whether a frame shows the same kind of light as another one: their tones rise and fall together."""
    return any(
        _rank_correlation(statistics[number].tones, other.tones) > SAME_LIGHT_CORRELATION
        for index, other in enumerate(statistics)
        if index != number and other.tones.shape == statistics[number].tones.shape
    )


def _rank_correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Returns the rank correlation of places that neither source clips; 1 if there are hardly any."""
    inside = (np.minimum(a, b) > 0) & (np.maximum(a, b) < 0.98)
    if inside.sum() < 16:
        return 1.0
    ranks = np.stack([np.argsort(np.argsort(each[inside])) for each in (a, b)])
    matrix: NDArray[np.float64] = np.atleast_2d(np.corrcoef(ranks))
    return float(matrix[0, 1])
