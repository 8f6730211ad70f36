"""Small copies are every nth pixel, however the bands come."""

import numpy as np
import pytest

from defusion.imaging import from_array
from defusion.imaging.picture import Picture
from defusion.imaging.thumbnail import Thumbnail, thumbnail_of
from defusion.imaging.tone import Levels

SAMPLES = np.random.default_rng(0).integers(0, 256, (101, 67, 3)).astype(np.uint8)


@pytest.mark.parametrize("longest", [1, 20, 101, 500])
@pytest.mark.parametrize("band", [1, 7, 101])
def test_bands_give_what_the_whole_gives(longest: int, band: int) -> None:
    small = Thumbnail(101, 67, longest)
    for top in range(0, 101, band):
        small.add(SAMPLES[top : top + band])
    assert max(small.samples.shape[:2]) <= longest
    np.testing.assert_array_equal(small.samples, thumbnail_of(from_array(SAMPLES), longest))


def test_levels_are_black_and_white_and_what_is_no_number_is_black() -> None:
    picture = Picture(np.float32([[[20.0], [np.nan], [30.0], [40.0]]]), levels=Levels(20, 40))
    assert thumbnail_of(picture, 4).ravel().tolist() == [0, 0, 128, 255]
