"""Camera RAW: what is taken for it, how it is developed, and what is told when it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from defusion.errors import ImageError
from defusion.imaging import read

SCENE = data.astronaut()[:256, :384].astype(np.float64) / 255
LINEAR = np.where(SCENE <= 0.04045, SCENE / 12.92, ((SCENE + 0.055) / 1.055) ** 2.4)
BLACK, WHITE = 100, 16_100
XYZ_TO_SRGB = [3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572]


def rationals(values: list[float]) -> list[int]:
    return [number for value in values for number in (round(value * 10_000), 10_000)]


def save_dng(path: Path, exposure: float = 1.0, orientation: int = 1) -> Path:
    """A DNG of a camera whose filters are sRGB's primaries, behind a mosaic of RGGB."""
    light = np.clip(LINEAR * exposure, 0, 1)
    mosaic = light[..., 1].copy()
    mosaic[0::2, 0::2] = light[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = light[1::2, 1::2, 2]
    tags = [
        *((271, 2, 0, "Synthetic", True), (272, 2, 0, "One", True), (274, 3, 1, orientation, True)),
        *((33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)),
        *((50706, 1, 4, (1, 4, 0, 0), True), (50707, 1, 4, (1, 1, 0, 0), True), (50708, 2, 0, "Synthetic One", True)),
        *((50714, 3, 1, BLACK, True), (50717, 3, 1, WHITE, True)),
        *((50721, 10, 9, rationals(XYZ_TO_SRGB), True), (50728, 5, 3, rationals([1, 1, 1]), True)),
        (50778, 3, 1, 21, True),
    ]
    samples = np.rint(mosaic * (WHITE - BLACK) + BLACK).astype(np.uint16)
    tifffile.imwrite(path, samples, photometric=32803, extratags=tags, metadata=None, software="")
    return path


@pytest.fixture
def _libraw() -> None:
    pytest.importorskip("rawpy", reason='RAW is an extra: pip install "defusion[raw]"')


@pytest.mark.usefixtures("_libraw")
def test_a_raw_file_becomes_what_the_camera_saw(tmp_path):
    picture = read(save_dng(tmp_path / "a.dng"))
    assert (picture.depth, picture.grey, picture.icc, picture.notes) == ("uint16", False, None, ())
    off = np.abs(picture.pixels - SCENE)
    # What is left is the mosaic's.
    assert np.median(off) < 0.005 and off.mean() < 0.015


@pytest.mark.usefixtures("_libraw")
def test_a_bracket_keeps_its_exposures(tmp_path):
    """No brightness of its own for any picture: a stop is a stop, in linear light."""
    linear = {}
    for exposure in (0.25, 0.5):
        pixels = read(save_dng(tmp_path / f"{exposure}.dng", exposure)).pixels.astype(np.float64)
        linear[exposure] = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    lit = linear[0.25] > 0.05
    assert np.median(linear[0.5][lit] / linear[0.25][lit]) == pytest.approx(2, abs=0.01)
    assert np.median(linear[0.25][lit] / LINEAR[lit]) == pytest.approx(0.25, abs=0.005)


@pytest.mark.usefixtures("_libraw")
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_applied_once(tmp_path, orientation):
    upright = read(save_dng(tmp_path / "a.dng")).pixels
    picture = read(save_dng(tmp_path / "b.dng", orientation=orientation))
    turned = np.rot90(upright, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    assert picture.pixels.shape == turned.shape
    assert np.abs(picture.pixels - turned).mean() < 0.01
    exif = Image.Exif()
    exif.load(picture.exif)
    assert (exif[271], exif[272], exif[274]) == ("Synthetic", "One", 1)


@pytest.mark.usefixtures("_libraw")
@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_a_cut_raw_file_is_refused(tmp_path, kept, capfd):
    content = save_dng(tmp_path / "a.dng").read_bytes()
    (tmp_path / "a.dng").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"a\.dng is truncated or damaged"):
        read(tmp_path / "a.dng")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("_libraw")
@pytest.mark.parametrize(
    "start", [b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx \0\0\0\1", b"IIRO\x08\0\0\0", b"IIU\0\x08"]
)
def test_cameras_that_libraw_does_not_know_are_named(tmp_path, start):
    (tmp_path / "a.raf").write_bytes(start + bytes(5000))
    with pytest.raises(ImageError, match=r"a\.raf is (a RAW file that LibRaw does not know|truncated or damaged)"):
        read(tmp_path / "a.raf")


def test_without_rawpy_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r'a\.dng is a camera RAW file.*pip install "defusion\[raw\]"'):
        read(save_dng(tmp_path / "a.dng"))


def test_content_tells_raw_from_tiff_whatever_the_suffix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    finished = data.astronaut()[:9, :9]
    for suffix in (".tif", ".dng", ".nef", ".arw", ".cr2"):
        tifffile.imwrite(tmp_path / f"a{suffix}", finished, photometric="rgb")
        np.testing.assert_array_equal(read(tmp_path / f"a{suffix}").samples, finished)
    with pytest.raises(ImageError, match="camera RAW"):
        read(save_dng(tmp_path / "b.tif"))


@pytest.mark.parametrize("suffix", [".nef", ".arw", ".tif"])
def test_a_sensor_in_a_directory_below_a_preview_is_found(tmp_path, monkeypatch, suffix):
    """As NEF, ARW and most DNG files are laid out."""
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with tifffile.TiffWriter(tmp_path / f"a{suffix}") as tif:
        tif.write(data.astronaut()[:9, :9], photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        tif.write(np.zeros((16, 16), np.uint16), photometric=32803, metadata=None)
    with pytest.raises(ImageError, match="camera RAW"):
        read(tmp_path / f"a{suffix}")


def test_a_preview_of_a_raw_file_is_not_taken_for_the_picture(tmp_path, monkeypatch):
    """A maker's layout of its own: the suffix and the word "reduced" tell."""
    monkeypatch.setitem(sys.modules, "rawpy", None)
    tifffile.imwrite(tmp_path / "a.pef", data.astronaut()[:9, :9], photometric="rgb", subfiletype=1)
    with pytest.raises(ImageError, match="camera RAW"):
        read(tmp_path / "a.pef")
