"""Frames of two clips matched by time."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from defusion.imaging import Picture, from_array
from defusion.video.clip import Shot, matched


class Made:
    """A clip with frames at some times."""

    count = None
    notes = ()

    def __init__(self, times: Sequence[Fraction], step: Fraction) -> None:
        self.name, self.times, self.step = "made", times, step

    def shots(self) -> Iterator[Shot]:
        for time in self.times:
            yield Shot(time, self.picture)

    def picture(self) -> Picture:
        return from_array(np.zeros((2, 2), np.uint8))


def steady(rate: int, frames: int) -> Made:
    return Made([Fraction(number, rate) for number in range(frames)], Fraction(1, rate))


def test_the_nearest_frame_is_taken_where_rates_differ() -> None:
    found = [(each.time, each.other.time) for each in matched(steady(30, 30), steady(9, 9))]
    assert len(found) == 30
    assert all(abs(lead - other) <= Fraction(1, 18) for lead, other in found[:-3])


def test_a_clip_that_began_later_has_no_frame_before() -> None:
    found = list(matched(steady(10, 20), steady(10, 5), offset=Fraction(1)))
    assert [each.time for each in found] == [Fraction(number, 10) for number in range(9, 16)]
    assert found[1].other.time == 0
    assert found[-1].other.time == Fraction(4, 10)


def test_frames_of_a_clip_of_variable_rate_are_matched_by_their_own_times() -> None:
    times = [Fraction(each, 100) for each in (0, 3, 4, 20, 21, 40)]
    found = [each.other.time for each in matched(Made(times, Fraction(4, 100)), steady(10, 5))]
    assert found == [Fraction(each, 10) for each in (0, 0, 0, 2, 2, 4)]


def test_no_frame_is_left_out_inside_a_clip_whose_rate_is_told_wrongly() -> None:
    thermal = Made([Fraction(number, 9) for number in range(9)], Fraction(1, 100))
    found = list(matched(Made([Fraction(number, 30) for number in range(30)], Fraction(1, 100)), thermal))
    assert len(found) == 30


def test_nothing_is_matched_with_a_clip_without_frames() -> None:
    assert list(matched(steady(10, 3), steady(10, 0))) == []
