from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from defusion.evaluation.metrics.metric import UndefinedError
from defusion.evaluation.metrics.similarity import METRICS

BY_NAME = {metric.name: metric for metric in METRICS}
TOOLKIT = [name for name in BY_NAME if "." in name]
SIMILARITIES = [name for name in TOOLKIT if name != "ZL.metricZheng_QSF"]


def test_short_names_stand_for_toolkit_variants(scene):
    for metric in METRICS:
        if metric.same_as is not None:
            assert metric.measure is BY_NAME[metric.same_as].measure


@pytest.mark.parametrize("name", SIMILARITIES)
def test_the_source_itself_is_perfect(scene, name):
    *_, sharp = scene
    assert BY_NAME[name].measure(sharp, sharp, sharp) == pytest.approx(1, abs=1e-6)


# Q_C is left out: a window where the fused picture varies against one source counts 0 or 1 by which source that is.
@pytest.mark.parametrize("name", ["qs", "qw", "MEFB.Qw", "qy", "qsf"])
def test_the_order_of_the_sources_does_not_matter(scene, name):
    left, right, sharp = scene
    measure = BY_NAME[name].measure
    assert measure(left, right, sharp) == pytest.approx(measure(right, left, sharp), rel=1e-9)


@pytest.mark.parametrize("name", ["qs", "qw", "MEFB.Qw", "qc", "qy"])
def test_the_sharp_picture_is_better_than_the_average(scene, name):
    left, right, sharp = scene
    average = cv2.addWeighted(left, 0.5, right, 0.5, 0)
    assert BY_NAME[name].measure(left, right, sharp) > BY_NAME[name].measure(left, right, average)


def test_qs_of_one_source_twice_is_ssim(scene):
    left, _, sharp = scene
    _, ssim = structural_similarity(
        left, sharp, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    assert BY_NAME["qs"].measure(left, left, sharp) == pytest.approx(ssim[5:-5, 5:-5].mean(), rel=1e-12)


def test_qsf_tells_blur_from_noise(scene):
    *_, sharp = scene
    noise = np.random.default_rng(0).integers(-20, 21, sharp.shape)
    noisy = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    measure = BY_NAME["qsf"].measure
    assert measure(sharp, sharp, sharp) == 0
    assert measure(sharp, sharp, cv2.GaussianBlur(sharp, (0, 0), 2)) < -0.3
    assert measure(sharp, sharp, noisy) > 0.3


@pytest.mark.parametrize(("strict", "lenient"), [("ZL.metricCvejic2_QC", "qc"), ("ZL.metricYang_QY", "qy")])
def test_black_windows_are_left_out_or_leave_nothing(scene, strict, lenient):
    pictures = [picture.copy() for picture in scene]
    for picture in pictures:
        picture[:20, :20] = 0
    assert 0.5 < BY_NAME[lenient].measure(*pictures) <= 1
    with pytest.raises(UndefinedError, match="flat"):
        BY_NAME[strict].measure(*pictures)


@pytest.mark.parametrize("name", ["qs", "qw", "MEFB.Qw"])
def test_black_windows_count_as_alike(scene, name):
    pictures = [picture.copy() for picture in scene]
    for picture in pictures:
        picture[:20, :20] = 0
    assert 0.5 < BY_NAME[name].measure(*pictures) <= 1


@pytest.mark.parametrize("name", SIMILARITIES)
def test_pictures_smaller_than_eleven_pixels_are_refused(name):
    small = np.random.default_rng(0).integers(0, 256, (10, 40), dtype=np.uint8)
    with pytest.raises(UndefinedError, match="11x11"):
        BY_NAME[name].measure(small, small, small)


@pytest.mark.parametrize("name", ["qc", "qy", "qsf"])
def test_black_pictures_have_no_value(name):
    black = np.zeros((20, 20), np.uint8)
    with pytest.raises(UndefinedError, match="flat"):
        BY_NAME[name].measure(black, black, black)
