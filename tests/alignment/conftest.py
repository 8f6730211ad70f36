"""A scene, and frames of it that were moved by matrices that are known."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

Pixels = NDArray[np.float32]


@pytest.fixture(scope="session")
def photo() -> Pixels:
    """A photograph, [400, 600, 3] in [0, 1]."""
    return np.ascontiguousarray(data.coffee()[:400, :600] / np.float32(255))


@pytest.fixture(scope="session")
def handheld() -> NDArray[np.float64]:
    """Pixels of a reference to those of a frame that was turned, tilted and moved."""
    turn = np.deg2rad(1.2)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 9.3], [np.sin(turn), np.cos(turn), -6.2], [1e-5, -8e-6, 1]])
    return matrix


@pytest.fixture(scope="session")
def moved() -> Callable[..., Pixels]:
    """Makes a frame [H, W, ...] such that a matrix maps pixels of a picture to those of the frame."""

    def make(picture: Pixels, matrix: NDArray[np.float64], size: tuple[int, int] | None = None) -> Pixels:
        height, width = size or picture.shape[:2]
        made = cv2.warpPerspective(
            picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        return np.clip(np.asarray(made, np.float32), 0, 1)

    return make
