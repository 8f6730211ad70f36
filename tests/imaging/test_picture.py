"""Arrays and pictures: depth, channels, range, rounding and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from defusion.errors import ImageError
from defusion.imaging import Picture, from_array, to_array
from defusion.imaging import samples as samples_module

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.sampled_from([size, (*size, 1), (*size, 3)])
)


def test_importing_the_room_loads_no_image_library():
    libraries = "{'cv2', 'PIL', 'tifffile', 'imagecodecs'}"
    code = f"import sys, defusion.imaging; print(sorted({libraries} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_integer_comes_back_exactly(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
    picture = from_array(values)
    assert picture.depth == values.dtype.name
    assert picture.pixels.min() == 0 and picture.pixels.max() == 1
    np.testing.assert_array_equal(to_array(picture, values), values)


@given(SHAPES.flatmap(lambda shape: arrays.arrays(st.sampled_from([np.uint8, np.uint16, np.bool_]), shape)))
def test_any_array_comes_back_in_its_own_form(array):
    picture = from_array(array)
    assert picture.pixels.dtype == np.float32 and picture.pixels.shape == (*array.shape[:2], 3)
    assert picture.grey == (array.ndim == 2 or array.shape[2] == 1)
    back = to_array(picture, array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_keep_their_values(dtype):
    array = np.linspace(0, 1, 24, dtype=dtype).reshape(2, 4, 3)
    picture = from_array(array)
    assert picture.depth == "float32"
    back = to_array(picture, array)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, array, atol=1e-7)


def test_depth_follows_the_dtype_not_the_values():
    assert from_array(np.full((2, 2), 3, np.uint16)).depth == "uint16"
    assert from_array(np.full((2, 2), 3, np.uint16)).pixels.max() == np.float32(3 / 65535)


def test_big_endian_and_strided_arrays_are_read_by_value():
    array = np.arange(96, dtype=">u2").reshape(4, 8, 3)[::-1, ::2]
    np.testing.assert_array_equal(to_array(from_array(array), array), array)


def test_integers_are_rounded_and_clipped():
    pixels = np.array([[[-0.5, 0.499 / 255, 0.501 / 255], [254.6 / 255, 1, 1.5]]], np.float32)
    assert to_array(Picture(pixels), np.zeros((1, 2, 3), np.uint8)).tolist() == [[[0, 0, 1], [255, 255, 255]]]


def test_floats_stay_as_they_are_among_floats():
    pixels = np.array([[[-0.5, 0.25, 1.5]]], np.float32)
    assert to_array(Picture(pixels), np.zeros((1, 1, 3))).tolist() == [[[-0.5, 0.25, 1.5]]]
    assert to_array(Picture(pixels), np.zeros((1, 1, 3), np.uint8)).tolist() == [[[0, 64, 255]]]


def test_floats_of_unknown_black_and_white_have_no_pixels():
    picture = from_array(np.array([[0.5, 1.5], [-0.1, 1.0]], np.float32))
    with pytest.raises(ImageError, match=r"floats from -0\.1 to 1\.5, expected \[0, 1\]"):
        picture.region(slice(None), slice(None))
    a_hair = from_array(np.array([[1.0000001, -1e-8]], np.float32))
    assert a_hair.region(slice(None), slice(None)).ravel().tolist() == [1, 0]


def test_colour_becomes_grey_by_its_luminance_when_the_array_is_grey():
    picture = from_array(np.array([[[255, 0, 0], [0, 255, 0], [255, 255, 255]]], np.uint8))
    assert to_array(picture, np.zeros((9, 9), np.uint8)).tolist() == [[76, 150, 255]]


def test_rgba_in_gives_rgb_out():
    array = np.zeros((2, 3, 4), np.uint8)
    assert to_array(from_array(array), array).shape == (2, 3, 3)


def test_alpha_is_noted_only_when_it_says_something():
    array = np.full((2, 2, 4), 255, np.uint8)
    assert from_array(array, "b").notes == ()
    array[0, 0, 3] = 254
    assert from_array(array, "b").notes == ("b: places of alpha 0 count for nothing",)
    array[..., 3] = 0
    assert from_array(array, "b").notes == ("b: alpha channel dropped",)
    assert from_array(np.ones((2, 2, 4), np.float32)).notes == ()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 2), 2**24), "int64"),
        (np.zeros((2, 2), np.complex64), "complex64"),
        (np.zeros((2, 2), np.longdouble), "longdouble|float128"),
        (np.zeros((2, 2), object), "object"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((2, 2, 2), np.uint8), r"\(2, 2, 2\)"),
        (np.zeros((2, 2, 5), np.uint8), r"\(2, 2, 5\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"\(1, 2, 2, 3\)"),
        (np.zeros((0, 2, 3), np.uint8), "no pixels"),
        (np.array([[0.5, np.nan], [np.inf, -np.inf]]), "3 NaN or infinite"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(array, words):
    with pytest.raises(ImageError, match=f"^mine .*({words})"):
        from_array(array, "mine")


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint32])
def test_other_whole_numbers_become_floats_of_the_same_values(dtype):
    array = (np.arange(24).reshape(4, 6) * 5 - 10 * np.issubdtype(dtype, np.signedinteger)).astype(dtype)
    picture = from_array(array, "ct")
    assert picture.depth == "float32" and picture.notes == (f"ct: {np.dtype(dtype)} samples read as floats",)
    np.testing.assert_array_equal(picture.samples[..., 0], array)


@pytest.mark.parametrize(
    "like", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 2)), np.zeros(3), np.zeros((2, 2), np.uint32)]
)
def test_an_array_of_no_picture_cannot_be_asked_for(like):
    with pytest.raises(ImageError, match="cannot be given as"):
        to_array(from_array(np.zeros((2, 2), np.uint8)), like)


def test_nan_is_never_rounded_to_a_number():
    pixels = np.zeros((2, 2, 3), np.float32)
    pixels[0, 0] = np.nan
    with pytest.raises(ImageError, match="3 values of the result are NaN"):
        to_array(Picture(pixels), np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 2, 3)),
        np.zeros((2, 2), np.float32),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((2, 2, 1), ">u2"),
    ],
)
def test_a_picture_of_wrong_samples_cannot_be_made(samples):
    with pytest.raises(ImageError, match="samples came as"):
        Picture(samples)


def test_samples_are_kept_as_they_came_without_a_copy():
    for dtype in (np.uint8, np.uint16, np.float32):
        array = np.zeros((4, 5, 4), dtype)
        picture = from_array(array)
        assert picture.samples.dtype == dtype and picture.samples.shape == (4, 5, 3)
        assert np.shares_memory(picture.samples, array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_region_is_part_of_the_pixels(dtype, channels):
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    array = (np.random.default_rng(0).random((20, 30, channels)) * full).astype(dtype)
    picture = from_array(array)
    region = picture.region(slice(3, 9), slice(5, None))
    assert region.dtype == np.float32 and region.shape == (6, 25, channels)
    np.testing.assert_array_equal(np.broadcast_to(region, (6, 25, 3)), picture.pixels[3:9, 5:])
    region[:] = 0
    assert array[3:9, 5:].max() > 0, "a region is the caller's own"


def test_size_is_told_as_people_say_it():
    picture = from_array(np.zeros((2, 3), np.uint8))
    assert (picture.height, picture.width, picture.size_text) == (2, 3, "3x2")


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_a_picture_of_pixels_has_the_depth_asked_for(depth):
    pixels = np.array([[[-0.5, 0.25, 1.5], [1, 1, 1]]], np.float32)
    picture = Picture.of_pixels(pixels, depth, icc=b"i", exif=b"e")
    assert (picture.depth, picture.grey, picture.icc, picture.exif) == (depth, False, b"i", b"e")
    np.testing.assert_allclose(picture.pixels, np.clip(pixels, 0, 1), atol=0.5 / 255)
    grey = Picture.of_pixels(pixels, depth, grey=True)
    assert grey.grey
    np.testing.assert_array_equal(grey.pixels, np.repeat(picture.pixels[..., :1], 3, axis=2))
    assert Picture.of_pixels(pixels[..., 1:2], depth).grey


def test_no_picture_is_made_of_nan():
    with pytest.raises(ImageError, match="NaN"):
        Picture.of_pixels(np.full((1, 1, 3), np.nan, np.float32), "float32")


@pytest.mark.parametrize("band_px", [1, 7, 64])
@pytest.mark.parametrize("like", [np.uint8, np.uint16, np.float32, np.float64, ">u2", bool])
def test_conversion_by_bands_is_that_of_the_whole(monkeypatch, band_px, like):
    array = np.random.default_rng(0).integers(0, 65536, (9, 13, 3)).astype(np.uint16)
    whole = {shape: to_array(from_array(array), np.zeros(shape, like)) for shape in ((1, 1), (1, 1, 3))}
    monkeypatch.setattr(samples_module, "_BAND_PX", band_px)
    for shape, expected in whole.items():
        np.testing.assert_array_equal(to_array(from_array(array), np.zeros(shape, like)), expected)
