"""EXR: linear values in and out as they are, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from defusion.errors import ImageError
from defusion.imaging import Picture, check_output, from_array, read, write
from defusion.imaging.colour_tags import linear_profile
from defusion.imaging.tone import is_linear

FLOAT = data.astronaut()[40:140, 100:250].astype(np.float32) * np.float32(1 / 255)


def save(path, channels: dict[str, np.ndarray]) -> None:
    openexr = pytest.importorskip("OpenEXR", reason='EXR is an extra: pip install "defusion[exr]"')
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with openexr.File(header, {name: np.ascontiguousarray(plane) for name, plane in channels.items()}) as file:
        file.write(str(path))


def planes(samples: np.ndarray) -> dict[str, np.ndarray]:
    return {name: samples[..., channel] for channel, name in enumerate("RGB")}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_colour_and_grey_are_read(tmp_path, dtype):
    samples = FLOAT.astype(dtype)
    save(tmp_path / "a.exr", planes(samples))
    picture = read(tmp_path / "a.exr")
    assert (picture.depth, picture.grey, picture.notes) == ("float32", False, ())
    assert is_linear(picture.icc)
    np.testing.assert_array_equal(picture.samples, samples.astype(np.float32))
    save(tmp_path / "a.exr", {"Y": samples[..., 1]})
    picture = read(tmp_path / "a.exr")
    assert (picture.depth, picture.grey) == ("float32", True)
    np.testing.assert_array_equal(picture.samples[..., 0], samples[..., 1].astype(np.float32))
    assert write(tmp_path / "b.tif", picture) == ()
    assert is_linear(read(tmp_path / "b.tif").icc)
    assert write(tmp_path / "b.exr", picture) == ()


def test_other_channels_are_left_out_with_a_note(tmp_path):
    save(tmp_path / "a.exr", {**planes(FLOAT), "D": FLOAT[..., 0], "Z": FLOAT[..., 1]})
    assert read(tmp_path / "a.exr").notes == ("a.exr: channels D, Z left out",)


def test_alpha_is_a_mask_and_colours_come_without_it(tmp_path):
    alpha = np.ones(FLOAT.shape[:2], np.float32)
    alpha[:9], alpha[9:20] = 0, 0.5
    save(tmp_path / "a.exr", {**planes(FLOAT * alpha[..., None]), "A": alpha})
    picture = read(tmp_path / "a.exr")
    np.testing.assert_array_equal(picture.confidence(slice(None), slice(None)), alpha)
    np.testing.assert_array_equal(picture.samples, np.where(alpha[..., None] > 0, FLOAT, 0))


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({"Z": FLOAT[..., 0]}, "has the channels Z; expected R, G and B, or Y"),
        ({**planes(FLOAT), "R": np.zeros(FLOAT.shape[:2], np.uint32)}, "of half or float"),
        (planes(np.where(FLOAT > 0.9, np.float32(np.nan), FLOAT)), "NaN"),
    ],
)
def test_what_cannot_be_fused_is_refused(tmp_path, channels, words):
    save(tmp_path / "a.exr", channels)
    with pytest.raises(ImageError, match=f"^a.exr .*{words}"):
        read(tmp_path / "a.exr")


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_cut_files_are_refused(tmp_path, kept):
    save(tmp_path / "a.exr", planes(FLOAT))
    content = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "a.exr").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"a\.exr is truncated or damaged"):
        read(tmp_path / "a.exr")


@pytest.mark.parametrize("samples", [FLOAT, FLOAT[..., :1]])
def test_what_was_written_reads_back(tmp_path, samples):
    pytest.importorskip("OpenEXR")
    assert write(tmp_path / "a.exr", Picture(samples)) == ()
    picture = read(tmp_path / "a.exr")
    assert picture.grey == (samples.shape[2] == 1)
    np.testing.assert_array_equal(picture.samples, samples)


def test_primaries_make_the_profile_and_what_is_not_kept_is_told(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    wide = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
    header = {"chromaticities": wide, "xDensity": 254.0, "xmp": "<x:xmpmeta/>"}
    header |= {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with openexr.File(header, {"RGB": np.full((4, 5, 3), 0.5, np.float32)}) as made:
        made.write(str(tmp_path / "a.exr"))
    picture = read(tmp_path / "a.exr")
    assert picture.icc == linear_profile(np.float32(wide).astype(float))
    assert picture.notes == ("a.exr: pixel size is not kept", "a.exr: XMP is not kept")


def test_what_exr_cannot_hold_is_told(tmp_path):
    pytest.importorskip("OpenEXR")
    icc = bytes(16) + b"RGB " + bytes(200)
    deep = from_array(np.full((4, 5, 3), 513, np.uint16))
    assert write(tmp_path / "a.exr", replace(deep, icc=icc, exif=b"II*\0\x08\0\0\0")) == (
        "a.exr: values written unchanged, although EXR holds linear light",
        "a.exr: ICC profile dropped, EXR holds none",
        "a.exr: EXIF dropped, EXR holds none",
    )
    np.testing.assert_array_equal(read(tmp_path / "a.exr").samples, deep.pixels)
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png", dpi=(254, 254))
    assert "a.exr: EXIF and pixel size dropped, EXR holds none" in write(tmp_path / "a.exr", read(tmp_path / "a.png"))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    pytest.importorskip("OpenEXR")
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).random((100, 100, 3)).astype(np.float32)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(ImageError, match=r"a\.exr could not be written"):
            write(tmp_path / "a.exr", Picture(noise))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_without_openexr_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(40))
    for ask in (read, check_output):
        with pytest.raises(ImageError, match=r'a\.exr is an EXR.*pip install "defusion\[exr\]"'):
            ask(tmp_path / "a.exr")
