"""Frames of a focus stack with unusual exposure are matched to the tones of the others."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion import Fuser
from defusion.alignment.levelling import levelled, odd_ones, tones_between
from defusion.imaging import from_array
from defusion.scene.frame import Frame

Pixels = NDArray[np.float32]


def exposed(frame: Pixels, stops: float) -> Pixels:
    return (np.clip(frame**2.2 * 2.0**stops, 0, 1) ** (1 / 2.2)).astype(np.float32)


def test_a_bracket_has_no_odd_ones_and_a_stack_has() -> None:
    assert odd_ones([0.1, 0.2, 0.4])[1] == []
    assert odd_ones([0.2, 0.2, 0.4])[1] == []
    assert odd_ones([0.05, 0.1, 0.2, 0.4, 0.6])[1] == []
    assert odd_ones([0.3, 0.301, 0.3, 0.2995])[1] == []
    assert odd_ones([0.3, 0.3, 0.3, 0.41, 0.3]) == (2, [3])
    assert odd_ones([0.3, 0.32, 0.3]) == (0, [1])


def test_tones_of_another_exposure_and_white_balance_are_led_back(photo: Pixels) -> None:
    like = 0.6 * photo
    frame = exposed(like, 0.7) * np.array([1.05, 1, 0.93], np.float32)
    tones = tones_between(frame[::8, ::8], like[::8, ::8])
    assert tones is not None
    mended = levelled(from_array(frame), tones)
    unclipped = frame.max(2) < 0.95
    assert np.abs(mended.pixels - like)[unclipped].mean() < 0.02 < np.abs(frame - like)[unclipped].mean() / 3
    np.testing.assert_array_equal(mended.samples[3:50:2, 7:99], np.asarray(mended.samples)[3:50:2, 7:99])
    assert tones_between(np.ascontiguousarray(frame[::8, ::-8]), like[::8, ::8]) is None


def test_a_frame_one_stop_brighter_shows_as_no_band(photo: Pixels) -> None:
    scene = 0.5 * np.ascontiguousarray(photo[100:300, :400])
    frames = []
    for number in range(5):
        far = np.abs(np.arange(400) // 80 - number)[None, :, None]
        blurred = np.where(far == 0, scene, cv2.GaussianBlur(scene, (0, 0), 3))
        frames.append(blurred.astype(np.float32))
    frames[1] = exposed(frames[1], 1)
    fuser = Fuser()
    fused = fuser.fuse(frames)
    assert np.abs(fused - scene)[20:-20, 90:150].mean() < 0.02
    named = [Frame.of(str(number), from_array(frame)) for number, frame in enumerate(frames)]
    (note,) = [each for each in fuser.fuse_frames(named).notes if "brightness" in each]
    assert note == "1: brightness and colour matched to those of 2"
