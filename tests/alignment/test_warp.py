"""Frames warped where they are looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from defusion.alignment.geometry import Shape, enlarged, shifted
from defusion.alignment.warp import Warped, common_area, covered, warped_picture
from defusion.imaging import from_array

Pixels = NDArray[np.float32]
Move = Callable[..., Pixels]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_region_is_what_the_whole_shows_there(photo: Pixels, handheld: NDArray[np.float64], dtype: type) -> None:
    samples = photo if dtype == np.float32 else np.rint(photo * np.iinfo(dtype).max).astype(dtype)
    warped = Warped(samples, handheld, Shape(380, 560))
    whole = np.asarray(warped)
    assert whole.dtype == dtype
    rounding = {np.uint8: 0, np.uint16: 1, np.float32: 3e-6}[dtype]
    for region in ((slice(37, 101), slice(250, 431)), (slice(5, 300, 7), slice(3, 500, 11))):
        np.testing.assert_allclose(warped[region].astype(float), whole[region].astype(float), rtol=0, atol=rounding)


def test_a_frame_warped_back_is_the_picture_again(photo: Pixels, handheld: NDArray[np.float64], moved: Move) -> None:
    frame = np.rint(moved(photo, handheld) * 65535).astype(np.uint16)
    back = np.asarray(Warped(frame, handheld, Shape(400, 600)))[20:-20, 20:-20] / 65535
    assert np.sqrt(((back - photo[20:-20, 20:-20]) ** 2).mean()) < 0.01


def test_whole_pixels_are_cut_out_and_not_interpolated(photo: Pixels) -> None:
    warped = Warped(photo, shifted(13, 7), Shape(300, 500))
    np.testing.assert_array_equal(np.asarray(warped), photo[7:307, 13:513])


def test_a_much_finer_frame_does_not_alias() -> None:
    stripes = np.zeros((256, 256, 1), np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: grey
    warped = np.asarray(Warped(stripes, enlarged(4, 4), Shape(64, 64)))
    assert warped.min() >= 126 and warped.max() <= 129


def test_what_a_frame_does_not_cover_has_no_confidence(photo: Pixels) -> None:
    picture = warped_picture(from_array(photo), shifted(-20.5, 0), Shape(400, 600))
    confidence = picture.confidence(slice(None), slice(None))
    assert confidence is not None
    assert confidence[:, :20].max() == 0 and confidence[:, 21:].min() == 1
    inside = warped_picture(from_array(photo), shifted(20.5, 3.5), Shape(390, 500))
    assert inside.confidence(slice(None), slice(None)) is None


def test_alpha_is_warped_along() -> None:
    rgba = np.full((40, 60, 4), 200, np.uint8)
    rgba[:, :30, 3] = 0
    picture = warped_picture(from_array(rgba), shifted(10, 0), Shape(40, 40))
    confidence = picture.confidence(slice(None), slice(None))
    assert confidence is not None
    assert confidence[:, :18].max() < 0.2 and confidence[:, 22:].min() > 0.7


def test_an_unmoved_picture_is_the_picture_itself(photo: Pixels) -> None:
    picture = from_array(photo)
    assert warped_picture(picture, np.eye(3), Shape(400, 600)) is picture


def test_the_common_area_is_covered_by_all(handheld: NDArray[np.float64]) -> None:
    shape = Shape(400, 600)
    matrices = [np.eye(3), handheld, shifted(-30, 12)]
    area = common_area(matrices, [shape] * 3, shape)
    assert area is not None
    rows, columns = area
    corners = np.array(
        [[x, y] for x in (columns.start, columns.stop - 1) for y in (rows.start, rows.stop - 1)], float
    )
    assert all(covered(matrix, shape, shape, corners).all() for matrix in matrices)
    assert (rows.stop - rows.start) * (columns.stop - columns.start) > 0.85 * 400 * 600
    assert common_area([np.eye(3), shifted(700, 0)], [shape] * 2, shape) is None


def test_fine_detail_keeps_its_contrast_between_samples() -> None:
    x = np.arange(240.0)
    waves = (0.5 + 0.4 * np.cos(0.8 * np.pi * x))[None, :, None].repeat(240, 0).astype(np.float32)
    for waves_of, shift in ((waves, shifted(0.5, 0.5)), (waves.transpose(1, 0, 2), shifted(0.3, 0.5))):
        made = np.asarray(Warped(np.ascontiguousarray(waves_of), shift, Shape(200, 200)))[20:-20, 20:-20]
        assert made.std() > 0.95 * waves[:, 20:180].std()  # Lanczos interpolation of 8x8 samples keeps .79
