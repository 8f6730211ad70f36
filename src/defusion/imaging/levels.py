"""Which values the pictures of a scene use, and which of them are black and white.

Sample types often have more range than their content: cameras write 12 bits into 16, thermal cameras counts or
degrees, and CT adds 32768. Pictures of one kind share their black and white level, and the fused picture has values
of that kind. A picture that uses a narrow range, beside one that does not, is stretched to the full range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture
from defusion.imaging.samples import bands, full_scale
from defusion.imaging.tone import ROUNDING, Levels, is_linear

#: Numbers of bits that cameras write into 16-bit samples.
_BITS = (8, 10, 12, 14)

#: A colour picture with fewer bits reaches at least the first fraction of their range, or stays below the second
#: fraction of the full range. One that does not may just be dark.
_REACHED, _TOO_DARK = 0.9, 1 / 8

#: A range below the first fraction of the full range is narrow. In pictures unlike the others, a range far from 0 is
#: narrow below the second fraction already.
_NARROW, _HALF = 0.25, 0.5

#: Largest fraction of a picture that is 0 because nothing is there: dead pixels, and borders after warping.
_NOTHING = 0.1

#: Percentage of values at either end that may be specks.
_SPECKS = 0.1

#: Number of pixels from which percentiles are computed.
_LOOK_PX = 2**20

#: Number of pixels that are checked for colour at a time. Most colour pictures show some in the first.
_GREY_PX = 2**16

#: Floats may leave [0, 1] by this much if few of them do, as after sharpening.
_OVERSHOOT = 0.5

#: If the values of all pictures together span more than this many times the widest single span, the pictures are of
#: several kinds.
_APART = 2.0

#: Floats beside a picture of whole numbers count as light if none is above this.
_BRIGHTEST_LIGHT = 2.0

#: Largest values of whole numbers that were converted to floats.
_WHOLE_NUMBERS = (255, 65535)

ValueKind: TypeAlias = Literal["range", "bits", "counts", "light", "numbers", "units"]


class Used(NamedTuple):
    """Which values a picture uses."""

    kind: ValueKind
    """range: all values of the sample type. bits: few of its bits. counts: a narrow range far from 0. light: floats
    above white. numbers: whole numbers in floats, from 8 or 16 bits. units: other floats, such as degrees.
    """
    levels: Levels | None
    """Black and white level for this kind; None for the range of the sample type."""
    low: float
    high: float
    """The range of the picture's values, without specks."""
    scale: float
    """The largest value of its sample type."""
    grey: bool
    """Red, green and blue are equal everywhere."""
    clipped: str | None = None
    """Which floats are clipped, if any."""
    linear: bool = False
    """Its profile says that its values are proportional to light."""


class ChosenLevels(NamedTuple):
    """The decision for the pictures of a scene."""

    levels: list[Levels | None]
    """Levels of each picture; None for the range of its sample type."""
    result: Levels | None
    """Levels of the fused picture."""
    kinds: list[ValueKind]
    notes: tuple[str, ...]


def used(picture: Picture) -> Used:
    """Finds which values a picture uses, from a sample first, and from all values if that is not enough.

    8-bit pictures are taken as they are, since they were scaled for viewing.
    """
    dtype, grey = picture.samples.dtype, _is_grey(picture)
    full = float(full_scale(dtype))
    whole_range = Used("range", None, 0, full, full, grey)
    if picture.levels is not None:
        low, high, _ = picture.levels
        return whole_range._replace(levels=picture.levels, low=min(low, high), high=max(low, high))
    if dtype == np.uint8:
        return whole_range
    step = max(1, int(np.sqrt(picture.height * picture.width / _LOOK_PX)))
    sample = picture.counted(slice(None, None, step), slice(None, None, step))
    if not sample.size:
        return whole_range
    low, high = _inside(sample)
    there = sample[sample > 0]
    if grey and 0 < sample.size - there.size <= _NOTHING * sample.size:
        of_there = _inside(there)
        low, high = of_there if _far(*of_there, _NARROW * max(full, of_there[1])) else (low, high)
    narrow = grey and _far(low, high, _HALF * full)
    if dtype == np.uint16 and high > _NARROW * full and not narrow:
        return whole_range
    all_of = _Extremes.of(picture)
    # A few distant values are specks; values near the others belong to the picture.
    inside = sample[(sample >= low - (high - low) / 2) & (sample <= high + (high - low) / 2)]
    found = whole_range._replace(
        low=all_of.least if all_of.least >= low - (high - low) / 2 else float(inside.min()),
        high=all_of.most if all_of.most <= high + (high - low) / 2 else float(inside.max()),
    )
    if dtype == np.uint16:
        if narrow:
            return found._replace(kind="counts", levels=Levels(found.low, found.high))
        bits = next((each for each in _BITS if 0 < all_of.most < 2**each), None)
        if bits is None:
            return whole_range
        return found._replace(kind="bits", high=all_of.most, levels=Levels(0, 2**bits - 1))
    return _of_floats(picture, found, all_of, of_most=high)


def _inside(sample: NDArray[Any]) -> tuple[float, float]:
    """Returns the range of samples, without specks."""
    low, high = np.percentile(sample, [_SPECKS, 100 - _SPECKS])
    return float(low), float(high)


def _far(low: float, high: float, most: float) -> bool:
    """Says whether values lie closer together than to 0, and than a part of the range."""
    return 0 < high - low < min(low, most)


def _of_floats(picture: Picture, found: Used, all_of: _Extremes, of_most: float) -> Used:
    linear = is_linear(picture.icc)
    least, most, outside, whole = all_of
    few = most <= 1 + _OVERSHOOT and least >= -_OVERSHOOT and of_most <= 1 + ROUNDING and not linear
    if few or (least >= -ROUNDING and most <= 1 + ROUNDING):
        clipped = f"{outside} values outside [0, 1] clipped, from {least:g} to {most:g}" if outside else None
        in_range = found._replace(low=max(found.low, 0), high=min(found.high, 1), clipped=clipped)
        if found.grey and not linear and _far(found.low, found.high, _NARROW):
            return in_range._replace(kind="counts", levels=Levels(in_range.low, in_range.high))
        return in_range._replace(kind="bits", levels=Levels(0, most)) if 0 < most < _NARROW else in_range
    if whole and least >= 0 and most > 2:
        scale = next((each for each in _WHOLE_NUMBERS if most <= each), most)
        if found.grey and _far(found.low, found.high, _HALF * scale):
            return found._replace(kind="counts", levels=Levels(found.low, found.high), scale=scale)
        return found._replace(kind="numbers", levels=Levels(0, scale), scale=scale)
    of_light = linear and not (found.grey and found.low > 1)  # else all of it is brighter than white
    if of_light or not (found.grey or picture.icc):
        clipped = f"values below 0, down to {least:g}, taken as black" if least < -ROUNDING else None
        return found._replace(
            kind="light", levels=Levels(0, max(most, 1), 1.0), high=most, clipped=clipped, linear=linear
        )
    return found._replace(kind="units", levels=Levels(found.low, found.high) if found.high > found.low else None)


def choose(names: Sequence[str], pictures: Sequence[Used], alike: Callable[[int], bool]) -> ChosenLevels:
    """Decides which values of the pictures of a scene are black and white.

    Args:
        names: Names of the pictures in notes.
        pictures: Which values they use.
        alike: Says whether a picture's tones rise and fall with those of another, as in exposures.
    """
    told = zip(names, pictures, strict=True)
    notes = tuple(f"{name}: {each.clipped}" for name, each in told if each.clipped)
    kinds: list[ValueKind] = [each.kind for each in pictures]
    common = _common(pictures, alike)
    if common is not None:
        if set(kinds) != {"range"}:
            what = {"light": "are light", "numbers": "are whole numbers"}.get(kinds[0], "use values")
            notes += (
                f"all sources {what} from {common.low:g} to {common.high:g}: so does the result, and nothing is "
                "stretched",
            )
        return ChosenLevels([common] * len(pictures), common, kinds, notes)
    levels = [_own(number, pictures, alike) for number in range(len(pictures))]
    for name, each, own in zip(names, pictures, levels, strict=True):
        if own is not None and each.kind == "light":
            notes += (f"{name}: values up to {own.high:g} taken as light, 1 for white",)
        elif own is not None and each.kind != "range":
            notes += (f"{name}: values from {own.low:g} to {own.high:g} stretched to the whole range",)
    return ChosenLevels(levels, None, kinds, notes)


def beside_numbers(pictures: Sequence[Used]) -> list[Used]:
    """Takes floats above white for numbers on the scale of another picture, if that holds whole numbers.

    A picture that was computed from 8-bit samples, such as a darkened copy, need not be whole numbers any more. A
    profile of light decides otherwise.
    """
    scales = {each.scale for each in pictures if each.kind == "numbers" or (each.kind == "range" and each.scale > 1)}
    if len(scales) != 1:
        return list(pictures)
    (scale,) = scales
    numbers = Levels(0, scale)
    return [
        each._replace(kind="numbers", levels=numbers, scale=scale, clipped=None)
        if each.kind == "light" and not each.linear and _BRIGHTEST_LIGHT < each.high <= scale
        else each
        for each in pictures
    ]


def _own(number: int, pictures: Sequence[Used], alike: Callable[[int], bool]) -> Levels | None:
    """Returns the levels of one picture among pictures of other kinds."""
    of = pictures[number]
    wide = of.high - of.low >= _NARROW * of.scale
    if of.kind == "counts" and alike(number):
        exposed = any(other.grey and other.scale == of.scale for other in pictures if other is not of)
        return None if exposed or wide else of.levels
    if of.kind == "numbers" and of.grey and not wide and not alike(number):
        return Levels(of.low, of.high)
    if of.kind != "bits":
        return of.levels
    if of.grey and not alike(number):
        return Levels(of.low, of.high)
    # Beside a picture that uses more of the same sample type, it is the darker frame of a bracket.
    darker = any(other.scale == of.scale and other.grey == of.grey for other in pictures if other is not of)
    white = of.levels.high if of.levels is not None else of.scale
    reached = of.grey or of.high >= _REACHED * white or white < _TOO_DARK * of.scale
    return None if darker or not reached else of.levels


def _common(pictures: Sequence[Used], alike: Callable[[int], bool]) -> Levels | None:
    """Returns the levels that all pictures share; None if they are of several kinds, or use their full range."""
    kinds, scales = {each.kind for each in pictures}, {each.scale for each in pictures}
    levels = [each.levels for each in pictures if each.levels is not None]
    if len(scales) > 1 or not levels:
        return None
    if kinds <= {"light", "range", "bits"} and "light" in kinds:  # one of them has no light above white
        return Levels(0, max(each.high for each in levels), 1.0)
    if len(levels) < len(pictures):
        return None
    if kinds == {"range"}:
        return levels[0] if len(set(levels)) == 1 else None
    if len(kinds) > 1 and kinds != {"bits", "counts"}:
        return None
    low, high = min(each.low for each in levels), max(each.high for each in levels)
    widest = max(each.high - each.low for each in levels)
    exposed = all(each.grey and alike(number) for number, each in enumerate(pictures))
    if high - low > _APART * widest and not exposed:
        return None
    narrow = [
        number
        for number, each in enumerate(pictures)
        if each.grey and _far(each.low, each.high, _NARROW * (high - low))
    ]
    return None if any(not alike(number) for number in narrow) else Levels(low, high)


class _Extremes(NamedTuple):
    """The extreme values of a picture's samples."""

    least: float
    most: float
    outside: int
    """Number of samples outside [0, 1]."""
    whole: bool
    """All samples are whole numbers."""

    @classmethod
    def of(cls, picture: Picture) -> _Extremes:
        """Looks at all samples, some rows at a time."""
        least, most, outside, whole = np.inf, -np.inf, 0, True
        for rows in bands(picture.height, picture.width):
            part = picture.counted(rows, slice(None))
            if not part.size:
                continue
            of_part, to_part = float(part.min()), float(part.max())
            least, most = min(least, of_part), max(most, to_part)
            if of_part < 0 or to_part > 1:
                outside += int(np.count_nonzero((part < 0) | (part > 1)))
            whole = whole and bool((part == np.rint(part)).all())
        return cls(least, most, outside, whole)


def _is_grey(picture: Picture) -> bool:
    """Says whether red, green and blue are equal everywhere, except for rounding. It stops at the first
    that differs.
    """
    step = 1 if picture.samples.dtype.kind == "u" else 1e-6
    high = max(1, _GREY_PX // picture.width)
    for top in range(0, 0 if picture.grey else picture.height, high):
        red, green, blue = picture.counted(slice(top, top + high), slice(None)).T
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        if spread.size and spread.max() > step:
            return False
    return True
