"""Temperatures through a fusion."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage import data

from defusion import Fuser, ImageError
from defusion.imaging import from_array, read, write
from defusion.scene.rig import Rig
from defusion.scene.temperatures import Isotherm

from ..running import run


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser(align="off")


@pytest.fixture(scope="module")
def celsius() -> NDArray[np.float32]:
    """A wall of 18 to 22 degrees with a hot spot of 36."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.random((64, 96), np.float32), (0, 0), 6)
    wall = 18 + 4 * (wall - wall.min()) / (wall.max() - wall.min())
    wall[20:40, 30:50] = 36
    return wall.astype(np.float32)


@pytest.fixture(scope="module")
def visible() -> NDArray[np.uint8]:
    return np.ascontiguousarray(cv2.resize(data.chelsea(), (96, 64), interpolation=cv2.INTER_AREA))


@pytest.fixture
def pair(tmp_path: Path, celsius: NDArray[np.float32], visible: NDArray[np.uint8]) -> tuple[Path, Path]:
    write_float(tmp_path / "ir.tif", celsius)
    write(tmp_path / "vis.png", from_array(visible))
    return tmp_path / "ir.tif", tmp_path / "vis.png"


def write_float(path: Path, plane: NDArray[np.float32]) -> None:
    tifffile.imwrite(path, plane)


def test_what_was_measured_is_the_second_page(
    fuser: Fuser, pair: tuple[Path, Path], tmp_path: Path, celsius: NDArray[np.float32]
) -> None:
    made = fuser.fuse_files(pair, tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert len(file.pages) == 2
        assert np.array_equal(file.pages[1].asarray(), celsius)
    told = json.loads((tmp_path / "out.temperatures.json").read_text())
    assert told["file"] == "out.tif" and told["page"] == 2 and told["source"] == str(pair[0])
    assert told["most"] == 36 and told["unit"] == "as stored"
    assert made.facts["temperatures"]["least"] == pytest.approx(celsius.min(), abs=1e-4)
    assert read(tmp_path / "out.tif").pixels.shape == (64, 96, 3)


def test_other_formats_get_the_picture_alone(fuser: Fuser, pair: tuple[Path, Path], tmp_path: Path) -> None:
    made = fuser.fuse_files(pair, tmp_path / "out.png")
    assert made.facts["temperatures"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ir.tif", "out.png", "vis.png"]


def test_an_isotherm_paints_what_is_in_its_range_alone(fuser: Fuser, pair: tuple[Path, Path], tmp_path: Path) -> None:
    fuser.fuse_files(pair, tmp_path / "plain.png")
    fuser.fuse_files(pair, tmp_path / "painted.png", isotherm="30..40")
    plain, painted = (read(tmp_path / f"{name}.png").pixels for name in ("plain", "painted"))
    changed = np.abs(painted - plain).max(2) > 0.02
    assert changed[22:38, 32:48].all()
    changed[20:40, 30:50] = False
    assert not changed.any()
    red, green, blue = painted[30, 40]
    assert red > green > blue


def test_an_isotherm_of_nothing_measured_is_refused(fuser: Fuser, pair: tuple[Path, Path], tmp_path: Path) -> None:
    write(tmp_path / "grey.png", from_array(np.asarray(read(pair[1]).samples)[..., 0].copy()))
    with pytest.raises(ImageError, match="holds measured values"):
        fuser.fuse_files([tmp_path / "grey.png", pair[1]], tmp_path / "out.png", isotherm="1..2")


@pytest.mark.parametrize(("low", "high", "palette"), [(40, 30, "iron"), (3, 3, "iron"), (1, 2, "gold")])
def test_isotherms_that_mean_nothing_are_refused(low: float, high: float, palette: str) -> None:
    with pytest.raises(ImageError, match=r"expected the lower value first|no palette"):
        Isotherm(low, high, palette)


def test_a_rig_lays_the_picture_and_its_temperatures(
    fuser: Fuser, pair: tuple[Path, Path], tmp_path: Path, celsius: NDArray[np.float32], visible: NDArray[np.uint8]
) -> None:
    write_float(tmp_path / "part.tif", np.ascontiguousarray(celsius[8:56, 16:80]))
    matrix = np.array([[1, 0, -16], [0, 1, -8], [0, 0, 1.0]])
    rig = Rig.of(matrix, thermal=(48, 64), visible=(64, 96))
    rig.save(tmp_path / "rig.json")
    made = fuser.fuse_files([tmp_path / "part.tif", pair[1]], tmp_path / "out.tif", rig=tmp_path / "rig.json")
    fused, heat = tifffile.imread(tmp_path / "out.tif", key=0), tifffile.imread(tmp_path / "out.tif", key=1)
    assert made.facts["temperatures"]["most"] == pytest.approx(36, abs=0.01)
    assert np.isnan(heat[0]).all() and heat[30, 40] == pytest.approx(36, abs=0.01)
    off = np.abs(fused.astype(float) / np.iinfo(fused.dtype).max if fused.dtype.kind == "u" else fused)
    assert np.abs(off - visible / 255)[:, 88:].max() < 0.03


def test_the_command_paints_and_tells(pair: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["fuse", *pair, "-o", tmp_path / "out.tif", "--json", "--align", "off", "--palette", "inferno"]
    done = run(*words, "--isotherm", "30..40")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["temperatures"]["most"] == 36
    done = run(*words, "--isotherm", "hot")
    assert done.returncode == 2 and "the isotherm 'hot' is not understood" in done.stderr
