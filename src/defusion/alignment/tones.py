"""Brings exposures of one scene to the same tones."""

from __future__ import annotations

import numpy as np

from defusion.alignment.representation import LuminancePyramid

#: Frames of which one is so many times as bright as the other are exposures.
_BRIGHTER = 1.5

#: Number of ranks of brightness at which tones are compared.
_RANKS = 257


def in_one_tone(a: LuminancePyramid, b: LuminancePyramid) -> tuple[LuminancePyramid, LuminancePyramid] | None:
    """Returns two exposures in the tones of the brighter one. What is white there becomes white in both, so that its
    outline can be compared. Tones are found by their ranks, which are the same wherever the frames lie.

    Returns:
        None if the frames differ in size, or hardly in brightness.
    """
    dark, bright = sorted((a, b), key=lambda each: each.brightness)
    if a.shape != b.shape or bright.brightness < _BRIGHTER * dark.brightness:
        return None
    both = a.shown & b.shown
    if not both.any():
        return None
    here, there = (np.quantile(each.planes[0][both], np.linspace(0, 1, _RANKS)) for each in (dark, bright))
    levels, first, count = np.unique(here, return_index=True, return_counts=True)
    tones = np.interp(first + (count - 1) / 2, np.arange(_RANKS), there)
    toned = np.interp(dark.planes[0], levels, tones).astype(np.float32)
    darker, brighter = LuminancePyramid(toned, dark.shown), LuminancePyramid(bright.planes[0], bright.shown)
    return (darker, brighter) if dark is a else (brighter, darker)
