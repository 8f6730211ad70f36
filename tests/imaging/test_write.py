"""Files out, checked by other libraries: samples, depth, profile, EXIF, and no half file ever."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational
from skimage import data

from defusion.errors import ImageError
from defusion.imaging import Picture, PictureWriter, check_output, encode, from_array, open_output, read, write
from defusion.imaging.tone import Levels

COLOUR = data.astronaut()[40:140, 100:250]
GREY = data.camera()[40:140, 100:250]
DEEP = COLOUR.astype(np.uint16) * 257 + np.arange(150, dtype=np.uint16)[:, np.newaxis] % 200
FLOAT = DEEP * np.float32(1 / 65535)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
SUFFIXES = [".png", ".jpg", ".webp", ".tif"]


def camera_exif(endian: str = "<") -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    exif.update({0x010E: "Two exposures", 0x010F: "Maker", 0x0110: "Model 7", 0x0131: "Raw 5"})
    exif.update({0x0132: "2026:01:02 03:04:05", 0x013B: "Ann", 0x8298: "Someone", 0x0112: 1})
    exif.get_ifd(0x8769).update(
        {
            0x829A: IFDRational(1, 125),
            0x8827: 400,
            0xA434: "50mm f/1.8",
            0x9204: IFDRational(-2, 3),
            0x927C: b"note" * 99,
        }
    )
    exif.get_ifd(0x8825).update({0x0001: "N", 0x0002: (IFDRational(51), IFDRational(30), IFDRational(11, 2))})
    return exif.tobytes()


def assert_camera_exif(exif: Image.Exif) -> None:
    assert {tag: exif[tag] for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x0112)} == {
        0x010E: "Two exposures",
        0x010F: "Maker",
        0x0110: "Model 7",
        0x0131: "Raw 5",
        0x0132: "2026:01:02 03:04:05",
        0x013B: "Ann",
        0x8298: "Someone",
        0x0112: 1,
    }
    shot = exif.get_ifd(0x8769)
    assert (shot[0x829A], shot[0x8827], shot[0xA434]) == (0.008, 400, "50mm f/1.8")
    assert (shot[0x9204], shot[0x927C]) == (IFDRational(-2, 3), b"note" * 99)
    assert exif.get_ifd(0x8825)[0x0002] == (51, 30, 5.5)


def samples_of(path) -> np.ndarray:
    """Decode by a library that did not write the file, where there is one that keeps its depth."""
    if path.suffix == ".tif":
        return imagecodecs.imread(path, codec="tiff")
    if path.suffix == ".png":
        return imagecodecs.png_decode(path.read_bytes())
    return np.asarray(Image.open(path))


# ---------------------------------------------------------------------- samples and depth


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("samples", [COLOUR, GREY, DEEP, DEEP[..., 0], FLOAT, FLOAT[..., 0]])
def test_png_and_tiff_keep_every_sample(tmp_path, suffix, samples):
    path = tmp_path / f"a{suffix}"
    notes = write(path, from_array(samples))
    if suffix == ".png" and samples.dtype == np.float32:
        assert notes == ("a.png: PNG holds 16 bits, float result rounded to 16",)
        samples = np.rint(samples * 65535).astype(np.uint16)
    else:
        assert notes == ()
    written = tifffile.imread(path) if suffix == ".tiff" else samples_of(path)
    assert written.dtype == samples.dtype
    np.testing.assert_array_equal(written, samples)


@pytest.mark.parametrize("samples", [COLOUR, GREY])
def test_webp_is_lossless_in_three_channels(tmp_path, samples):
    assert write(tmp_path / "a.webp", from_array(samples)) == ()
    expected = samples if samples.ndim == 3 else np.dstack([samples] * 3)
    np.testing.assert_array_equal(samples_of(tmp_path / "a.webp"), expected)


@pytest.mark.parametrize("samples", [COLOUR, GREY])
def test_jpeg_stays_close_and_keeps_its_chroma(tmp_path, samples):
    assert write(tmp_path / "a.jpg", from_array(samples)) == ()
    with Image.open(tmp_path / "a.jpg") as image:
        assert [(across, down) for _, across, down, _ in image.layer] == [(1, 1)] * (1 if samples.ndim == 2 else 3)
        assert np.abs(np.asarray(image).astype(int) - samples).mean() < 2


@pytest.mark.parametrize(("suffix", "name"), [(".jpg", "JPEG"), (".webp", "WebP")])
@pytest.mark.parametrize(("samples", "word"), [(DEEP, "16-bit"), (FLOAT, "float")])
def test_rounding_to_eight_bits_is_told(tmp_path, suffix, name, samples, word):
    notes = write(tmp_path / f"a{suffix}", from_array(samples))
    assert notes == (f"a{suffix}: {name} holds 8 bits, {word} result rounded to 8",)
    assert read(tmp_path / f"a{suffix}").depth == "uint8"


def test_floats_are_written_as_they_are_and_clipped_where_the_format_has_none(tmp_path):
    pixels = np.array([[[-1, 0.5, 2]]], np.float32)
    write(tmp_path / "a.tif", Picture(pixels))
    assert tifffile.imread(tmp_path / "a.tif").tolist() == [[[-1, 0.5, 2]]]
    write(tmp_path / "a.png", Picture(pixels))
    assert read(tmp_path / "a.png").samples.tolist() == [[[0, 32768, 65535]]]


def test_values_lie_between_the_levels(tmp_path):
    counts = np.array([[[6800], [7050], [7300]]], np.uint16)
    picture = Picture(counts, levels=Levels(6800, 7300))
    assert picture.pixels[0, :, 0].tolist() == [0, 0.5, 1]
    assert write(tmp_path / "a.png", picture) == ()
    assert read(tmp_path / "a.png").samples.tolist() == counts.tolist()
    write(tmp_path / "a.jpg", picture)
    assert np.abs(read(tmp_path / "a.jpg").samples.ravel() - np.array([0, 128, 255.0])).max() <= 1
    rows = np.array([[[0], [0.5], [1]]], np.float32)
    for suffix, expected in ((".tif", [6800, 7050, 7300]), (".webp", [0, 128, 255])):
        with open_output(
            tmp_path / f"b{suffix}", height=1, width=3, channels=1, depth="uint16", levels=Levels(6800, 7300)
        ) as out:
            out.append(rows)
        assert read(tmp_path / f"b{suffix}").samples[0, :, 0].tolist() == expected
    assert "b.webp: values from 6800 to 7300 mapped to the range of WebP" in out.notes


def test_light_above_white_is_clipped_where_the_format_has_none(tmp_path):
    form = {"height": 1, "width": 3, "channels": 1, "depth": "float32", "levels": Levels(0, 4, 1.0)}
    rows = np.array([[[0], [0.125], [1]]], np.float32)
    for suffix, expected in ((".tif", [0, 0.5, 4]), (".png", [0, 32768, 65535])):
        with open_output(tmp_path / f"a{suffix}", **form) as out:
            out.append(rows)
        assert read(tmp_path / f"a{suffix}").samples[0, :, 0].tolist() == expected
    assert "a.png: what is brighter than white is clipped, PNG does not hold it" in out.notes


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_written_reads_back(tmp_path, suffix):
    path = tmp_path / f"A{suffix.upper()}"
    picture = replace(from_array(COLOUR), icc=SRGB, exif=camera_exif().removeprefix(b"Exif\0\0"))
    write(str(path), picture)
    again = read(path)
    assert (again.depth, again.grey, again.icc, again.notes) == ("uint8", False, SRGB, ())
    if suffix != ".jpg":
        np.testing.assert_array_equal(again.pixels, picture.pixels)
    write(path, again)
    assert read(path).exif == again.exif


# ---------------------------------------------------------------------- profile and EXIF


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("samples", [COLOUR, DEEP, GREY])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_profile_and_exif_are_embedded(tmp_path, suffix, samples, endian):
    path = tmp_path / f"a{suffix}"
    icc = GREY_PROFILE if samples.ndim == 2 and suffix != ".webp" else SRGB
    write(path, replace(from_array(samples), icc=icc, exif=camera_exif(endian)))
    with Image.open(path) as image:
        assert image.info["icc_profile"] == icc
        assert_camera_exif(image.getexif())


@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("endian", ["<", ">"])
def test_exif_goes_from_every_format_to_tiff(tmp_path, source, endian):
    Image.fromarray(COLOUR).save(tmp_path / f"a{source}", exif=camera_exif(endian))
    picture = read(tmp_path / f"a{source}")
    write(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(read(tmp_path / "b.tif").pixels, picture.pixels)
    with Image.open(tmp_path / "b.tif") as image:
        assert_camera_exif(image.getexif())
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].tags["ExifTag"].value["ISOSpeedRatings"] == 400


@pytest.mark.parametrize("samples", [FLOAT, DEEP[..., 0], COLOUR[:1, :1]])
def test_exif_leaves_the_pixels_of_a_tiff_alone(tmp_path, samples):
    write(tmp_path / "a.tif", replace(from_array(samples), icc=SRGB, exif=camera_exif()))
    np.testing.assert_array_equal(samples_of(tmp_path / "a.tif").reshape(samples.shape), samples)


def dots_per_inch(path) -> tuple[float, ...]:
    with Image.open(path) as image:
        return tuple(float(dots) for dots in image.info.get("dpi", ()))


@pytest.mark.parametrize("target", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize(
    ("source", "samples", "told"),
    [
        *((".png", COLOUR, {"dpi": (300, 200)}), (".jpg", COLOUR, {"dpi": (300, 200)})),
        *(
            (".tif", COLOUR, {"dpi": (300, 200)}),
            (".tif", COLOUR, {"x_resolution": 118.1102, "y_resolution": 78.7402, "resolution_unit": 3}),
        ),
        *((".png", COLOUR, {}), (".jpg", COLOUR, {}), (".tif", COLOUR, {})),
    ],
)
def test_resolution_travels_between_formats(tmp_path, source, samples, told, target):
    Image.fromarray(samples).save(tmp_path / f"a{source}", **told)
    write(tmp_path / f"b{target}", read(tmp_path / f"a{source}"))
    came = dots_per_inch(tmp_path / f"b{target}")
    if told:
        np.testing.assert_allclose(came, (300, 200), atol=0.02)
    else:
        assert came in ((), (1, 1))


@pytest.mark.parametrize("dots", [1e5, 1e9, 1e-3, 0])
def test_odd_resolutions_hinder_nothing(tmp_path, dots):
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, resolution=(dots, dots), resolutionunit="INCH")
    for suffix in SUFFIXES:
        write(tmp_path / f"b{suffix}", read(tmp_path / "a.tif"))
    if dots == 1e5:
        np.testing.assert_allclose(dots_per_inch(tmp_path / "b.png"), 1e5, rtol=1e-4)


def test_resolution_of_deep_files_travels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, resolution=(300, 300), resolutionunit="INCH")
    for before, after in (("a.tif", "b.png"), ("b.png", "c.tif"), ("c.tif", "d.jpg")):
        write(tmp_path / after, read(tmp_path / before))
        np.testing.assert_allclose(dots_per_inch(tmp_path / after), 300, atol=0.02)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_profile_longer_than_a_jpeg_segment(tmp_path, suffix):
    icc = SRGB + bytes(200_000)
    assert write(tmp_path / f"a{suffix}", replace(from_array(COLOUR), icc=icc)) == ()
    assert read(tmp_path / f"a{suffix}").icc == icc


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_profile_of_other_channels_is_dropped(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    assert write(path, replace(from_array(COLOUR), icc=GREY_PROFILE)) == (
        f"a{suffix}: ICC profile dropped, it is not for RGB",
    )
    assert read(path).icc is None
    grey = "RGB" if suffix == ".webp" else "grey"
    icc = GREY_PROFILE if suffix == ".webp" else SRGB
    assert write(path, replace(from_array(GREY), icc=icc)) == (
        f"a{suffix}: ICC profile dropped, it is not for {grey}",
    )
    assert read(path).icc is None


def test_exif_too_long_for_jpeg_is_dropped(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    picture = replace(from_array(COLOUR), exif=exif.tobytes())
    assert write(tmp_path / "a.jpg", picture) == ("a.jpg: EXIF dropped, it is too long for JPEG",)
    assert read(tmp_path / "a.jpg").exif is None
    assert write(tmp_path / "a.png", picture) == ()
    assert read(tmp_path / "a.png").exif is not None


def test_a_tiff_of_ours_says_nothing_by_itself(tmp_path):
    write(tmp_path / "a.tif", from_array(COLOUR))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert not {270, 305, 306} & set(tif.pages[0].tags.keys())


# ---------------------------------------------------------------------- places that cannot be written


@pytest.mark.parametrize("write_or_check", [check_output, lambda path: write(path, from_array(COLOUR))])
def test_output_is_checked_before_work(tmp_path, monkeypatch, write_or_check):
    for name in ("a.bmp", "a", "a.png.bak"):
        with pytest.raises(ImageError, match=r"expected one of \.png, \.jpg, \.jpeg, \.webp, \.tif, \.tiff, \.exr"):
            write_or_check(tmp_path / name)
    with pytest.raises(ImageError, match=r"there is no folder .*missing"):
        write_or_check(tmp_path / "missing" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=r"folder\.png is a folder"):
        write_or_check(tmp_path / "folder.png")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ImageError, match="write-protected"):
        write_or_check(tmp_path / "a.png")
    assert sorted(os.listdir(tmp_path)) == ["folder.png"]


def test_a_good_output_passes_and_leaves_nothing(tmp_path):
    assert check_output(tmp_path / "a.PNG") is None
    assert check_output(str(tmp_path / "a.tiff")) is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("suffix", "name"), [(".jpg", "JPEG"), (".webp", "WebP")])
def test_a_side_too_long_for_the_format(tmp_path, suffix, name):
    picture = from_array(np.zeros((65_501, 1), np.uint8))
    with pytest.raises(ImageError, match=f"1x65501 pixels, {name} ends at"):
        write(tmp_path / f"a{suffix}", picture)


def test_nan_is_not_written(tmp_path):
    pixels = np.full((2, 2, 3), np.nan, np.float32)
    with pytest.raises(ImageError, match="12 values of the result are NaN"):
        write(tmp_path / "a.tif", Picture(pixels))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"old")
    noise = from_array(np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(ImageError, match="could not be written"):
            write(target, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == [target.name]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("broken", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_nothing_is_left_of_a_write_that_stops(tmp_path, monkeypatch, broken):
    def stop(*_: object) -> None:
        assert len(os.listdir(tmp_path)) == 2, "the temporary file stands beside the target"
        raise broken

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(ImageError if isinstance(broken, OSError) else type(broken)):
        write(tmp_path / "a.png", from_array(COLOUR))
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_a_file_is_replaced_in_place_of_its_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "b.png").write_bytes(b"old")
    (tmp_path / "a.png").symlink_to(tmp_path / "real" / "b.png")
    write(tmp_path / "a.png", from_array(COLOUR))
    assert (tmp_path / "a.png").is_symlink()
    np.testing.assert_array_equal(samples_of(tmp_path / "real" / "b.png"), COLOUR)


@pytest.mark.skipif(os.name == "nt", reason="no permission bits")
def test_the_umask_sets_the_mode(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "a.png", from_array(COLOUR))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


def test_the_longest_names_can_be_written(tmp_path):
    name = "n" * 250 + ".png"
    write(tmp_path / name, from_array(COLOUR))
    assert os.listdir(tmp_path) == [name]


# ---------------------------------------------------------------------- band by band


def append_all(out: PictureWriter, *bands: np.ndarray, error: type[BaseException] | None = None) -> None:
    for rows in bands:
        out.append(rows)
    if error:
        raise error


def written_by_bands(path, samples: np.ndarray, step: int, **facts: object) -> tuple[str, ...]:
    height, width, channels = samples.shape
    size = {"height": height, "width": width, "channels": channels}
    with open_output(path, **size, depth=samples.dtype.name, **facts) as out:
        for top in range(0, height, step):
            out.append(samples[top : top + step])
    return out.notes


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".exr"])
@pytest.mark.parametrize("samples", [COLOUR, GREY[..., np.newaxis], DEEP, FLOAT, FLOAT[..., :1]])
@pytest.mark.parametrize("step", [1, 7, 64])
def test_bands_make_the_same_file_as_the_whole(tmp_path, monkeypatch, suffix, samples, step):
    monkeypatch.setattr(encode, "_STRIP_BYTES", 13 * 150 * 3)
    facts = {"icc": SRGB, "exif": camera_exif()}
    notes = written_by_bands(tmp_path / f"a{suffix}", samples, step, **facts)
    (tmp_path / "b").mkdir()
    assert write(tmp_path / "b" / f"a{suffix}", Picture(samples, **facts)) == notes
    both = [read(tmp_path / f"a{suffix}"), read(tmp_path / "b" / f"a{suffix}")]
    np.testing.assert_array_equal(*(np.asarray(picture.samples) for picture in both))
    assert len({(picture.depth, picture.grey, picture.icc, picture.exif) for picture in both}) == 1


def test_bands_of_pixels_and_of_samples_are_the_same(tmp_path):
    for name, step in {"a.tif": np.float32(1 / 65535), "b.tif": None}.items():
        with open_output(tmp_path / name, height=100, width=150, channels=3, depth="uint16") as out:
            out.append(DEEP if step is None else DEEP * step)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("samples", [COLOUR, DEEP, FLOAT, GREY[..., np.newaxis]])
def test_big_tiffs_are_read_by_others(tmp_path, monkeypatch, samples):
    monkeypatch.setattr(encode, "_CLASSIC_BYTES", samples.nbytes - 1)
    icc = GREY_PROFILE if samples.shape[2] == 1 else SRGB
    assert write(tmp_path / "a.tif", Picture(samples, icc=icc, exif=camera_exif())) == ()
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
        assert tif.pages[0].tags["ExifTag"].value["ISOSpeedRatings"] == 400
        assert tif.pages[0].tags[34675].value == icc
    np.testing.assert_array_equal(samples_of(tmp_path / "a.tif"), samples.squeeze())
    again = read(tmp_path / "a.tif")
    assert again.icc == icc
    exif = Image.Exif()
    exif.load(again.exif)
    assert_camera_exif(exif)


def test_classic_tiffs_stay_classic(tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_CLASSIC_BYTES", COLOUR.nbytes)
    write(tmp_path / "a.tif", Picture(COLOUR))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert not tif.is_bigtiff


def test_rows_have_to_fit_and_be_complete(tmp_path):
    size = {"height": 10, "width": 150, "channels": 3, "depth": "uint8"}
    for wrong in (COLOUR[:11], COLOUR[:2, :149], COLOUR[:2, :, :1], COLOUR[0]):
        with (
            pytest.raises(ImageError, match=r"expected \(10 or fewer, 150, 3\)"),
            open_output(tmp_path / "a.tif", **size) as out,
        ):
            out.append(wrong)
    with (
        pytest.raises(ImageError, match="got 9 rows, expected 10"),
        open_output(tmp_path / "a.tif", **size) as out,
    ):
        append_all(out, COLOUR[:9], COLOUR[:0])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_files_grow_as_the_bands_come(tmp_path, monkeypatch, suffix):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)  # so that the file on its way can be seen
    noise = np.random.default_rng(0).integers(0, 2**16, (64, 1000, 3)).astype(np.uint16)
    rows, sizes = 64 * 20, []
    tracemalloc.start()
    try:
        with open_output(tmp_path / f"a{suffix}", height=rows, width=1000, channels=3, depth="uint16") as out:
            for _ in range(20):
                out.append(noise)
                (part,) = tmp_path.iterdir()
                sizes.append(part.stat().st_size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * noise.nbytes, f"{peak} bytes for bands of {noise.nbytes}"
    assert not part.exists()
    assert sizes[0] < sizes[9] / 4 < sizes[19] / 7
    np.testing.assert_array_equal(samples_of(tmp_path / f"a{suffix}"), np.tile(noise, (20, 1, 1)))


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".exr"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_nothing_is_left_of_work_that_stops_between_bands(tmp_path, suffix, error):
    (tmp_path / f"a{suffix}").write_bytes(b"old")
    size = {"height": 100, "width": 150, "channels": 3, "depth": "uint8"}
    with pytest.raises(error), open_output(tmp_path / f"a{suffix}", **size) as out:
        append_all(out, COLOUR[:50], error=error)
    assert os.listdir(tmp_path) == [f"a{suffix}"]
    assert (tmp_path / f"a{suffix}").read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_a_program_told_to_end_between_bands_leaves_nothing(tmp_path):
    code = (
        "import os, signal, sys, numpy as np\n"
        "from defusion.imaging import open_output\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "with open_output(sys.argv[1], height=9, width=9, channels=3, depth='uint8') as out:\n"
        "    out.append(np.zeros((4, 9, 3), np.uint8))\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    out.append(np.zeros((5, 9, 3), np.uint8))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.tif")], check=False).returncode == 143
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_disk_that_fills_between_bands_is_told_once(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (100, 1000, 3)).astype(np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, hard))
    try:
        with pytest.raises(ImageError, match=rf"a\{suffix} could not be written \(File too large\); free some space"):
            written_by_bands(tmp_path / f"a{suffix}", np.tile(noise, (10, 1, 1)), 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_disk_without_room_is_told_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    size = {"height": 1000, "width": 1000, "channels": 3, "depth": "uint16"}
    for suffix in (".tif", ".png"):
        with (
            pytest.raises(ImageError, match="takes up to 6 MB, its disk has 1 MB free; free some space"),
            open_output(tmp_path / f"a{suffix}", **size),
        ):
            pytest.fail("the disk has no room")
    write(tmp_path / "a.jpg", Picture(np.zeros((1000, 1000, 3), np.uint16)))
    assert os.listdir(tmp_path) == ["a.jpg"]
