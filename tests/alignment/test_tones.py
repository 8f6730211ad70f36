"""Exposures that have little in common, except when they are brought to the same tones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from defusion.alignment.geometry import Shape, corner_distance
from defusion.alignment.pair import lined_up
from defusion.alignment.representation import LuminancePyramid
from defusion.alignment.stack import chained
from defusion.alignment.tones import in_one_tone

Pixels = NDArray[np.float32]
Move = Callable[..., Pixels]


def exposed(picture: Pixels, stops: float, seed: int) -> LuminancePyramid:
    """An exposure with noise, in 8 bits."""
    light = np.clip(picture.mean(2) ** 2.2 * 2.0**stops, 0, 1) ** (1 / 2.2)
    noisy = light + np.random.default_rng(seed).normal(0, 1 / 255, light.shape)
    return LuminancePyramid((np.round(255 * np.clip(noisy, 0, 1)) / 255).astype(np.float32))


@pytest.mark.parametrize("dark_is_first", [True, False])
def test_exposures_of_which_one_is_mostly_white_are_lined_up_in_the_same_tones(
    photo: Pixels, handheld: NDArray[np.float64], moved: Move, dark_is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = (-6, 4) if dark_is_first else (4, -6)
    frames = exposed(photo, stops[0], 0), exposed(moved(photo, handheld), stops[1], 1)
    found = lined_up(*frames)
    assert found.verdict.good
    off = corner_distance(found.matrix, handheld, Shape(400, 600))
    assert off < 0.6
    monkeypatch.setattr("defusion.alignment.pair.in_one_tone", lambda a, b: None)
    assert corner_distance(lined_up(*frames).matrix, handheld, Shape(400, 600)) > off + 0.3


def test_frames_of_a_stack_are_judged_in_the_same_tones(
    photo: Pixels, handheld: NDArray[np.float64], moved: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [exposed(photo, -8, 0), exposed(moved(photo, handheld), 6, 1), exposed(photo, 6, 2)]
    assert chained(frames, 1, sensors="one", freest="homography")[0].verdict.good
    monkeypatch.setattr("defusion.alignment.stack.in_one_tone", lambda a, b: None)
    assert not chained(frames, 1, sensors="one", freest="homography")[0].verdict.good


def test_tones_become_those_of_the_brighter_frame(photo: Pixels) -> None:
    grey = np.ascontiguousarray(photo.mean(2))
    bright, dark = np.minimum(1.8 * grey, 1), 0.4 * grey**1.5
    toned = in_one_tone(LuminancePyramid(dark), LuminancePyramid(bright))
    assert toned is not None
    off = np.abs(toned[0].planes[0] - toned[1].planes[0])
    assert off.mean() < 0.01
    white = bright > 0.99
    assert white.mean() > 0.05
    assert toned[1].told[0][white].all()


def test_frames_of_one_brightness_or_of_two_sizes_keep_their_tones(photo: Pixels) -> None:
    grey = np.ascontiguousarray(photo.mean(2))
    assert in_one_tone(LuminancePyramid(grey), LuminancePyramid(0.9 * grey)) is None
    assert in_one_tone(LuminancePyramid(grey), LuminancePyramid(0.3 * grey[:300])) is None
