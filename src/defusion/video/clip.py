"""A clip, in whatever form: frames with the times at which they were taken. Two clips are matched by these times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol

from defusion.imaging import Picture


class Shot(NamedTuple):
    """A frame of a clip."""

    time: Fraction
    """Seconds from the start of the clip."""
    open: Callable[[], Picture]
    """Returns the picture; may be called in any thread."""


class Clip(Protocol):
    """Frames in the order of their times."""

    name: str
    step: Fraction
    """Usual time from one frame to the next, in seconds."""
    count: int | None
    """About how many frames there are; None if unknown."""
    notes: tuple[str, ...]
    """What a user has to know, one short sentence each. Complete once all frames have been read."""

    def shots(self) -> Iterator[Shot]:
        """Yields the frames from the start.

        Raises:
            ImageError: The clip, or all of its frames, cannot be read.
        """
        ...


class Matched(NamedTuple):
    """Two frames taken at about the same time."""

    time: Fraction
    """Time of the frame that leads."""
    lead: Shot
    other: Shot


def matched(lead: Clip, other: Clip, offset: Fraction = Fraction(0)) -> Iterator[Matched]:
    """Yields for each frame of one clip the frame of the other that is nearest in time.

    A frame earlier or later than all of the other clip, by more than the time between two frames, is left out.

    Args:
        lead: The clip whose times the result has.
        other: The other clip; its frame rate may differ.
        offset: How many seconds later the other clip starts.
    """
    others = other.shots()
    first = before = after = next(others, None)
    slack = max(lead.step, other.step)
    for shot in lead.shots():
        if first is None or before is None:
            return
        time = shot.time - offset
        while after is not None and after.time <= time:
            slack = max(lead.step, other.step, after.time - before.time)  # the rate may vary, or be stated wrongly
            before, after = after, next(others, None)
        nearest = before
        if after is not None and abs(after.time - time) < abs(before.time - time):
            nearest = after
        if first.time - time > slack:
            continue
        if time - nearest.time > slack and after is None:
            return
        yield Matched(shot.time, shot, nearest)
