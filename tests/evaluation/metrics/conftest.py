"""Pictures for tests of metrics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="session")
def scene() -> Pictures:
    """Two sources of odd size, each blurred in one half, and the sharp picture."""
    sharp = np.ascontiguousarray(data.camera()[100:281, 150:393])
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2.5)
    left, right = sharp.copy(), sharp.copy()
    left[:, 120:], right[:, :120] = blurred[:, 120:], blurred[:, :120]
    return left, right, sharp
