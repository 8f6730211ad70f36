"""Two frames: exposures, focus, sensors of other size and contrast; and frames that cannot be lined up."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from defusion.alignment.geometry import Shape, corner_distance, enlarged, shifted
from defusion.alignment.pair import _Ladder, lined_up
from defusion.alignment.representation import LuminancePyramid
from defusion.demo import focus_pair

Pixels = NDArray[np.float32]
Move = Callable[..., Pixels]

WHOLE = Shape(400, 600)


def grey(picture: Pixels) -> Pixels:
    return np.ascontiguousarray(picture.mean(2)) if picture.ndim == 3 else picture


def thermal(picture: Pixels) -> Pixels:
    """Other tones with reversed contrast, smoother, and noise: another sensor."""
    tones = 0.9 - 0.6 * np.sqrt(cv2.GaussianBlur(grey(picture), (0, 0), 1.2))
    noise = np.random.default_rng(3).normal(0, 0.01, tones.shape)
    return np.clip(tones + noise, 0, 1).astype(np.float32)


def test_exposures_are_lined_up_to_a_tenth_of_a_pixel(
    photo: Pixels, handheld: NDArray[np.float64], moved: Move
) -> None:
    brighter = np.minimum(2.5 * moved(photo, handheld), 1)
    found = lined_up(LuminancePyramid(grey(photo)), LuminancePyramid(grey(brighter)), sensors="one")
    assert corner_distance(found.matrix, handheld, WHOLE) < 0.15
    assert found.verdict.good
    assert found.verdict.residual_px < 0.3


def test_frames_in_and_out_of_focus_are_lined_up(photo: Pixels, moved: Move) -> None:
    breathing = enlarged(1.02, 1.02)
    there = moved(photo, breathing)
    here = photo.copy()
    here[:, :300] = cv2.GaussianBlur(here, (0, 0), 3)[:, :300]
    there[:, 306:] = cv2.GaussianBlur(there, (0, 0), 3)[:, 306:]
    found = lined_up(LuminancePyramid(grey(here)), LuminancePyramid(grey(there)), sensors="one")
    assert corner_distance(found.matrix, breathing, WHOLE) < 0.5
    assert found.verdict.good


def test_frames_far_out_of_focus_are_lined_up_by_halves_of_them(
    photo: Pixels, moved: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    breathing = enlarged(1.03, 1.03)
    here, there = photo.copy(), moved(photo, breathing)
    here[:, :300] = cv2.GaussianBlur(here, (0, 0), 9)[:, :300]
    there[:, 309:] = cv2.GaussianBlur(there, (0, 0), 9)[:, 309:]
    frames = LuminancePyramid(grey(here)), LuminancePyramid(grey(there))
    found = lined_up(*frames, sensors="one")
    assert found.verdict.good
    assert corner_distance(found.matrix, breathing, WHOLE) < 2.5
    monkeypatch.setattr("defusion.alignment.pair._SURELY", 0.0)
    assert not lined_up(*frames, sensors="one").verdict.good


@pytest.mark.parametrize("sensors", ["several", "auto"])
def test_another_sensor_of_half_the_size_and_a_part_of_the_field_is_found(
    photo: Pixels, sensors: str, moved: Move
) -> None:
    turn = np.deg2rad(2)
    matrix = 0.5 * np.array([[np.cos(turn), -np.sin(turn), -70], [np.sin(turn), np.cos(turn), -50], [0, 0, 2]])
    frame = moved(cv2.GaussianBlur(thermal(photo), (0, 0), 1.0), matrix, (150, 230))
    found = lined_up(LuminancePyramid(grey(photo)), LuminancePyramid(frame), sensors=sensors)
    assert found.kind == "edges"
    assert found.verdict.good
    inside = Shape(150, 230)
    assert corner_distance(np.linalg.inv(found.matrix), np.linalg.inv(matrix), inside) < 2


@pytest.fixture
def climbed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The representations of which a ladder was climbed, in order."""
    kinds: list[str] = []
    climb = _Ladder.climbed
    monkeypatch.setattr(_Ladder, "climbed", lambda ladder: kinds.append(ladder.kind) or climb(ladder))
    return kinds


def test_frames_of_two_sensors_are_lined_up_without_a_climb_by_detail(
    photo: Pixels, handheld: NDArray[np.float64], moved: Move, climbed: list[str]
) -> None:
    found = lined_up(LuminancePyramid(grey(photo)), LuminancePyramid(thermal(moved(photo, handheld))))
    assert found.verdict.good
    assert corner_distance(found.matrix, handheld, WHOLE) < 1
    assert climbed == ["edges"]


def test_frames_of_one_sensor_are_lined_up_by_detail_alone(
    photo: Pixels, handheld: NDArray[np.float64], moved: Move, climbed: list[str]
) -> None:
    far = handheld @ shifted(60, -45)
    found = lined_up(LuminancePyramid(grey(photo)), LuminancePyramid(grey(moved(photo, far))))
    assert found.verdict.good
    assert corner_distance(found.matrix, far, WHOLE) < 0.2
    assert climbed == ["detail"]


@pytest.mark.parametrize("model", ["translation", "similarity", "affine"])
def test_no_freer_model_is_used_than_asked_for(
    photo: Pixels, handheld: NDArray[np.float64], model: str, moved: Move
) -> None:
    found = lined_up(LuminancePyramid(grey(photo)), LuminancePyramid(grey(moved(photo, handheld))), freest=model)  # type: ignore[arg-type]
    free = found.matrix / found.matrix[2, 2]
    assert np.allclose(free[2, :2], 0, atol=1e-9)
    if model != "affine":
        assert np.isclose(free[0, 0], free[1, 1]) and np.isclose(free[0, 1], -free[1, 0])
    if model == "translation":
        assert np.allclose(free[:2, :2], np.eye(2), atol=1e-9)


def test_frames_that_line_up_stay_where_they_are(photo: Pixels) -> None:
    noisy = np.clip(0.7 * photo + np.random.default_rng(0).normal(0, 0.01, photo.shape), 0, 1).astype(np.float32)
    found = lined_up(LuminancePyramid(grey(photo)), LuminancePyramid(grey(noisy)))
    assert np.array_equal(found.matrix, np.eye(3))
    assert found.model == "identity"
    assert found.verdict.good


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_which_half_is_clipped_stay_where_they_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = {16: 0.3, 4: 0.15, 2: 0.1}
    light = 0.05 + sum(
        share * cv2.resize(rng.random((96 // side + 2, 144 // side + 2)), (144, 96)) for side, share in shares.items()
    )
    light[:, 72:] *= 30
    dark, bright = (np.clip(light * 2.0**stops, 0, 1) ** (1 / 2.2) for stops in (-5, -3))
    frames = [LuminancePyramid(np.round(255 * each).astype(np.float32) / 255) for each in (bright, dark)]
    found = lined_up(*frames)
    assert corner_distance(found.matrix, np.eye(3), Shape(96, 144)) < 0.3


def test_equal_frames_are_in_place_even_if_all_of_them_is_clipped() -> None:
    page = np.zeros((240, 320), np.float32)
    page[60:180:24, 40:280] = page[60:180, 40:280:40] = 1
    found = lined_up(LuminancePyramid(page), LuminancePyramid(page.copy()))
    assert found.model == "identity"
    assert found.verdict.good
    assert not lined_up(LuminancePyramid(page), LuminancePyramid(np.ascontiguousarray(page.T[:240]))).verdict.good


def test_a_motion_smaller_than_its_own_error_is_not_followed() -> None:
    pair = focus_pair(data.chelsea()[:, 40:420].astype(np.float32) / 255)
    found = lined_up(*(LuminancePyramid(grey(picture.pixels)) for picture in pair))
    assert found.model == "identity"
    assert found.verdict.residual_px > 0.3


def test_what_cannot_be_lined_up_is_not_trusted(photo: Pixels) -> None:
    rng = np.random.default_rng(5)
    others = {
        "mirrored": photo[:, ::-1],
        "noise": rng.random(photo.shape, np.float32),
        "another scene": np.rot90(cv2.resize(photo, (400, 600))).copy(),
    }
    for name, other in others.items():
        found = lined_up(LuminancePyramid(grey(photo)), LuminancePyramid(grey(np.ascontiguousarray(other))))
        assert not found.verdict.good, name


def test_flat_frames_have_no_texture(photo: Pixels) -> None:
    assert LuminancePyramid(np.full((90, 120), 0.4, np.float32)).textureless
    assert LuminancePyramid(np.zeros((1, 1), np.float32)).textureless
    assert not LuminancePyramid(grey(photo)).textureless
