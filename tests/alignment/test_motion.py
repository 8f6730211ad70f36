"""What moves in a bracket is shown as one frame shows it; what holds still stays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from defusion import Fuser, OptionError
from defusion.alignment.motion import reference_of, repaired, repairs
from defusion.imaging import Picture, from_array
from defusion.scene.frame import Frame

Pixels = NDArray[np.float32]


def bracket(photo: Pixels) -> list[Pixels]:
    """Three exposures, two stops apart, with noise of their own."""
    rng = np.random.default_rng(1)
    light = 0.4 * photo**2.2
    frames = [np.clip(light * 2.0**stop, 0, 1) ** (1 / 2.2) for stop in (-2, 0, 2)]
    return [np.clip(each + rng.normal(0, 0.005, each.shape), 0, 1).astype(np.float32) for each in frames]


def with_movers(frames: list[Pixels]) -> tuple[list[Pixels], NDArray[np.bool_]]:
    """Each frame but the reference shows a disk from elsewhere, at a place of its own."""
    moved = [frame.copy() for frame in frames]
    places = np.zeros(frames[0].shape[:2], bool)
    y, x = np.mgrid[:60, :60]
    disk = (y - 30) ** 2 + (x - 30) ** 2 < 900
    for index, (top, left) in ((0, (60, 80)), (2, (250, 340))):
        moved[index][top : top + 60, left : left + 60][disk] = frames[index][150:210, 260:320][disk]
        places[top : top + 60, left : left + 60] |= disk
    return moved, places


def pictures(frames: list[Pixels]) -> list[Picture]:
    return [from_array(np.rint(frame * 65535).astype(np.uint16)) for frame in frames]


def test_movers_are_shown_as_the_reference_shows_them(photo: Pixels) -> None:
    frames = bracket(photo)
    moved, places = with_movers(frames)
    assert reference_of(frames) == 1
    found = repairs(moved, "high")
    assert found[1].mask is None
    given = pictures(moved)
    for index in (0, 2):
        mended = repaired(given.__getitem__, index, found)
        off, was_off = (np.abs(each - frames[index]) for each in (mended.pixels, moved[index]))
        assert off[places].mean() < 0.1 * was_off[places].mean()
        mask = found[index].mask
        assert mask is not None
        away = np.ones_like(places)
        away[40:140, 60:160] = away[230:330, 320:420] = False
        np.testing.assert_array_equal(np.asarray(mended.samples)[away], np.asarray(given[index].samples)[away])
        np.testing.assert_array_equal(mended.samples[70:90, 90:200], np.asarray(mended.samples)[70:90, 90:200])


def test_the_reference_has_neither_many_black_places_nor_many_white_ones(photo: Pixels) -> None:
    frames = bracket(photo)
    black, white = frames[1].copy(), frames[1].copy()
    black[:200], white[:80] = 0, 1
    assert reference_of([black, white]) == 1
    white[80:240] = 1
    assert reference_of([black, white]) == 0


def test_a_bracket_that_holds_still_is_left_alone(photo: Pixels) -> None:
    assert all(each.mask is None for each in repairs(bracket(photo), "high"))


def test_fusing_deghosts_three_exposures_and_says_where(photo: Pixels) -> None:
    small = np.ascontiguousarray(photo[:, 60:480])
    frames = bracket(small)
    moved, places = with_movers(frames)
    named = [Frame.of(f"{number}.tif", picture) for number, picture in enumerate(pictures(moved))]
    made, plain = (Fuser(task="exposure", align="off", deghost=how).fuse_frames(named) for how in ("auto", "off"))
    assert sorted(made.ghosts) == ["0.tif", "2.tif"] and not plain.ghosts
    assert sum("something moved" in note for note in made.notes) == 2
    truth = Fuser(task="exposure", align="off", deghost="off").fuse(pictures(frames)).pixels
    off, was_off = (np.abs(each.picture().pixels - truth)[places].mean() for each in (made, plain))
    assert off < 0.15 * was_off
    with pytest.raises(OptionError, match="deghost came as 'some'"):
        Fuser(deghost="some")


def test_what_a_frame_lacks_does_not_count_as_moved(photo: Pixels) -> None:
    frames = bracket(photo)
    there = np.ones(photo.shape[:2], np.bool_)
    there[:40] = there[:, -60:] = False
    for frame in (frames[0], frames[2]):
        frame[~there] = 0
    assert any(each.mask is not None for each in repairs(frames, "high"))
    found = repairs(frames, "high", [there, None, there])
    assert all(each.mask is None for each in found)


def test_what_is_behind_somebody_before_a_window_is_shown(photo: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    light = 0.1 * (0.3 + 0.7 * photo) ** 2.2 * 60 ** (np.linspace(0, 1, 600)[:, None] ** 2)
    frames = [np.clip(light * 2.0**stop, 0, 1).astype(np.float32) ** np.float32(1 / 2.2) for stop in (-4, -2, 0)]
    place = slice(140, 180), slice(535, 590)
    assert frames[2][place].max(2).min() > 0.97  # white in the reference
    monkeypatch.setattr("defusion.alignment.motion.reference_of", lambda _: 2)
    moved = [frame.copy() for frame in frames]
    moved[1][place] = 0.1
    found = repairs(moved, "high")
    assert found[0].mask is None
    mended = repaired(pictures(moved).__getitem__, 1, found).pixels
    off, was_off = (np.abs(each - frames[1])[place].mean() for each in (mended, moved[1]))
    assert off < 0.05 * was_off
