"""Numbered images as clips."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from defusion import ImageError
from defusion.imaging import from_array, write
from defusion.video.sequence import Sequence, is_sequence, share_numbers

RATE = Fraction(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (9, 10, 12):
        write(tmp_path / f"ir_{number}.png", from_array(np.full((4, 4), number, np.uint8)))
    (tmp_path / "notes.txt").write_text("none of them")
    return tmp_path


def test_a_number_that_is_missing_is_a_frame_that_was_dropped(folder: Path) -> None:
    shots = list(Sequence(str(folder), RATE).shots())
    assert [shot.time for shot in shots] == [0, Fraction(1, 10), Fraction(3, 10)]
    assert [int(np.asarray(shot.open().samples)[0, 0, 0]) for shot in shots] == [9, 10, 12]


@pytest.mark.parametrize("pattern", ["ir_*.png", "ir_%d.png", "ir_%02d.png", "ir_1?.png"])
def test_a_pattern_names_images(folder: Path, pattern: str) -> None:
    assert is_sequence(str(folder / pattern))
    assert Sequence(str(folder / pattern), RATE).count == (2 if "?" in pattern else 3)


def test_equal_numbers_are_equal_times_in_both_clips(folder: Path) -> None:
    late, whole = Sequence(str(folder / "ir_1*.png"), RATE), Sequence(str(folder), RATE)
    share_numbers(late, whole)
    assert [shot.time for shot in late.shots()] == [Fraction(1, 10), Fraction(3, 10)]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no pictures"):
        Sequence(str(tmp_path), RATE)
