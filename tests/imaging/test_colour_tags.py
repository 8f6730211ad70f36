"""What files say of their colours without an ICC profile: read, kept, and the same as the profile that says so."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from defusion.imaging import in_profile_of, read, write
from defusion.imaging.colour_tags import Cicp, cicp_of_profile, linear_profile, profile_of_cicp
from defusion.imaging.tone import Levels, is_linear, light, perceptual

COLOUR = data.astronaut()[40:140, 100:250]
DEEP = COLOUR.astype(np.uint16) * 257
SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3_PRIMARIES = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def png(path: Path, samples: np.ndarray, **chunks: bytes) -> Path:
    plain = imagecodecs.png_encode(np.ascontiguousarray(samples))
    added = b"".join(
        struct.pack(">I", len(body)) + kind.encode() + body + struct.pack(">I", zlib.crc32(kind.encode() + body))
        for kind, body in chunks.items()
    )
    path.write_bytes(plain[:33] + added + plain[33:])
    return path


def gama(exponent: float) -> bytes:
    return struct.pack(">I", round(1e5 / exponent))


def chrm(numbers: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(1e5 * each) for each in numbers))


@pytest.mark.parametrize("samples", [COLOUR, DEEP], ids=["8", "16"])
@pytest.mark.parametrize("exponent", [1.0, 1.8])
def test_a_png_of_another_exponent_shows_the_same_picture(tmp_path, samples, exponent):
    full = np.iinfo(samples.dtype).max
    of_light = light((samples / full).astype(np.float32))
    other = np.rint(of_light ** (1 / exponent) * full).astype(samples.dtype)
    picture = read(png(tmp_path / "a.png", other, gAMA=gama(exponent)))
    assert picture.notes == ("a.png: colours are what its gAMA says, which is kept as an ICC profile",)
    assert is_linear(picture.icc) == (exponent == 1)
    plain = read(png(tmp_path / "b.png", samples, sRGB=b"\0"))
    assert (plain.icc, plain.notes) == (None, ())
    bright = samples > full // 8  # eight bits of light are few in the dark
    off = np.abs(in_profile_of(picture, plain).pixels - plain.pixels)
    assert off[bright].max() < 0.02


def test_other_primaries_are_kept(tmp_path):
    told = {"gAMA": gama(2.2), "cHRM": chrm(P3_PRIMARIES)}
    picture = read(png(tmp_path / "a.png", DEEP, **told))
    assert picture.notes == ("a.png: colours are what its gAMA and cHRM says, which is kept as an ICC profile",)
    p3 = read(png(tmp_path / "b.png", DEEP, cICP=bytes([12, 13, 0, 1])))
    assert in_profile_of(picture, p3) is picture
    assert in_profile_of(picture, read(png(tmp_path / "c.png", DEEP))) is not picture


@pytest.mark.parametrize(
    "chunks",
    [{"gAMA": gama(2.2)}, {"gAMA": gama(2.2), "cHRM": chrm(SRGB_PRIMARIES)}, {"cICP": bytes([1, 13, 0, 1])}],
    ids=["gAMA", "cHRM", "cICP"],
)
def test_srgb_in_other_words_needs_no_profile(tmp_path, chunks):
    picture = read(png(tmp_path / "a.png", DEEP, **chunks))
    assert (picture.icc, picture.notes) == (None, ())


@pytest.mark.parametrize("samples", [COLOUR, DEEP], ids=["8", "16"])
@pytest.mark.parametrize("transfer", [16, 18])
def test_pq_and_hlg_travel_through_a_png(tmp_path, samples, transfer):
    picture = read(png(tmp_path / "a.png", samples, cICP=bytes([9, transfer, 0, 1]), gAMA=gama(2.2)))
    write(tmp_path / "b.png", picture)
    content = (tmp_path / "b.png").read_bytes()
    assert b"cICP" + bytes([9, transfer, 0, 1]) in content
    again = read(tmp_path / "b.png")
    assert again.icc == picture.icc
    np.testing.assert_array_equal(again.samples, picture.samples)
    write(tmp_path / "c.tif", picture)
    assert cicp_of_profile(read(tmp_path / "c.tif").icc) == bytes([9, transfer, 0, 1])


def test_samples_that_leave_room_at_both_ends(tmp_path):
    picture = read(png(tmp_path / "a.png", COLOUR, cICP=bytes([9, 16, 0, 0])))
    assert picture.levels == Levels(16, 235)


@pytest.mark.parametrize("numbers", [(2, 2), (9, 99), (200, 13)])
def test_unknown_code_points_make_no_profile(numbers):
    assert profile_of_cicp(Cicp(*numbers)) is None


@pytest.mark.parametrize("grey", [True, False])
def test_a_tiffs_transfer_function_is_its_curve(tmp_path, grey):
    linear = np.arange(65536, dtype=np.uint16)
    samples_for_eyes = DEEP[..., 0] if grey else DEEP
    samples = np.rint(light((samples_for_eyes / 65535).astype(np.float32)) * 65535).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples,
        photometric="minisblack" if grey else "rgb",
        extratags=[(301, 3, 65536, tuple(linear.tolist()), True)],
    )
    picture = read(tmp_path / "a.tif")
    assert is_linear(picture.icc)
    assert picture.notes == ("a.tif: colours are what its tags say, which is kept as an ICC profile",)
    expected = read(png(tmp_path / "b.png", samples_for_eyes)).pixels
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-3)


def test_a_tiffs_primaries_are_kept(tmp_path):
    numbers = [round(1000 * each) for each in P3_PRIMARIES[2:]]
    white = [(round(1e4 * each), 10000) for each in P3_PRIMARIES[:2]]
    tags = [
        (318, 5, 2, tuple(value for pair in white for value in pair), True),
        (319, 5, 6, tuple(value for number in numbers for value in (number, 1000)), True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb", extratags=tags)
    picture = read(tmp_path / "a.tif")
    p3 = read(png(tmp_path / "b.png", DEEP, cICP=bytes([12, 13, 0, 1])))
    assert in_profile_of(picture, p3) is picture and picture.icc is not None


def test_adobe_rgb_by_exif_alone(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=exif)
    picture = read(tmp_path / "a.jpg")
    assert "a.jpg: colours are Adobe RGB by its EXIF, which is kept as an ICC profile" in picture.notes
    reference = read(tmp_path / "a.jpg").samples
    plain = in_profile_of(picture, read(png(tmp_path / "b.png", COLOUR)))
    assert np.abs(np.asarray(plain.samples).astype(int) - reference).max() > 5


def test_light_and_back():
    of_light = np.concatenate([[0], np.geomspace(1e-5, 100, 300)]).astype(np.float32)
    np.testing.assert_allclose(light(perceptual(of_light)), of_light, rtol=2e-4)
    assert (np.diff(perceptual(of_light)) > 0).all()
    assert is_linear(linear_profile())
    assert not is_linear(None)
    assert not is_linear(b"no profile" * 30)
