"""Frames fused as they come."""

import cv2
import numpy as np
import pytest
from skimage import data

from defusion import Fuser, ImageError, Reading
from defusion.scene.rig import Rig
from defusion.video import Live


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser()


def test_frames_have_the_visible_ones_form_and_hold_still(fuser: Fuser) -> None:
    rng = np.random.default_rng(0)
    hot, seen = rng.integers(0, 255, (48, 64), np.uint8), rng.integers(0, 255, (48, 64, 3), np.uint8)
    live = Live(fuser)
    first = live.fuse(hot, seen)
    entered = hot.copy()
    entered[:, 48:] = 255
    second = live.fuse(entered, seen)
    assert first.shape == seen.shape and first.dtype == np.uint8
    assert abs(float(second[:, :24].mean()) - float(first[:, :24].mean())) < 0.5


def test_a_stream_gives_what_single_pairs_give(fuser: Fuser) -> None:
    rng = np.random.default_rng(3)
    pairs = [
        (rng.integers(0, 255, (48, 64), np.uint8), rng.integers(0, 255, (48, 64, 3), np.uint8)) for _ in range(4)
    ]
    coming = iter(pairs)
    stream, single = Live(fuser).frames(coming), Live(fuser)
    assert np.array_equal(next(stream), single.fuse(*pairs[0]))
    assert len(list(coming)) == 1  # no more are taken than are in work
    for made, pair in zip(stream, pairs[1:3], strict=True):
        assert np.array_equal(made, single.fuse(*pair))


def test_blue_may_come_first(fuser: Fuser) -> None:
    rng = np.random.default_rng(1)
    hot, seen = rng.integers(0, 255, (48, 64), np.uint8), rng.integers(0, 255, (48, 64, 3), np.uint8)
    usual, other = Live(fuser).fuse(hot, seen), Live(fuser).fuse(hot, seen[..., ::-1], Reading(bgr=True))
    assert np.array_equal(usual, other[..., ::-1])


def test_frames_of_other_sizes_than_the_rigs_are_refused(fuser: Fuser) -> None:
    rig = Rig.of(np.eye(3), thermal=(24, 32), visible=(48, 64))
    with pytest.raises(ImageError, match="the rig's are 32x24"):
        Live(fuser, rig).fuse(np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.uint8))


def test_quick_frames_are_near_and_as_sharp(fuser: Fuser) -> None:
    rng = np.random.default_rng(2)
    seen = np.ascontiguousarray(data.chelsea()[40:232, 60:316])
    hot = cv2.GaussianBlur(255 - seen[..., 1], (0, 0), 2)
    seen = np.clip(seen + rng.normal(0, 6, seen.shape), 0, 255).astype(np.uint8)
    whole, quick = (Live(fuser, quick=each).fuse(hot, seen).astype(float) for each in (False, True))
    assert np.abs(whole - quick).mean() < 4
    sharp = [float(np.abs(np.diff(each, axis=1)).mean()) for each in (whole, quick)]
    assert sharp[1] == pytest.approx(sharp[0], rel=0.15)
