"""Frames of a scene: what is looked at, and the last parts of a pixel at full size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from defusion.alignment import frames as frames_module
from defusion.alignment.frames import Wanted, aligned
from defusion.alignment.geometry import Shape, corner_distance
from defusion.alignment.look import Look, shrunk
from defusion.imaging import from_array

Pixels = NDArray[np.float32]
Move = Callable[..., Pixels]


def test_a_small_picture_is_the_mean_of_the_large_one(photo: Pixels) -> None:
    small = shrunk(from_array(photo), 4)
    np.testing.assert_allclose(small, photo.reshape(100, 4, 150, 4, 3).mean((1, 3)), atol=1e-5)


def test_large_frames_are_lined_up_at_full_size_in_the_end(
    photo: Pixels, handheld: NDArray[np.float64], moved: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defusion.alignment.look._MOST_PX", 3e4)  # as if the photograph were large
    pictures = [from_array(photo), from_array(moved(photo, handheld))]
    looks = [Look.of(each, 2) for each in pictures]
    assert looks[0].shrink == 3

    def found() -> NDArray[np.float64]:
        of_two = aligned(["a", "b"], looks, pictures.__getitem__, Wanted(crop=False))
        assert of_two.frames[1].aligned
        return of_two.frames[1].matrix

    polished = corner_distance(found(), handheld, Shape(400, 600))
    monkeypatch.setattr(frames_module, "polished", lambda reference, frame, found, freest: found.matrix)
    assert polished < 0.3
    assert polished < corner_distance(found(), handheld, Shape(400, 600))
