"""Stacks: chained, bundled to the middle, so that what each frame is off does not add up."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Shape, corner_distance, enlarged, shifted
from defusion.alignment.representation import LuminancePyramid
from defusion.alignment.stack import chained

Pixels = NDArray[np.float32]


def test_a_focus_stack_that_breathes_and_drifts_is_lined_up_to_the_middle(
    photo: Pixels, moved: Callable[..., Pixels]
) -> None:
    count, grey = 11, np.ascontiguousarray(photo.mean(2))
    height, width = grey.shape
    centre = shifted((width - 1) / 2, (height - 1) / 2)
    truth = []
    for number in range(count):
        breathing = centre @ enlarged(1 + 0.004 * (number - 5), 1 + 0.004 * (number - 5)) @ np.linalg.inv(centre)
        truth.append(breathing @ shifted(0.7 * (number - 5), -0.4 * (number - 5)))
    levels = []
    for number, matrix in enumerate(truth):
        away = np.abs(np.arange(width)[None] * count / width - number - 0.5)
        frame = np.where(
            away < 2, grey, np.where(away < 5, cv2.GaussianBlur(grey, (0, 0), 1.5), cv2.GaussianBlur(grey, (0, 0), 3))
        )
        levels.append(LuminancePyramid(moved(frame.astype(np.float32), matrix)))
    found = chained(levels, 5, sensors="one", freest="homography")
    off = [
        corner_distance(each.matrix, matrix, Shape(height, width)) for each, matrix in zip(found, truth, strict=True)
    ]
    assert np.array_equal(found[5].matrix, np.eye(3))
    assert max(off) < 1.2 and np.median(off) < 0.5
    assert all(each.verdict.good for each in found)
