"""What kind of scene sources show."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from skimage.filters import gaussian

from defusion import Fuser, OptionError
from defusion.imaging import from_array
from defusion.scene import kind as task
from defusion.scene.kind import SceneKind, measure, recognise

Sources = list[NDArray[np.uint8]]

SCENE = np.ascontiguousarray(data.astronaut()[40:241, 100:331])
GREY = SCENE[..., 1]


def exposed(scene: NDArray[np.uint8], stops: float) -> NDArray[np.uint8]:
    return np.clip(scene * 2.0 ** (stops / 2.2), 0, 255).astype(np.uint8)


def focus(scene: NDArray[np.uint8]) -> Sources:
    blurred = (gaussian(scene, 4, channel_axis=2 if scene.ndim == 3 else None) * 255).astype(np.uint8)
    half = scene.shape[1] // 2
    near, far = scene.copy(), scene.copy()
    near[:, half:], far[:, :half] = blurred[:, half:], blurred[:, :half]
    return [near, far]


def kind(sources: Sources) -> SceneKind:
    return recognise([measure(from_array(source)) for source in sources])


@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["colour", "grey"])
def test_exposures_and_focus_are_told_apart(scene: NDArray[np.uint8]) -> None:
    assert kind(focus(scene)).task == "focus"
    assert kind([scene, scene]).task == "focus"
    assert kind([exposed(scene, -2), exposed(scene, 2)]).task == "exposure"
    assert kind([exposed(scene, stops) for stops in (-4, -2, 0, 2)]).task == "exposure"
    assert kind([exposed(scene, -2), scene]).task == "exposure"


@pytest.mark.parametrize("infrared", [GREY, 255 - GREY, np.repeat(GREY[..., None], 3, 2)])
def test_one_source_without_colour_is_infrared(infrared: NDArray[np.uint8]) -> None:
    for sources in ([infrared, SCENE], [SCENE, infrared]):
        assert kind(sources) == ("infrared", "1 of 2 sources have no colour")


def test_rounding_and_a_mark_are_no_colour() -> None:
    rounded = np.stack([GREY, np.minimum(GREY, 254) + 1, GREY], 2).astype(np.uint8)
    rounded[3, 4] = 250, 10, 10
    assert kind([rounded, SCENE]) == ("infrared", "1 of 2 sources have no colour")
    tinted = np.stack([GREY // 4, GREY // 4 + 2, GREY // 4], 2).astype(np.uint8)
    assert not measure(from_array(tinted)).colourless


def test_a_frame_of_a_stack_that_lost_its_colour_is_one_of_them() -> None:
    near, far = focus(SCENE)
    assert kind([near, far, np.repeat(SCENE.mean(2, keepdims=True), 3, 2).astype(np.uint8)]).task == "focus"
    assert kind([SCENE, SCENE, np.repeat(255 - GREY[..., None], 3, 2)]).task == "infrared"


def test_pictures_with_colour_that_are_not_alike_come_from_different_sensors() -> None:
    found = kind([SCENE, np.clip(400 - SCENE.astype(int) * 1.5, 10, 250).astype(np.uint8)])
    assert found.task == "infrared"
    assert "and neither lacks places" in found.why


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 3), (9, 5, 3)])
@pytest.mark.filterwarnings("error")
def test_pictures_of_hardly_a_place_are_looked_at(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert kind([pixels, pixels]).task in ("focus", "generic")


def test_colourless_sources_that_disagree_about_tones_are_infrared() -> None:
    assert kind([GREY, 255 - GREY]).task == "infrared"


def test_sources_that_fit_nothing_but_lack_no_place_are_blended_by_focus() -> None:
    other = data.chelsea()[40:241, 100:331]
    level = np.clip(0.4 * SCENE + 0.6 * other * (SCENE.mean() / other.mean()), 0, 255).astype(np.uint8)
    found = kind([SCENE, level])
    assert found.task == "focus"
    assert "neither lacks places" in found.why


def test_somebody_who_walks_through_a_grey_bracket_leaves_it_one() -> None:
    bracket = [exposed(GREY, stops) for stops in (-3, -1.5, 0)]
    for number, frame in enumerate(bracket):
        frame[60:120, 40 + 60 * number : 70 + 60 * number] //= 16
    assert kind(bracket).task == "exposure"


def test_a_dark_room_in_infrared_is_no_bracket() -> None:
    night, warm = GREY // 8, 255 - GREY // 2
    assert kind([night, warm]).task == "infrared"
    assert kind([GREY // 8, np.minimum(GREY, 127) * 2]).task == "exposure"


def test_texture_in_focus_is_not_noise_beside_itself_out_of_focus() -> None:
    rng = np.random.default_rng(0)
    texture = np.clip(SCENE.astype(int) + rng.normal(0, 20, SCENE.shape[:2])[..., None], 0, 255).astype(np.uint8)
    soft = (gaussian(texture, 2, channel_axis=2) * 255).astype(np.uint8)
    assert measure(from_array(texture)).noise.mean() > 0.3
    filled = texture.copy()
    filled[:80, :80] = rng.integers(0, 100, (80, 80, 3))
    of_texture, of_soft, of_filled = (measure(from_array(picture)) for picture in (texture, soft, filled))
    assert task._missing([of_texture, of_soft]) < 0.01
    assert task._missing([of_filled, of_soft]) > 0.1


def test_print_is_not_taken_for_noise() -> None:
    page = data.page()
    lines = np.ascontiguousarray(np.stack([page[:176, :352]] * 3, 2))
    assert not measure(from_array(lines)).noise.any()
    noise = np.random.default_rng(0).integers(0, 255, lines.shape).astype(np.uint8)
    assert measure(from_array(noise)).noise.mean() > 0.5


def test_a_source_of_one_tone_decides_nothing() -> None:
    assert kind([GREY, np.full_like(GREY, round(GREY.mean()))]).task == "focus"


def test_the_reason_has_its_figure() -> None:
    why = kind([np.full((40, 40, 3), 20, np.uint8), np.full((40, 40, 3), 200, np.uint8)]).why
    assert why == "the brightest source is 10.0 times as bright as the darkest, all over"


@pytest.mark.parametrize("fill", ["black", "noise"])
def test_sources_that_lack_places_are_neither_exposures_nor_out_of_focus(fill: str) -> None:
    rng = np.random.default_rng(0)
    cells = np.kron(rng.random((13, 15)) < 0.4, np.ones((16, 16))).astype(bool)[:201, :231]
    a, b = SCENE.copy(), SCENE.copy()
    a[cells] = 0 if fill == "black" else rng.integers(0, 255, (int(cells.sum()), 3))
    b[~cells & np.roll(cells, 30)] = 0 if fill == "black" else 128
    assert kind([a, b]).task == "generic"


def test_frames_of_a_stack_are_compared_with_their_neighbours() -> None:
    shifted = [np.ascontiguousarray(SCENE[:, 6 * step : 6 * step + 160]) for step in range(6)]
    assert "neither lacks places" in kind([shifted[0], shifted[-1]]).why
    assert "neither lacks places" not in kind(shifted).why


def test_a_task_that_is_asked_for_is_said_and_changes_no_pixel() -> None:
    near, far = focus(SCENE)
    assert kind([near, far]).task == "focus"
    pictures = [from_array(source) for source in (near, far)]
    assert Fuser(task="infrared").plan(pictures)[:2] == ("infrared", "it was asked for")
    assert np.array_equal(Fuser(task="infrared").fuse([near, far]), Fuser().fuse([near, far]))
    with pytest.raises(OptionError, match="task came as 'soup'; expected auto, exposure, focus, infrared or generic"):
        Fuser(task="soup")
