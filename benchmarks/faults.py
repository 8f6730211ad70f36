"""Measures two faults that people see at once and common metrics hardly show: swapped tones and lost warm things.

Of grey pictures [H, W] with levels from 0 to 255. No paper has these; they are for comparing weights and settings.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

#: Tones are means over squares of this side, in pixels; squares at this distance, in squares, are compared.
SQUARE_PX = 8
APART = (2, 4, 8)

#: Least difference of two squares in the sources, and least opposite difference in the picture, in levels.
TOLD = 8.0
SWAPPED = 4.0

#: What counts as a warm thing: least difference from the median of its thermal picture, in robust deviations and in
#: levels; least number of pixels; least height over width; and least contrast to its surroundings, in levels. It is
#: lost if its contrast in the fused picture is below `LOST`, brighter or darker.
WARM_DEVIATIONS = 3.0
WARM = 40.0
WARM_AREA_PX = (30, 4000)
UPRIGHT = 1.2
WARM_CONTRAST = 60.0
LOST = 15.0


def swapped_tones(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    """Returns the share of pairs of places whose order of brightness is opposite to that in both sources, in [0, 1].
    Halos and pale skies are such faults.

    Counted are pairs that one source tells apart and the other does not contradict.
    """
    agreed = swapped = 0
    squares = [_squares(each) for each in (a, b, fused)]
    for apart in APART:
        for turned in (False, True):
            of_a, of_b, of_fused = (_differences(each.T if turned else each, apart) for each in squares)
            told = (of_a * of_b >= 0) & (np.maximum(np.abs(of_a), np.abs(of_b)) > TOLD)
            agreed += int(told.sum())
            swapped += int((told & ((of_a + of_b) * of_fused < 0) & (np.abs(of_fused) > SWAPPED)).sum())
    return swapped / agreed if agreed else 0.0


def warm_contrasts(thermal: np.ndarray, fused: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yields the contrast of each warm thing, such as a person, in the thermal picture and in the fused one."""
    median = np.median(thermal)
    deviation = 1.48 * np.median(np.abs(thermal - median))
    warm = (thermal > median + max(WARM_DEVIATIONS * deviation, WARM)).astype(np.uint8)
    warm = cv2.morphologyEx(warm, cv2.MORPH_OPEN, _disk(1))
    count, labels, facts, _ = cv2.connectedComponentsWithStats(warm)
    for number in range(1, count):
        _, _, wide, high, area = facts[number]
        if not WARM_AREA_PX[0] <= area <= WARM_AREA_PX[1] or high < UPRIGHT * wide:
            continue
        thing = (labels == number).astype(np.uint8)
        around = (cv2.dilate(thing, _disk(9)) > cv2.dilate(thing, _disk(3))) & (warm == 0)
        if around.sum() < area // 4:
            continue
        of_thermal, of_fused = (float(each[thing > 0].mean() - each[around].mean()) for each in (thermal, fused))
        if of_thermal >= WARM_CONTRAST:
            yield of_thermal, of_fused


def _squares(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape
    size = (max(1, width // SQUARE_PX), max(1, height // SQUARE_PX))
    return cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _differences(squares: np.ndarray, apart: int) -> np.ndarray:
    return squares[apart:] - squares[:-apart]


def _disk(radius_px: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
