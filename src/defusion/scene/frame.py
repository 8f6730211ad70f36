"""A source by name, opened when it is needed, and what its samples stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from defusion.imaging import Picture, as_temperature
from defusion.imaging.colour_tags import linear_profile
from defusion.imaging.levels import Used
from defusion.imaging.picture import Measured
from defusion.imaging.tone import Levels
from defusion.scene.shelf import Shelf

#: Unit of grey samples, by the kind of levels, if the file does not name one.
_UNITS = {"bits": "counts", "counts": "counts", "units": "as stored"}
_NO_LIGHT = Measured("as stored")


class Frame(NamedTuple):
    """A source by name; it is opened when it is needed."""

    name: str
    open: Callable[[], Picture]
    black_hot: bool = False
    """It shows warm things dark."""
    true_colours: bool = False
    """Its colours do not stand for temperature, even if they look like it. This holds for PET and SPECT."""
    at_hand: bool = False
    """Its picture is kept, in memory or in a temporary file, so opening takes hardly any time."""

    def kept(self) -> Frame:
        """Opens the frame now and keeps its picture in memory."""
        picture = self.open()
        return self._replace(open=lambda: picture, at_hand=True)

    def as_temperature(self, palette: str) -> Frame:
        """Returns the frame with false colour converted back to temperature."""
        return self._replace(open=lambda: as_temperature(self.open(), palette, self.name), at_hand=False)

    def meant(self, meaning: Meaning) -> Frame:
        """Returns the frame with the given meaning of its samples."""
        return self._replace(open=lambda: meaning.of(self.open()))

    @classmethod
    def of(cls, name: str, picture: Picture) -> Frame:
        """Makes a frame from a picture in memory."""
        return cls(name, lambda: picture, at_hand=True)


def kept(frames: Sequence[Frame]) -> list[Frame]:
    """Returns the frames of a stack such that each is decoded or computed once, when it is first opened."""
    shelf = Shelf(len(frames))

    def once(frame: Frame) -> Callable[[], Picture]:
        held: list[Picture] = []

        def opened() -> Picture:
            if held:
                return held[0]
            picture = frame.open()
            there = shelf.keep(picture)
            if there is not None:
                held.append(there)
            return there or picture

        return opened

    return [frame if frame.at_hand else frame._replace(open=once(frame), at_hand=True) for frame in frames]


class Meaning(NamedTuple):
    """What the samples of a frame stand for."""

    levels: Levels | None
    is_light: bool
    """Samples are proportional to light, even if no profile says so."""
    measured: Measured | None = None
    """Samples are measurements, even if the file does not say so."""

    def of(self, picture: Picture) -> Picture:
        """Returns the picture with this meaning."""
        icc = linear_profile(grey=picture.grey) if self.is_light and picture.icc is None else picture.icc
        if self.measured == _NO_LIGHT:
            icc = None  # a profile says nothing about degrees
        return replace(picture, levels=self.levels, icc=icc, measured=picture.measured or self.measured)


def meaning(frame: Frame, levels: Levels | None, of: Used, *, is_light: bool) -> Meaning:
    """Says what a frame's samples stand for. They are inverted if warm things are dark."""
    unit = _UNITS.get(of.kind) if of.grey else None
    measured = None if unit is None else Measured(unit)
    if not frame.black_hot:
        return Meaning(levels, is_light, measured)
    low, high, white = levels or Levels(0, of.scale)
    return Meaning(Levels(high, low, white), is_light, measured)
