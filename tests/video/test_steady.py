"""What stands still stands still."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from defusion.video.steady import Steady

Plane = NDArray[np.float32]


@pytest.fixture
def scene() -> tuple[Plane, Plane]:
    rng = np.random.default_rng(0)
    return rng.random((96, 128), np.float32), rng.random((96, 128), np.float32)


def entered(plane: Plane) -> Plane:
    hot = plane.copy()
    hot[30:70, 100:] = 1
    return hot


def test_still_parts_do_not_move_where_the_network_does(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    steady = Steady()
    before = steady.held((thermal + visible) / 2, thermal, visible)
    hot = entered(thermal)
    after = steady.held((hot + visible) / 2 - np.float32(0.02), hot, visible)
    assert np.abs(after - before)[:, :80].max() < 0.5 / 255
    assert after[50, 115] - before[50, 115] > 0.1


def test_beside_what_has_entered_nothing_moves_either(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    steady = Steady()
    before = steady.held((thermal + visible) / 2, thermal, visible)
    hot = entered(thermal)
    drift = np.zeros_like(thermal)
    drift[:, 80:] = 0.1  # near it, the network changes its mind by more
    after = steady.held((hot + visible) / 2 - drift, hot, visible)
    assert np.abs(after - before)[:, 84:92].mean() < 0.5 / 255


def test_what_a_slow_thing_hid_is_shown_as_before(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = (cv2.GaussianBlur(each, (0, 0), 4) for each in scene)
    steady = Steady()
    before = steady.held((thermal + visible) / 2, thermal, visible)
    for left in range(128, -64, -4):  # each place is hidden for longer than it takes to count as still
        hot = thermal.copy()
        hot[30:70, max(left, 0) : max(left + 40, 0)] = 1
        after = steady.held(np.float32(0.7) * hot + np.float32(0.3) * visible, hot, visible)
    assert np.abs(after - before).max() < 1 / 255


def test_planes_stay_in_single_precision(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    steady = Steady()
    steady.held(thermal, thermal, visible)
    assert steady.held(thermal, entered(thermal), visible).dtype == np.float32
    assert {plane.dtype for plane in steady.state().values()} == {np.dtype(np.float32)}


def test_what_has_entered_moves_by_as_much_as_what_is_around_it(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    steady = Steady()
    steady.held((thermal + visible) / 2, thermal, visible)
    hot = entered(thermal)
    after = steady.held((hot + visible) / 2 - np.float32(0.02), hot, visible)
    assert after[50, 115] == pytest.approx((1 + visible[50, 115]) / 2, abs=0.005)


def test_noise_is_no_change(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    rng = np.random.default_rng(1)
    steady = Steady()
    steady.held(np.full_like(thermal, 0.5), thermal, visible)
    for _ in range(5):
        noisy = thermal + rng.normal(0, 4 / 255, thermal.shape).astype(np.float32)
        after = steady.held(np.full_like(thermal, 0.52), noisy, visible)
        assert after.mean() == pytest.approx(0.5, abs=0.5 / 255)


def test_nothing_is_held_over_a_cut(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    steady = Steady()
    steady.held(np.zeros_like(thermal), thermal, visible)
    other = np.full_like(thermal, 0.9)
    fused = np.full_like(thermal, 0.7)
    assert np.array_equal(steady.held(fused, other, 1 - other), fused)


def test_whoever_goes_on_from_a_state_makes_the_same(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    first, second = Steady(), Steady()
    first.held(thermal, thermal, visible)
    second.go_on(first.state())
    hot = entered(thermal)
    assert np.array_equal(first.held(hot, hot, visible), second.held(hot, hot, visible))


def test_what_something_has_hidden_looks_as_before(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    steady = Steady()
    before = steady.held((thermal + visible) / 2, thermal, visible)
    hot = entered(thermal)
    for drift in (0.02, 0.04):
        steady.held((hot + visible) / 2 - np.float32(drift), hot, visible)
    after = steady.held((thermal + visible) / 2 - np.float32(0.06), thermal, visible)
    assert np.abs(after - before).max() < 0.5 / 255


def test_still_parts_do_not_move_however_far_the_network_does(scene: tuple[Plane, Plane]) -> None:
    thermal, visible = scene
    steady = Steady()
    before = steady.held((thermal + visible) / 2, thermal, visible)
    after = steady.held((thermal + visible) / 2 + np.float32(0.15), thermal, visible)
    assert np.abs(after - before).max() < 0.5 / 255
