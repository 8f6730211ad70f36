from __future__ import annotations

import cv2
import numpy as np
import pytest

from defusion.evaluation.metrics.metric import UndefinedError
from defusion.evaluation.metrics.visual import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}
TOOLKIT = [name for name in BY_NAME if "." in name]


@pytest.mark.parametrize("name", TOOLKIT)
def test_the_source_itself_is_perfect(scene, name):
    *_, sharp = scene
    assert BY_NAME[name].measure(sharp, sharp, sharp) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("name", TOOLKIT)
def test_the_order_of_the_sources_does_not_matter(scene, name):
    left, right, sharp = scene
    measure = BY_NAME[name].measure
    assert measure(left, right, sharp) == pytest.approx(measure(right, left, sharp), rel=1e-9)


def test_the_sharp_picture_is_better_than_the_average(scene):
    left, right, sharp = scene
    average = cv2.addWeighted(left, 0.5, right, 0.5, 0)
    assert BY_NAME["qcb"].measure(left, right, sharp) > BY_NAME["qcb"].measure(left, right, average)


def test_less_contrast_all_over_is_hardly_seen(scene):
    """The trap of the metric: pictures are stretched to the full range before they are compared."""
    left, right, sharp = scene
    pale = (sharp.astype(float) / 255 * 120 + 80).astype(np.uint8)
    assert BY_NAME["qcb"].measure(left, right, pale) > 0.9 * BY_NAME["qcb"].measure(left, right, sharp)


@pytest.mark.parametrize("name", TOOLKIT)
@pytest.mark.parametrize("level", [0, 90])
def test_a_picture_of_one_value_has_no_value(scene, name, level):
    left, right, sharp = scene
    with pytest.raises(UndefinedError):
        BY_NAME[name].measure(left, right, np.full_like(sharp, level))
