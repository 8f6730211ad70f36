from __future__ import annotations

import cv2
import numpy as np
import pytest

from defusion.evaluation.metrics.features import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}
KINDS = ["fmi", "Tang.FMI_gradient", "Tang.FMI_dct"]


@pytest.mark.parametrize("name", KINDS)
def test_the_source_itself_is_perfect(scene, name):
    *_, sharp = scene
    assert BY_NAME[name].measure(sharp, sharp, sharp) == 1


@pytest.mark.parametrize("name", KINDS)
def test_the_order_of_the_sources_does_not_matter(scene, name):
    left, right, sharp = scene
    measure = BY_NAME[name].measure
    assert measure(left, right, sharp) == pytest.approx(measure(right, left, sharp), rel=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_noise_tells_less_of_the_sources(scene, name):
    left, right, sharp = scene
    noise = np.random.default_rng(0).integers(-40, 41, sharp.shape)
    noisy = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    measure = BY_NAME[name].measure
    assert 0 < measure(left, right, noisy) < measure(left, right, sharp) < 1


def test_contrast_and_brightness_of_the_whole_hardly_matter(scene):
    """The trap: a window with one lone feature counts nothing unless it is just as strong."""
    *_, sharp = scene
    paler = (sharp // 4).astype(np.uint8)
    measure = BY_NAME["Tang.FMI_gradient"].measure
    assert 0.95 < measure(paler, paler, paler * np.uint8(3) + np.uint8(20)) < 1


def test_pictures_without_edges_agree():
    flat = np.full((20, 30), 90, np.uint8)
    for name in KINDS[:2]:
        assert BY_NAME[name].measure(flat, flat, flat + np.uint8(9)) == 1


def test_edges_of_a_step_are_found_where_it_is():
    """Two steps at one place tell all of each other, at different places next to nothing."""
    early, late = (
        cv2.GaussianBlur(np.where(np.arange(40) < x, 40, 200).astype(np.uint8), (3, 1), 0) for x in (12, 24)
    )
    early, late = (np.tile(step.reshape(1, -1), (20, 1)) for step in (early, late))
    measure = BY_NAME["fmi"].measure
    assert measure(early, early, early) == 1
    # Windows without edges on either side count 1.
    assert measure(early, early, late) < 0.9
