"""What a clip is, whatever holds it: frames with the time at which they were taken; and two of them matched by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol

from defusion.imaging import Picture


class Shot(NamedTuple):
    """A frame of a clip."""

    time: Fraction
    """Seconds from the beginning of the clip."""
    open: Callable[[], Picture]
    """Makes the picture, while the clip has not gone on to the next but one."""


class Clip(Protocol):
    """Frames in the order of their time."""

    name: str
    step: Fraction
    """Seconds from a frame to the next, mostly."""
    count: int | None
    """About how many frames there are, if that can be told."""
    notes: tuple[str, ...]
    """What a user has to know once the frames have been read, one short sentence each."""

    def shots(self) -> Iterator[Shot]:
        """Reads the frames, from the first on.

        Raises:
            ImageError: The clip cannot be read, or no frame of it.
        """
        ...


class Matched(NamedTuple):
    """Two frames of about one time."""

    time: Fraction
    """Of the frame that leads."""
    lead: Shot
    other: Shot


def matched(lead: Clip, other: Clip, offset: Fraction = Fraction(0)) -> Iterator[Matched]:
    """Finds for each frame of the one clip the frame of the other that is nearest in time.

    Frames before the other clip begins, or after it has ended, by more than it takes from frame to frame, have none.

    Args:
        lead: Its times are the result's.
        other: Frames per second may differ.
        offset: Seconds by which the other clip began later.
    """
    others = other.shots()
    before = after = next(others, None)
    slack = max(lead.step, other.step)
    for shot in lead.shots():
        if before is None:
            return
        time = shot.time - offset
        while after is not None and after.time <= time:
            before, after = after, next(others, None)
        nearest = before
        if after is not None and abs(after.time - time) < abs(before.time - time):
            nearest = after
        if nearest.time - time > slack:
            continue
        if time - nearest.time > slack and after is None:
            return
        yield Matched(shot.time, shot, nearest)
