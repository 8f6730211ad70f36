import math

import numpy as np
import pytest

from defusion.evaluation.metrics import score
from defusion.evaluation.metrics.information import joint_histogram

FOUR = np.array([[0, 60, 120, 180]] * 4, np.uint8)


def value(name, a, b, fused):
    return score(a, b, fused, names=[name])[name].value


@pytest.fixture(scope="module")
def noise():
    return [np.random.default_rng(seed).integers(0, 200, (40, 50), dtype=np.uint8) for seed in range(3)]


def test_four_levels_hold_two_bits():
    assert value("en", FOUR, FOUR, FOUR) == 2


def test_cross_entropy_is_zero_for_equal_histograms():
    assert value("ce", FOUR, FOUR.T, FOUR[::-1]) == 0


def test_cross_entropy_drops_levels_that_the_fused_picture_lacks():
    """The trap of the metric: a divergence would be infinite here."""
    half = np.where(FOUR > 100, np.uint8(0), FOUR)  # three quarters at 0, a quarter at 60
    expected = 0.25 * math.log2(0.25 / 0.75) + 0.25 * math.log2(0.25 / 0.25)
    assert value("ce", FOUR, FOUR, half) == pytest.approx(expected)


def test_a_picture_tells_all_about_itself():
    assert value("mi", FOUR, FOUR, FOUR) == pytest.approx(2 * 2 * math.log(2))
    assert value("nmi", FOUR, FOUR, FOUR) == pytest.approx(2)


def test_independent_levels_tell_nothing():
    assert value("mi", FOUR, FOUR, FOUR.T) == pytest.approx(0)
    assert value("nmi", FOUR, FOUR, FOUR.T) == pytest.approx(0)
    assert value("qncie", FOUR, FOUR.T, FOUR) > value("qncie", FOUR, FOUR.T, np.zeros_like(FOUR))


@pytest.mark.parametrize("name", ["mi", "nmi", "qncie", "en"])
def test_information_stays_when_levels_change_places(noise, name):
    a, b, fused = noise
    places = np.random.default_rng(5).permutation(256).astype(np.uint8)
    assert value(name, a, b, places[fused]) == pytest.approx(value(name, a, b, fused), rel=1e-12)


@pytest.mark.parametrize("name", ["ce", "mi", "nmi", "te", "te_nava", "qncie"])
def test_the_order_of_the_sources_does_not_matter(noise, name):
    a, b, fused = noise
    assert value(name, a, b, fused) == pytest.approx(value(name, b, a, fused), rel=1e-9)


def test_tang_merges_the_two_brightest_levels():
    two = np.array([[254, 255]] * 2, np.uint8)
    assert value("Tang.MI", two, two, two) == pytest.approx(2 * (1 + 1 - 0))
    assert value("mi", two, two, two) / math.log(2) == pytest.approx(2)


def test_tsallis_divergence_by_its_sum_over_pairs(noise):
    a, b, fused = (picture // 50 * 85 for picture in noise)  # levels 0, 85, 170, 255: stretched already

    def divergence(x, y, order):
        joint = joint_histogram(x, y)
        share_x, share_y = joint.sum(axis=1), joint.sum(axis=0)
        met = 0.0
        for i in range(256):
            for j in range(256):
                if share_y[i] * share_x[j] > 0:  # the toolkits' slip: i counts in y and j in x
                    met += joint[i, j] ** order / (share_y[i] * share_x[j]) ** (order - 1)
        return (1 - met) / (1 - order)

    assert value("te", a, b, fused) == pytest.approx(divergence(a, fused, 1.85) + divergence(b, fused, 1.85))
