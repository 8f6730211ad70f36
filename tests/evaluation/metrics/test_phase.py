from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from defusion.evaluation.metrics.metric import UndefinedError
from defusion.evaluation.metrics.phase import METRICS, congruency

BY_NAME = {metric.name: metric for metric in METRICS}
QP = BY_NAME["qp"].measure


def test_the_source_itself_is_perfect(scene):
    *_, sharp = scene
    assert QP(sharp, sharp, sharp) > 0.9


def test_the_order_of_the_sources_does_not_matter(scene):
    left, right, sharp = scene
    assert QP(left, right, sharp) == pytest.approx(QP(right, left, sharp), rel=1e-6)


def test_noise_and_blur_lose_features(scene):
    left, right, sharp = scene
    noise = np.random.default_rng(0).integers(-40, 41, sharp.shape)
    noisy = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    assert QP(left, right, noisy) < 0.8 * QP(left, right, sharp)
    assert QP(left, right, cv2.GaussianBlur(sharp, (0, 0), 3)) < 0.8 * QP(left, right, sharp)


def test_contrast_does_not_matter_much(scene):
    left, right, sharp = scene
    pale = (sharp // 2 + 60).astype(np.uint8)
    assert QP(left, right, pale) == pytest.approx(QP(left, right, sharp), rel=0.1)


@pytest.mark.parametrize("shape", [(64, 80), (65, 81)])
def test_an_edge_is_congruent_and_the_plain_is_not(shape):
    plane = np.full(shape, 60, np.uint8)
    plane[:, 40:] = 180
    total = congruency(plane).total
    assert total[30, 39:41].min() > 0.5
    assert total[30, 20] < 0.2


def test_turning_the_picture_over_turns_its_congruency():
    plane = data.camera()[:128, :160]
    turned = congruency(np.ascontiguousarray(plane[::-1, ::-1])).edges[::-1, ::-1]
    np.testing.assert_allclose(congruency(plane).edges, turned, atol=1e-4)


def test_a_flat_picture_has_no_phase(scene):
    left, right, sharp = scene
    with pytest.raises(UndefinedError, match="phase"):
        QP(left, right, np.full_like(sharp, 90))
