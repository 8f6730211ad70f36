from __future__ import annotations

import cv2
import numpy as np
import pytest

from defusion.evaluation.metrics.metric import UndefinedError
from defusion.evaluation.metrics.wavelet import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}
QM = BY_NAME["qm"].measure


def test_the_source_itself_counts_three(scene):
    *_, sharp = scene
    assert QM(sharp, sharp, sharp) == pytest.approx(3, rel=1e-12)


def test_the_order_of_the_sources_does_not_matter(scene):
    left, right, sharp = scene
    assert QM(left, right, sharp) == pytest.approx(QM(right, left, sharp), rel=1e-12)


def test_the_sharp_picture_is_better_than_the_average(scene):
    left, right, sharp = scene
    assert QM(left, right, sharp) > QM(left, right, cv2.addWeighted(left, 0.5, right, 0.5, 0))


def test_brightness_does_not_matter(scene):
    left, right, sharp = scene
    darker = (sharp // 2).astype(np.uint8)
    assert QM(left, right, darker) == pytest.approx(QM(left, right, darker + np.uint8(40)), rel=1e-12)


def test_a_last_odd_row_and_column_are_left_out(scene):
    even = [picture[:60, :80] for picture in scene]
    odd = [np.pad(picture, ((0, 1), (0, 1)), constant_values=255) for picture in even]
    assert QM(*odd) == QM(*even)


def test_flat_sources_have_no_value(scene):
    *_, sharp = scene
    with pytest.raises(UndefinedError, match="flat"):
        QM(np.zeros_like(sharp), np.full_like(sharp, 90), sharp)
