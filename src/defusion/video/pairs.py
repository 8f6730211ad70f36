"""Pairs of frames for calibrating a rig: pictures in turn, or moments of two clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

from defusion.errors import ImageError
from defusion.imaging import Picture, read
from defusion.scene.frame import Frame
from defusion.video.pair import grey_of, meaning_of
from defusion.video.run import looked, opened_clips
from defusion.video.sequence import is_sequence

#: Suffixes of files that are clips, not pictures.
_FILMS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".nut", ".seq"}

#: Number of moments that are taken from clips.
_MOMENTS = 24


def pairs_of(sources: Sequence[str], rates: tuple[Fraction, Fraction]) -> list[tuple[Frame, Frame]]:
    """Returns pairs of thermal and visible frames, each pair taken at the same moment. Thermal frames are grey with
    hot things bright.

    Args:
        sources: Thermal and visible pictures in turn; or two clips.
        rates: Frames per second of clips that are numbered images.

    Raises:
        ImageError: A source is missing, or cannot be read.
    """
    if len(sources) == 2 and any(is_sequence(each) or Path(each).suffix.lower() in _FILMS for each in sources):
        looks = looked(opened_clips(sources[0], sources[1], rates), Fraction(0), _MOMENTS)
        meant = meaning_of([hot for hot, _ in looks], "auto")
        return [(Frame.of(sources[0], grey_of(hot, meant)), Frame.of(sources[1], seen)) for hot, seen in looks]
    if len(sources) % 2 or not sources:
        raise ImageError(f"{len(sources)} pictures came; expected an even number, thermal and visible in turn.")
    return [
        (Frame(sources[index], partial(_thermal, sources[index])), Frame(other, partial(read, other)))
        for index, other in ((index, sources[index + 1]) for index in range(0, len(sources), 2))
    ]


def parallax_of(width: int, hfov_degrees: float, right_m: float, down_m: float) -> tuple[float, float]:
    """Returns the shift in visible pixels of a thing one metre away, against things far away.

    Args:
        width: Width of the visible pictures.
        hfov_degrees: Their horizontal field of view.
        right_m: How far the thermal camera is to the right of the visible one, in metres.
        down_m: How far it is below, in metres.

    Raises:
        ImageError: The field of view is impossible.
    """
    if not 0 < hfov_degrees < 180:
        raise ImageError(f"a field of view of {hfov_degrees:g} degrees came; expected more than 0 and less than 180.")
    focal_px = width / 2 / math.tan(math.radians(hfov_degrees / 2))
    return focal_px * right_m, focal_px * down_m


def _thermal(path: str) -> Picture:
    picture = read(path)
    return grey_of(picture, meaning_of([picture], "auto"))
