"""Sources converted to the first one's colour profile: how exactly, by regions, and what is left alone."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from PIL import ImageCms
from skimage import data

from defusion.imaging import Picture, from_array, in_profile_of, read, write

COLOUR = data.astronaut()[40:140, 100:250]
DEEP = COLOUR.astype(np.uint16) * 257 + np.arange(150, dtype=np.uint16)[:, np.newaxis] % 200
FLOAT = DEEP * np.float32(1 / 65535)
DEPTHS = ["8-bit", "16-bit", "float"]
# A made profile holds the second of its making, so tests that take one are named by hand: ids must not change.
SRGB = imagecodecs.cms_profile("srgb")
OTHER_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = imagecodecs.cms_profile("adobergb")
GREY = imagecodecs.cms_profile("gray")
#: The primaries and white point of Display P3.
P3 = imagecodecs.cms_profile(
    "rgb", whitepoint=(0.3127, 0.329, 1), primaries=(0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1), gamma=2.2
)


def matrix(primaries: list[tuple[float, float]]) -> np.ndarray:
    """RGB to XYZ, of primaries under D65."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([0.3127 / 0.329, 1, (1 - 0.3127 - 0.329) / 0.329])
    return columns * np.linalg.solve(columns, white)


def adobe_of_srgb(pixels: np.ndarray) -> np.ndarray:
    """Adobe RGB (1998) by its definition, written here from the standards' figures."""
    pixels = pixels.astype(np.float64)
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    srgb = matrix([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)])
    adobe = matrix([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)])
    return np.clip(linear @ (np.linalg.inv(adobe) @ srgb).T, 0, 1) ** (256 / 563)


def with_profile(samples: np.ndarray, icc: bytes | None) -> Picture:
    return Picture(samples, icc=icc)


@pytest.mark.parametrize(("samples", "step"), [(COLOUR, 1 / 255), (DEEP, 1e-3), (FLOAT, 1e-3)], ids=DEPTHS)
def test_colours_go_where_the_standard_says(samples, step):
    converted = in_profile_of(with_profile(samples, None), with_profile(samples, ADOBE), "b")
    assert converted.icc == ADOBE
    assert converted.samples.dtype == samples.dtype
    assert converted.notes == ("b: colours converted to the profile of the first source",)
    expected = adobe_of_srgb(from_array(samples).pixels)
    assert np.abs(converted.pixels - expected).max() < step
    assert np.abs(expected - from_array(samples).pixels).max() > 0.05, "the test has colours that move"


@pytest.mark.parametrize("there", [ADOBE, P3], ids=["adobe", "p3"])
@pytest.mark.parametrize(
    ("samples", "most", "typical"), [(COLOUR, 4, 0.35), (DEEP, 0.05, 0.001), (FLOAT, 0.05, 0.001)], ids=DEPTHS
)
def test_colours_come_back(samples, there, most, typical):
    away = in_profile_of(with_profile(samples, None), with_profile(samples, there))
    back = in_profile_of(away, with_profile(samples, None))
    assert back.icc is None
    off = np.abs(back.pixels - from_array(samples).pixels) * 255
    # At 8 bits the dark end of a wide space has fewer steps than there were.
    assert off.max() < most and off.mean() < typical


def test_regions_are_those_of_the_whole():
    converted = in_profile_of(with_profile(DEEP, P3), with_profile(DEEP, ADOBE))
    whole = np.asarray(converted.samples)
    np.testing.assert_array_equal(converted.samples[7:50:3, 20:90], whole[7:50:3, 20:90])
    np.testing.assert_array_equal(
        converted.region(slice(99, 100), slice(None)), from_array(whole).region(slice(99, 100), slice(None))
    )


def test_converted_pictures_can_be_written(tmp_path):
    converted = in_profile_of(with_profile(DEEP, P3), with_profile(DEEP, ADOBE))
    write(tmp_path / "a.tif", converted)
    again = read(tmp_path / "a.tif")
    assert again.icc == ADOBE
    np.testing.assert_array_equal(again.samples, np.asarray(converted.samples))


@pytest.mark.parametrize(
    ("mine", "firsts"),
    [(None, None), (ADOBE, ADOBE), (None, SRGB), (OTHER_SRGB, SRGB), (SRGB, None)],
    ids=["none", "adobe", "none-srgb", "two-srgbs", "srgb-none"],
)
def test_profiles_that_mean_the_same_change_nothing(mine, firsts):
    picture = with_profile(DEEP, mine)
    assert in_profile_of(picture, with_profile(DEEP, firsts)) is picture


def test_a_grey_first_source_says_nothing_of_colour():
    first = with_profile(DEEP[..., :1], GREY)
    srgb = with_profile(DEEP, None)
    assert in_profile_of(srgb, first) is srgb
    converted = in_profile_of(with_profile(DEEP, ADOBE), first, "b")
    assert (converted.icc, converted.notes) == (None, ("b: colours converted to sRGB",))
    assert np.abs(converted.pixels - from_array(DEEP).pixels).max() > 0.01


def grey_profile(gamma: float) -> bytes:
    return imagecodecs.cms_profile("gray", whitepoint=(0.3127, 0.329, 1.0), gamma=gamma)


@pytest.mark.parametrize("mine", [1.0, 1.8], ids=["linear", "1.8"])
@pytest.mark.parametrize("firsts", [None, 2.2, "adobe"])
@pytest.mark.parametrize(("samples", "step"), [(DEEP, 1e-3), (FLOAT, 1e-3)], ids=DEPTHS[1:])
def test_grey_goes_to_the_tones_of_the_first(samples, step, mine, firsts):
    first = with_profile(DEEP, ADOBE) if firsts == "adobe" else with_profile(DEEP[..., :1], None)
    if firsts == 2.2:
        first = with_profile(DEEP[..., :1], grey_profile(2.2))
    grey = with_profile(samples[..., :1], grey_profile(mine))
    converted = in_profile_of(grey, first, "b")
    assert converted.notes == (f"b: tones converted to {'the profile of the first source' if firsts else 'sRGB'}",)
    light = np.asarray(samples[..., :1], np.float64) / (1 if samples.dtype.kind == "f" else 65535)
    light = light**mine
    expected = light ** (1 / {None: 1, 2.2: 2.2, "adobe": 563 / 256}[firsts])
    if firsts is None:
        expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    found = np.asarray(converted.samples) / (1 if samples.dtype.kind == "f" else 65535)
    assert converted.grey and converted.samples.dtype == samples.dtype
    assert np.abs(found - expected).max() < step


def test_a_grey_picture_with_a_profile_for_colours_has_its_greys():
    linear = imagecodecs.cms_profile(
        "rgb", whitepoint=(0.3127, 0.329, 1), primaries=(0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1), gamma=1.0
    )
    converted = in_profile_of(with_profile(FLOAT[..., :1], linear), with_profile(FLOAT, None))
    light = FLOAT[..., :1]
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(converted.samples, expected, atol=1e-3)


@pytest.mark.parametrize("broken", [b"no profile" * 30, GREY, ADOBE[:200]], ids=["text", "grey", "cut"])
def test_a_profile_that_cannot_be_used_is_told(broken):
    for picture, first in (
        (with_profile(DEEP, broken), with_profile(DEEP, ADOBE)),
        (with_profile(DEEP, ADOBE), with_profile(DEEP, broken)),
    ):
        left = in_profile_of(picture, first, "b")
        assert left.notes == ("b: colour profile cannot be used, colours left as they are",)
        assert left.icc == picture.icc
        np.testing.assert_array_equal(left.samples, DEEP)
