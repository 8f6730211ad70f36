"""Refinement to fractions of a pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from defusion.alignment.geometry import Shape, corner_distance, shifted
from defusion.alignment.refinement import refined
from defusion.alignment.representation import Kind, LuminancePyramid

Pixels = NDArray[np.float32]


@pytest.mark.parametrize("kind", ["detail", "edges"])
@pytest.mark.parametrize("pixels", [400, 20000, 50000])
def test_a_shift_is_found_with_any_number_of_pixels(photo: Pixels, kind: Kind, pixels: int) -> None:
    picture = np.ascontiguousarray(photo.mean(2))
    true = shifted(1.3, -0.8)
    frame = cv2.warpPerspective(picture, true, (600, 400), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    frames = LuminancePyramid(picture), LuminancePyramid(np.asarray(frame, np.float32))
    found = refined(*frames, np.eye(3), kind, "translation", (1, 0), pixels)
    assert corner_distance(found, true, Shape(400, 600)) < 0.1


def test_frames_with_little_in_common_are_refined_to_one_place_from_anywhere_near(photo: Pixels) -> None:
    rng = np.random.default_rng(4)
    own = [cv2.GaussianBlur(rng.normal(0, 1, (400, 600)).astype(np.float32), (0, 0), 1.5) for _ in range(2)]
    frames = [LuminancePyramid(np.clip(0.3 + 0.4 * photo.mean(2) + 0.25 * each, 0, 1)) for each in own]
    starts = shifted(0.6, -0.5), shifted(-0.5, 0.4)

    def apart(to_the_end: bool) -> float:
        ends = [refined(*frames, each, "edges", "homography", (0,), to_the_end=to_the_end) for each in starts]
        return corner_distance(*ends, Shape(400, 600))

    assert apart(to_the_end=True) < 0.1 < 0.4 < apart(to_the_end=False)
