"""The scores of a scene: which pictures a metric sees, and what stands where it has no value."""

import numpy as np
import pytest
from skimage import data

from defusion.errors import EvaluationError, ImageError
from defusion.evaluation.metrics import DEFAULT_METRICS, METRICS, score
from defusion.evaluation.metrics.planes import grey
from defusion.evaluation.metrics.sharing import shared, sharing

TRUTH = ("psnr_truth", "ssim_truth")


@pytest.fixture(scope="module")
def colour():
    photo = np.ascontiguousarray(data.astronaut()[100:161, 180:240])
    return photo // 2, 255 - (255 - photo) // 2, photo


@pytest.fixture(scope="module")
def greys(colour):
    return tuple(grey(picture) for picture in colour)


def test_scores_come_in_the_order_asked(greys):
    assert list(score(*greys, names=["sf", "ce", "en"])) == ["sf", "ce", "en"]


def test_the_defaults_without_truth_lack_what_needs_it(greys):
    assert list(score(*greys)) == [name for name in DEFAULT_METRICS if name not in TRUTH]
    assert list(score(*greys, greys[2])) == list(DEFAULT_METRICS)


def test_an_unknown_metric_is_refused_with_names_like_it(greys):
    with pytest.raises(EvaluationError, match=r"no metric `qafb`; there are .*qabf"):
        score(*greys, names=["qafb"])


def test_sizes_that_differ_are_refused(greys):
    a, b, fused = greys
    with pytest.raises(ImageError, match="source b is 59x61, source a is 60x61"):
        score(a, b[:, 1:], fused)
    with pytest.raises(ImageError, match="the truth is 60x60"):
        score(a, b, fused, fused[1:])


@pytest.mark.parametrize("wrong", [np.zeros((61, 60)), np.zeros((61, 60, 4), np.uint8), np.zeros(61, np.uint8)])
def test_other_samples_than_8_bit_grey_or_rgb_are_refused(greys, wrong):
    with pytest.raises(ImageError, match="expected 8-bit grey"):
        score(wrong, *greys[1:])


def test_each_channel_is_measured_and_the_mean_taken(colour):
    channels = [score(*(picture[..., k] for picture in colour), names=["ce", "cc", "qabf"]) for k in range(3)]
    for name, found in score(*colour, names=["ce", "cc", "qabf"]).items():
        assert found.value == pytest.approx(np.mean([channel[name].value for channel in channels]), rel=1e-12)


def test_metrics_of_grey_pictures_see_colour_as_grey(colour, greys):
    assert score(*colour, names=["mef_ssim", "Tang.CC"]) == score(*greys, names=["mef_ssim", "Tang.CC"])


def test_the_wide_plane_counts_the_seams_between_channels(colour):
    fused = colour[2]
    wide = score(*(np.hstack(list(np.moveaxis(picture, 2, 0))) for picture in colour), names=["sf"])["sf"]
    assert score(*colour, names=["VIFB.Spatial_frequency"])["VIFB.Spatial_frequency"] == wide
    assert wide.value > score(fused, fused, fused, names=["sf"])["sf"].value


def test_a_grey_source_stands_beside_each_channel(colour, greys):
    a, b, fused = colour[0], greys[1], colour[2]
    spread = score(a, np.dstack([b] * 3), fused, names=["ce", "ssim", "mef_ssim"])
    assert score(a, b, fused, names=["ce", "ssim", "mef_ssim"]) == spread


def test_grey_in_three_channels_is_grey(greys):
    names = [name for name, metric in METRICS.items() if metric.colour == "each channel" and "Q" not in name]
    spread = score(*(np.dstack([picture] * 3) for picture in greys), names=names)
    for name, found in score(*greys, names=names).items():
        near = 1e-7 if name == "qp" else 1e-12  # float32; last bits depend on where the planes lie in memory
        assert spread[name].value == pytest.approx(found.value, rel=near), name


def test_grey_is_rounded_as_matlab_rounds_it():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [7, 7, 7]]], np.uint8)
    assert grey(picture).tolist() == [[76, 150, 29, 255, 7]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 3), (12, 12), (50, 45), (45, 50, 3)])
@pytest.mark.parametrize("kind", ["black", "one value", "one value each", "flat result", "flat source", "noise"])
def test_no_picture_makes_a_metric_fail_or_warn(shape, kind):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]
    flat = {level: np.full(shape, level, np.uint8) for level in (0, 7, 128, 255)}
    pictures = {
        "black": [flat[0]] * 3,
        "one value": [flat[128]] * 3,
        "one value each": [flat[7], flat[255], flat[128]],
        "flat result": [*noise[:2], flat[7]],
        "flat source": [flat[7], *noise[1:]],
        "noise": noise,
    }[kind]
    for name, found in score(*pictures, pictures[2], names=METRICS).items():
        assert np.isnan(found.value) == (found.reason is not None), name
        if found.reason is None:
            low, high = METRICS[name].span
            assert low - 1e-6 <= found.value <= high + 1e-6, name


def test_a_metric_that_is_undefined_for_one_channel_is_undefined(colour):
    a, b, fused = (picture.copy() for picture in colour)
    a[..., 1] = 9
    found = score(a, b, fused, names=["cc", "en"])
    assert np.isnan(found["cc"].value) and "one value" in found["cc"].reason
    assert found["en"].value > 5


def test_every_short_name_stands_for_a_variant_that_there_is():
    for metric in METRICS.values():
        assert metric.same_as is None or ("." not in metric.name and metric.same_as in METRICS)


def test_work_is_shared_within_a_scene_only():
    calls = []

    @shared
    def total(plane, factor=1):
        calls.append(factor)
        return plane.sum() * factor

    plane = np.ones((2, 2))
    with sharing():
        assert [total(plane), total(plane), total(plane, 3), total(plane.copy())] == [4, 4, 12, 4]
    assert calls == [1, 3, 1]
    assert total(plane) == 4
    assert len(calls) == 4
