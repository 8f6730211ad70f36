import math

import cv2
import numpy as np
import pytest
from skimage import data

from defusion.evaluation.metrics import score

RAMP = np.tile(np.arange(0, 60, 3, dtype=np.uint8), (10, 1))
KEPT_BEST = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))


def value(name, a, b, fused):
    return score(a, b, fused, names=[name])[name].value


@pytest.fixture(scope="module")
def scene():
    """Two sources, each blurred in one half, and the sharp picture."""
    sharp = np.ascontiguousarray(data.camera()[100:201, 150:293])
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2.5)
    left, right = sharp.copy(), sharp.copy()
    left[:, 70:], right[:, :70] = blurred[:, 70:], blurred[:, :70]
    return left, right, sharp


def test_a_ramp_by_hand():
    height, width = RAMP.shape
    assert value("sf", RAMP, RAMP, RAMP) == pytest.approx(3 * math.sqrt((width - 1) / width))
    assert value("Tang.SF", RAMP, RAMP, RAMP) == pytest.approx(3)
    assert value("CDDFuse.AG", RAMP, RAMP, RAMP) == pytest.approx(3 / math.sqrt(2))
    scale = height * width / ((height - 1) * (width - 1))
    assert value("ag", RAMP, RAMP, RAMP) == pytest.approx(3 / math.sqrt(2) * scale)
    # Sobel sees eight times the slope, half of it where the border repeats the last column.
    assert value("ei", RAMP, RAMP, RAMP) == pytest.approx(24 * (width - 1) / width)


@pytest.mark.parametrize("name", ["sf", "ag", "ei", "Tang.SF", "CDDFuse.AG"])
def test_a_flat_picture_has_no_gradient(name):
    flat = np.full_like(RAMP, 90)
    assert value(name, flat, flat, flat) == 0


@pytest.mark.parametrize("name", ["sf", "ag", "ei", "qabf", "qg", "Tang.Qabf"])
def test_blur_takes_edges_away(scene, name):
    left, right, sharp = scene
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    assert value(name, left, right, soft) < value(name, left, right, sharp)


@pytest.mark.parametrize("name", ["qabf", "qg", "Tang.Qabf"])
def test_edges_kept_do_not_depend_on_the_order_of_the_sources(scene, name):
    left, right, sharp = scene
    assert value(name, left, right, sharp) == pytest.approx(value(name, right, left, sharp), rel=1e-9)


def test_a_picture_keeps_nearly_all_of_its_own_edges(scene):
    """Where strengths are equal the toolkits put the strength itself in the place of the ratio 1."""
    *_, sharp = scene
    assert KEPT_BEST < value("Tang.Qabf", sharp, sharp, sharp) < 0.9994 * 0.9879
    assert value("qabf", sharp, sharp, sharp) == pytest.approx(0.9994 * 0.9879 / (1 + math.exp(-4.4)), rel=1e-6)


def test_edges_kept_for_a_negative_have_the_right_direction(scene):
    """Directions are of lines, not of arrows: a negative has the same ones."""
    *_, sharp = scene
    inner = np.pad(sharp[1:-1, 1:-1], 1)  # zeros around, so that the border has no edge of its own
    negative = np.where(inner > 0, 255 - inner, 0).astype(np.uint8)
    assert value("Tang.Qabf", sharp, sharp, negative) > 0.5
