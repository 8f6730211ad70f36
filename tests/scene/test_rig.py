"""Rigs: two cameras registered once, and their frames aligned to each other."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from defusion import ImageError, OptionError, Options
from defusion.alignment.geometry import Shape, mapped
from defusion.batch.run import anywhere
from defusion.batch.work import settings_of
from defusion.imaging import from_array, write
from defusion.scene.frame import Frame
from defusion.scene.rig import Rig, calibrated

from ..running import run

SIZE = Shape(240, 320)
SMALL = Shape(96, 120)


def camera() -> NDArray[np.float64]:
    """A thermal camera that sees a part at half the scale, turned by 2 degrees."""
    turn, scale = np.deg2rad(2), 0.45
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix[:2, 2] = np.array([59.5, 47.5]) - matrix[:2, :2] @ [170, 115]
    return matrix


def seen_by(matrix: NDArray[np.float64], number: int) -> NDArray[np.uint8]:
    """A thermal picture: what is bright in the visible one is dark here."""
    heat = (255 - visible(number)[..., 1]).astype(np.float32) ** 1.3 / 255**0.3
    rng = np.random.default_rng(number)
    seen = cv2.warpPerspective(cv2.GaussianBlur(heat, (0, 0), 1), matrix, SMALL[::-1], flags=cv2.INTER_CUBIC)
    return np.clip(seen + rng.normal(0, 2, seen.shape), 0, 255).astype(np.uint8)


def visible(number: int) -> NDArray[np.uint8]:
    scene = (data.chelsea, data.astronaut, data.coffee)[number]()
    return np.ascontiguousarray(cv2.resize(scene, SIZE[::-1], interpolation=cv2.INTER_AREA))


def pair(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return seen_by(camera(), number), visible(number)


def frames(number: int) -> tuple[Frame, Frame]:
    thermal, visible = pair(number)
    return Frame.of("thermal", from_array(thermal)), Frame.of("visible", from_array(visible))


@pytest.fixture(scope="module")
def rig() -> Rig:
    return calibrated([frames(number) for number in range(3)])


def test_pairs_say_together_how_the_cameras_stand(rig: Rig) -> None:
    back, true = (mapped(np.linalg.inv(each), SMALL.corners) for each in (rig.matrix, camera()))
    assert np.hypot(*(back - true).T).mean() < 1
    assert rig.confidence > 0.95 and rig.residual_px < 1 and rig.pairs == 3


def test_a_tilted_camera_is_found() -> None:
    tilted = camera()
    tilted[2, :2] = 1.2e-4, -0.8e-4
    pairs = [(Frame.of("thermal", from_array(seen_by(tilted, number))), frames(number)[1]) for number in range(3)]
    back, true = (mapped(np.linalg.inv(each), SMALL.corners) for each in (calibrated(pairs).matrix, tilted))
    assert np.hypot(*(back - true).T).mean() < 1.5


def test_pictures_that_have_nothing_in_common_are_told(rig: Rig) -> None:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(0, 90, SMALL).astype(np.float32), (0, 0), 2) * 4 + 128
    other = Frame.of("thermal", from_array(np.clip(noise, 0, 255).astype(np.uint8)))
    with pytest.raises(ImageError, match="could not be lined up"):
        calibrated([(other, frames(0)[1])])


def test_a_rig_comes_back_from_its_file(rig: Rig, tmp_path: Path) -> None:
    rig.save(tmp_path / "rig.json")
    again = Rig.load(tmp_path / "rig.json")
    assert np.array_equal(again.matrix, rig.matrix) and again.facts() == rig.facts()


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"kind": "defusion rig", "matrix": [[1, 2], [3, 4]]}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rig.json").write_text(text)
    with pytest.raises(ImageError, match="holds no rig"):
        Rig.load(tmp_path / "rig.json")


def test_a_thermal_picture_fades_out_where_it_ends(rig: Rig) -> None:
    thermal, visible = (each.open() for each in frames(0))
    moved = rig.aligned(thermal, visible)
    assert (moved.height, moved.width) == SIZE and moved.alpha is not None
    alpha = np.asarray(moved.alpha)[..., 0].astype(int)
    assert alpha[0].max() == 0 and alpha[115, 170] == 255
    assert np.abs(np.diff(alpha, axis=1)).max() < 60


def test_what_is_near_is_shifted_by_the_parallax() -> None:
    rig = Rig(SIZE, SIZE, np.eye(3), "identity", 0.0, 0.0, 1.0, 1, 1, None, (20.0, 0.0))
    assert np.allclose(mapped(rig.matrix_at(10), np.array([[50.0, 50.0]])), [[48, 50]])
    near = Rig(SIZE, SIZE, np.eye(3), "identity", 0.0, 0.0, 1.0, 1, 1, 10.0, (20.0, 0.0))
    assert np.allclose(near.matrix_at(10), np.eye(3))
    with pytest.raises(ImageError, match="how far apart its cameras are"):
        Rig(SIZE, SIZE, np.eye(3), "identity", 0.0, 0.0, 1.0, 1, 1).matrix_at(5)


def test_pictures_of_another_size_are_refused(rig: Rig) -> None:
    thermal, visible = (each.open() for each in frames(0))
    with pytest.raises(ImageError, match="the thermal one first"):
        rig.aligned(visible, thermal)


def test_the_command_calibrates(tmp_path: Path) -> None:
    names = []
    for number in (0, 1):
        for name, picture in zip(("ir", "vis"), pair(number), strict=True):
            names.append(tmp_path / f"{name}{number}.png")
            write(names[-1], from_array(picture))
    options = ["--baseline", "35,0", "--hfov", "60", "--json"]
    done = run("rig", "calibrate", *names, "-o", tmp_path / "rig.json", *options)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["pairs"] == 2 and facts["parallax_px_m"][0] == pytest.approx(0.035 * 160 / np.tan(np.deg2rad(30)))
    assert Rig.load(tmp_path / "rig.json").visible == SIZE


@pytest.mark.parametrize("options", [{"plane": 3.0}, {"plane": -1.0, "rig": "rig.json"}])
def test_a_plane_is_a_distance_of_a_rig(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="together with a rig"):
        Options(**options)


def test_a_batch_does_scenes_anew_that_a_rig_was_calibrated_anew_for(tmp_path: Path) -> None:
    path = tmp_path / "rig.json"
    told = []
    for shift in (0, 1):
        matrix = np.eye(3)
        matrix[0, 2] = shift
        Rig.of(matrix, thermal=SIZE, visible=SIZE).save(path)
        told.append(settings_of(Options(rig=path), ".png"))
    assert told[0] != told[1]
    assert Path(str(anywhere(Options(rig="rig.json")).rig)).is_absolute()
