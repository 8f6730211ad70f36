from __future__ import annotations

import cv2
import numpy as np
import pytest

from defusion.evaluation.metrics.artefacts import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}
NABF = BY_NAME["nabf"].measure


def test_a_picture_of_edges_that_its_sources_have_makes_up_none(scene):
    left, _, sharp = scene
    assert NABF(sharp, sharp, sharp) == 0
    assert NABF(left, sharp, left) == pytest.approx(0, abs=1e-4)


def test_noise_is_made_up(scene):
    left, right, sharp = scene
    noise = np.random.default_rng(0)
    little, much = (
        np.clip(sharp + noise.integers(-size, size + 1, sharp.shape), 0, 255).astype(np.uint8) for size in (8, 40)
    )
    assert 0 <= NABF(left, right, sharp) < NABF(left, right, little) < NABF(left, right, much) <= 1


def test_the_order_of_the_sources_does_not_matter(scene):
    left, right, _ = scene
    average = cv2.addWeighted(left, 0.5, right, 0.5, 0)
    assert NABF(left, right, average) == pytest.approx(NABF(right, left, average), rel=1e-12)


def test_edges_on_flat_sources_are_all_made_up():
    flat = np.full((32, 32), 90, np.uint8)
    stripes = np.tile(np.array([60, 60, 120, 120], np.uint8), (32, 8))
    assert NABF(flat, flat, flat) == 0
    assert NABF(flat, flat, stripes) > 0.9
