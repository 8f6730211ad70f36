"""The frames of one scene, opened when they are needed, and the form of what they fuse to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import (
    Picture,
    as_temperature,
    distance_from_palette,
    in_profile_of,
    luminance,
    recognised_palette,
    with_luminance,
)
from defusion.imaging.picture import DEPTHS, Depth, bands
from defusion.runtime import Planes
from defusion.task import Glance, glance
from defusion.tiling import Band, Progress, Report, Size, View

Pixels = NDArray[np.float32]

_TWELVE_OF_SIXTEEN_BITS = 4095 / 65535


class Frame(NamedTuple):
    """A source image by name, opened when it is needed."""

    name: str
    open: Callable[[], Picture]

    def kept(self) -> Frame:
        """Opens the frame now, and keeps it."""
        return Frame.of(self.name, self.open())

    def as_temperature(self, palette: str) -> Frame:
        """Returns the frame led back from false colour."""
        return Frame(self.name, lambda: as_temperature(self.open(), palette, self.name))

    @classmethod
    def of(cls, name: str, picture: Picture) -> Frame:
        """Makes a frame of a picture in memory."""
        return cls(name, lambda: picture)


class Form(NamedTuple):
    """What a result is like, its pixels aside."""

    size: Size
    channels: int
    depth: Depth
    icc: bytes | None
    exif: bytes | None


class _Seen(NamedTuple):
    """What opening a frame once told of it."""

    glance: Glance
    depth: Depth
    grey: bool
    notes: tuple[str, ...]
    palette: str | None
    """The false colour that it may be in."""
    from_palette: float
    """How far its colours are from that, of the colour cube's side."""


class Scene:
    """Frames of one scene, made ready for the network, and its results made ready for a file.

    Args:
        frames: Two or more; each is opened once, to see what it is.
        palette: The false colour that one frame is in, one of `PALETTES`; "auto" recognises it, "none" leaves it.
        report: Is told which frame is looked at.

    Raises:
        ImageError: A frame cannot be read, or its size differs from the first's.
    """

    def __init__(self, frames: Sequence[Frame], palette: str = "auto", report: Report | None = None) -> None:
        self.frames = list(frames)
        seen = []
        for number, frame in enumerate(frames):
            if report is not None:
                report(Progress(0, 0, number + 1, len(frames)))
            picture = frame.open()
            if number == 0:
                size = Size(picture.height, picture.width)
                self._first = replace(picture, samples=np.array(picture.samples[:1, :1]))  # let go of the rest
            seen.append(self._see(frame, picture, size, palette))
            del picture  # before the next is opened
        painted = [index for index, each in enumerate(seen) if each.palette is not None]
        # Of several that are recognised none is taken; a palette that was named goes to the nearest frame.
        if len(painted) == 1 or (painted and palette != "auto"):
            index = min(painted, key=lambda each: seen[each].from_palette)
            self.frames[index] = frames[index].as_temperature(seen[index].palette or palette)
            seen[index] = self._see(self.frames[index], self.frames[index].open(), size, "none")
        self.glances = [each.glance for each in seen]
        self.notes = tuple(note for each in seen for note in each.notes)
        if not painted and palette not in ("auto", "none"):
            self.notes += (f"no source has colour, so none was led back from palette {palette}",)
        channels = 1 if all(each.grey for each in seen) else 3
        deepest = max((each.depth for each in seen), key=DEPTHS.index)
        if deepest == "uint16" and 0 < max(each.tones.max() for each in self.glances) <= _TWELVE_OF_SIXTEEN_BITS:
            self.notes += (
                "all sources are in the lowest sixteenth of their range, as 12-bit samples in 16-bit files are: "
                "faint detail counts as noise there, so scale them to the whole range first",
            )
        self.form = Form(size, channels, deepest, self._first.icc, self._first.exif)

    def leave_out_blank(self) -> None:
        """Leaves out frames that are black or white all over, where others are not, with a note."""
        blank = {index: each.blank for index, each in enumerate(self.glances) if each.blank}
        kept = [index for index in range(len(self.frames)) if index not in blank]
        if not blank or not kept:
            return
        self.notes += tuple(
            f"{self.frames[index].name}: left out, it is {all_over}" for index, all_over in blank.items()
        )
        kept *= 2 if len(kept) == 1 else 1  # fused with itself a frame stays what it is
        self.frames = [self.frames[index] for index in kept]
        self.glances = [self.glances[index] for index in kept]

    @cached_property
    def _coloured(self) -> list[Frame]:
        return [frame for frame, each in zip(self.frames, self.glances, strict=True) if not each.colourless]

    @property
    def _visible(self) -> Frame | None:
        return self._coloured[0] if len(self._coloured) == 1 else None

    def views(self) -> Iterator[View]:
        """Opens each frame, one after the other."""
        for frame in self.frames:
            yield partial(_planes, self._opened(frame), frame is self._visible)

    def pair(self) -> tuple[View, View]:
        """Opens two frames, the darker first: the network tells them apart, so their order must not be chance."""
        first, second = self.views()
        dark, bright = ((float(each.tones.mean()), each.tones.tobytes()) for each in self.glances)
        return (first, second) if dark <= bright else (second, first)

    def painted(self, band: Band, planes: Planes, *, keep_chroma: bool) -> Iterator[tuple[slice, Pixels]]:
        """Makes pixels of planes [1, 3, h, W]: [h, W, C] in [0, 1], some rows of the scene at a time.

        Where one frame alone has colour, the fused picture keeps its chroma.
        """
        for part in bands(*planes.shape[2:]):
            rows = slice(band.rows.start + part.start, band.rows.start + part.stop)
            yield rows, self._painted(rows, planes[0, :, part], keep_chroma)

    def _painted(self, rows: slice, planes: Planes, keep_chroma: bool) -> Pixels:
        pixels: Pixels = np.clip(planes.transpose(1, 2, 0), 0, 1)
        if self._visible is not None and keep_chroma:
            visible = self._visible_picture.region(rows, slice(None))
            return with_luminance(visible, luminance(pixels))
        if not self._coloured:
            pixels = np.repeat(pixels.mean(2, keepdims=True), self.form.channels, axis=2)
        return pixels

    def _see(self, frame: Frame, original: Picture, size: Size, palette: str) -> _Seen:
        picture = self._matched(original, frame)
        if (picture.height, picture.width) != size:
            raise ImageError(
                f"{frame.name} is {picture.size_text} pixels, {self.frames[0].name} is {size.width}x{size.height}; "
                "sources need the same width and height: crop or resize them first."
            )
        found = None if palette == "none" or original.grey else palette
        if found == "auto":
            found = recognised_palette(original)
        distance = distance_from_palette(original, found) if found is not None else math.inf
        return _Seen(glance(picture), picture.depth, picture.grey, picture.notes, found, distance)

    @cached_property
    def _visible_picture(self) -> Picture:
        assert self._visible is not None
        return self._opened(self._visible)

    def _opened(self, frame: Frame) -> Picture:
        return self._matched(frame.open(), frame)

    def _matched(self, picture: Picture, frame: Frame) -> Picture:
        return in_profile_of(picture, self._first, frame.name)


def _planes(picture: Picture, as_luminance: bool, rows: slice, columns: slice) -> Planes:
    """A part of a picture as the network takes it, [1, 3, h, w]."""
    pixels = picture.region(rows, columns)
    if as_luminance:
        pixels = luminance(pixels)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).transpose(2, 0, 1)[None]
