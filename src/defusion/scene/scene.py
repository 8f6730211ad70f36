"""The frames of one scene. Makes them ready for the network, and makes the network's result ready for a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.frames import Wanted, aligned
from defusion.alignment.hot_pixels import Spots, hot_pixels, without_hot_pixels
from defusion.alignment.look import Look
from defusion.alignment.record import Alignment, FrameAlignment
from defusion.alignment.warp import warped_picture
from defusion.errors import ImageError
from defusion.imaging import (
    Picture,
    distance_from_palette,
    in_profile_of,
    luminance,
    recognised_palette,
    with_luminance,
)
from defusion.imaging.levels import ChosenLevels, Used, beside_numbers, choose, used
from defusion.imaging.samples import DEPTHS, Depth, bands
from defusion.runtime import Planes
from defusion.scene.form import Form, Pixels
from defusion.scene.frame import Frame, Meaning, kept, meaning
from defusion.scene.kind import SourceStatistics, measure, same_light_as_another
from defusion.scene.maps import Maps
from defusion.tiles.grid import Band, Size, View
from defusion.tiles.progress import FusingProgress, Report
from defusion.tiles.views import SourceViews

_TURNED = (
    "EXIF turns the sources in different ways, which was done; --orientation ignore takes them as they are stored"
)


class _Seen(NamedTuple):
    """What was learned from opening a frame once."""

    statistics: SourceStatistics
    depth: Depth
    grey: bool
    """It has one channel."""
    notes: tuple[str, ...]
    palette: str | None
    """The false colour that it may have."""
    from_palette: float
    """How far its colours are from that palette, as a fraction of the side of the colour cube."""


class Scene:
    """The frames of one scene. Makes them ready for the network, and makes the network's result ready for a file.

    Args:
        frames: Two or more. Each is opened once to look at it.
        palette: The false colour of one frame: one of `PALETTES`, "auto" to recognise it, or "none" to leave it.
        report: Called with the number of the frame that is being looked at.
        align: How freely frames are aligned, or a known alignment.

    Raises:
        ImageError: A frame cannot be read, or its size differs from the first frame's and it cannot be aligned.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        palette: str = "auto",
        report: Report | None = None,
        align: Wanted | Alignment = Wanted("off"),  # noqa: B008  (immutable)
    ) -> None:
        self.frames = list(frames)
        self.names = tuple(frame.name for frame in frames)
        """Names of all frames that were given."""
        self.numbers = list(range(1, len(frames) + 1))
        """Numbers, from 1, of the given frames that are still in use."""
        seen, uses, meanings, looks = [], [], [], []
        turned: list[int] = []
        for number, frame in enumerate(frames):
            if report is not None:
                report(FusingProgress(0, 0, number + 1, len(frames)))
            picture = frame.open()
            turned.append(picture.turned)
            uses.append(used(picture))
            meanings.append(meaning(frame, uses[-1].levels, uses[-1], is_light=uses[-1].kind == "light"))
            picture = meanings[-1].of(picture)
            if number == 0:
                size = Size(picture.height, picture.width)
                self._first = replace(picture, samples=np.array(picture.samples[:1, :1]), alpha=None)  # drop the rest
            if isinstance(align, Wanted) and align.align == "off":
                self._check_size(frame, picture, size)
            else:
                looks.append(Look.of(picture, len(frames)))
            seen.append(self._see(frame, picture, palette))
            del picture  # before the next is opened
        uses = beside_numbers(uses)
        chosen = choose(
            [each.name for each in frames], uses, partial(same_light_as_another, [each.statistics for each in seen])
        )
        self._look_again(seen, uses, meanings, chosen, palette)
        frames = list(self.frames)
        painted = [index for index, each in enumerate(seen) if each.palette is not None]
        # If several frames look like false colour, none is converted. A palette that the user named is applied to the
        # frame with the nearest colours.
        if len(painted) == 1 or (painted and palette != "auto"):
            index = min(painted, key=lambda each: seen[each].from_palette)
            self.frames[index] = frames[index].as_temperature(seen[index].palette or palette)
            seen[index] = self._see(self.frames[index], self.frames[index].open(), "none")
            uses[index] = uses[index]._replace(grey=True)
        self.ghosts: dict[str, NDArray[np.uint8]] = {}
        """Where something moved: a small mask [h, w], 255 there, by the name of the frame."""
        self._hot = 0
        self.alignment = self._aligned(looks, [each.statistics for each in seen], align) if looks else None
        if self.alignment is not None and self.alignment.moves:
            self._mend_hot_pixels(looks, self.alignment)
            self.frames = self._warped(self.alignment)
            self.numbers = [n for n, each in enumerate(self.alignment.frames, 1) if not each.left_out]
            seen = [self._see(frame, frame.open(), "none") for frame in self.frames]
            size = Size(*self.alignment.shape)
        self.statistics = [each.statistics for each in seen]
        if len(set(turned)) > 1:
            chosen = chosen._replace(notes=(*chosen.notes, _TURNED))
        # Pages of one file give the same notes, so duplicates are dropped.
        self.notes = tuple(dict.fromkeys(note for each in seen for note in each.notes)) + chosen.notes
        self.notes += () if self.alignment is None else self.alignment.notes
        if self._hot:
            self.notes += (
                f"{self._hot} hot pixels stay while the scene moves; they were replaced by their surroundings",
            )
        self.notes += _black_hot_note(self.frames, self.statistics)
        if not painted and palette not in ("auto", "none"):
            self.notes += (f"no source has colour, so palette {palette} was not converted back",)
        self._grey = all(each.grey for each in uses)
        channels = 1 if all(each.grey for each in seen) else 3
        deepest = max((each.depth for each in seen), key=DEPTHS.index)
        self.form = Form(size, channels, deepest, self._first.icc, self._first.exif, self._first.xmp, chosen.result)
        if self.form.tone.linear:
            self.notes += (
                "values are proportional to light: they are fused as the eye sees them and returned as light",
            )
        self.ranges = {
            frame.name: (levels.low, levels.high)
            for frame, (levels, *_) in zip(frames, meanings, strict=True)
            if levels is not None
        }
        """Black and white level of the frames that do not use all of their range."""

    def leave_out_blank(self) -> None:
        """Leaves out frames that are black or white everywhere, if others are not. A note says so."""
        blank = {index: each.blank for index, each in enumerate(self.statistics) if each.blank}
        kept = [index for index in range(len(self.frames)) if index not in blank]
        if not blank or not kept:
            return
        names = tuple(f"{self.frames[index].name}: " for index in blank)
        of_alignment = () if self.alignment is None else self.alignment.notes
        # alignment says that such a frame is left as it was
        self.notes = tuple(each for each in self.notes if not (each in of_alignment and each.startswith(names)))
        self.notes += tuple(
            f"{self.frames[index].name}: left out, it is {all_over}" for index, all_over in blank.items()
        )
        self._keep(kept)

    def leave_out_copies(self) -> None:
        """Leaves out frames that are equal to an earlier one, so that each counts once. A note says so."""
        if self.one_left:
            return
        kept: list[int] = []
        for index, frame in enumerate(self.frames):
            tones = self.statistics[index].tones
            alike = [other for other in kept if np.array_equal(self.statistics[other].tones, tones)]
            original = next((other for other in alike if self._equal(self.frames[other], frame)), None)
            if original is None:
                kept.append(index)
            else:
                self.notes += (f"{frame.name}: left out, it is equal to {self.frames[original].name}",)
        if len(kept) < len(self.frames):
            self._keep(kept)

    @property
    def one_left(self) -> bool:
        """Whether all frames but one were left out."""
        return all(frame is self.frames[0] for frame in self.frames)

    def _equal(self, frame: Frame, other: Frame) -> bool:
        a, b = self.opened(frame), self.opened(other)
        if a.alpha is not None or b.alpha is not None:
            return False
        parts = bands(a.height, a.width)
        return all(np.array_equal(a.region(rows, slice(None)), b.region(rows, slice(None))) for rows in parts)

    def _keep(self, kept: list[int]) -> None:
        kept *= 2 if len(kept) == 1 else 1  # a frame fused with itself stays as it is
        self.frames = [self.frames[index] for index in kept]
        self.statistics = [self.statistics[index] for index in kept]
        self.numbers = [self.numbers[index] for index in kept]

    def take_as(self, maps: Maps) -> None:
        """Takes each place from the frame that the maps name.

        Raises:
            ImageError: The maps are for another number of frames, or for another size.
        """
        if len(maps.names) != len(self.names):
            raise ImageError(f"{len(self.names)} frames came, but the maps are for {len(maps.names)}; give as many.")
        if maps.source.shape != self.form.size:
            height, width = maps.source.shape
            raise ImageError(
                f"the maps are {width}x{height} pixels, the frames make {self.form.size.width}x"
                f"{self.form.size.height}; give frames of the same size."
            )
        shown = np.bincount(maps.source.ravel(), minlength=len(self.names) + 1)
        self._keep([index for index, number in enumerate(self.numbers) if shown[number]])
        self.frames = [
            Frame(frame.name, partial(_where, self.opened, frame, maps, number))
            for frame, number in zip(self.frames, self.numbers, strict=True)
        ]

    def opened(self, frame: Frame) -> Picture:
        """Opens a frame, with the colours of the first one."""
        return self._matched(frame.open(), frame)

    @cached_property
    def _coloured(self) -> list[Frame]:
        return [frame for frame, each in zip(self.frames, self.statistics, strict=True) if not each.colourless]

    @property
    def _visible(self) -> Frame | None:
        return self._coloured[0] if len(self._coloured) == 1 else None

    def views(self) -> Iterator[View]:
        """Opens the frames, one after the other."""
        for frame in self.frames:
            yield partial(_planes, self.opened(frame), frame is self._visible, 3)

    def sources(self) -> Iterator[SourceViews]:
        """Opens the frames, one after the other, in the form that the pyramid network takes."""
        count = 1 if self._has_no_colour() else 3
        for frame in self.frames:
            picture = self.opened(frame)
            yield SourceViews(partial(_planes, picture, frame is self._visible, count), partial(_confidence, picture))

    def _has_no_colour(self) -> bool:
        """Returns whether no colours are fused, so that one plane is as good as three."""
        if self.form.channels == 1:
            return True
        return len(self.frames) == 2 and all(each is self._visible or each.open().grey for each in self.frames)

    def pair(self) -> tuple[View, View]:
        """Opens two frames, the darker first. The paper's network treats its two inputs differently, so their order
        must not depend on the order that the user chose.
        """
        first, second = self.views()
        dark, bright = ((each.brightness, each.tones.tobytes()) for each in self.statistics)
        return (first, second) if dark <= bright else (second, first)

    def painted(self, band: Band, planes: Planes, *, keep_chroma: bool) -> Iterator[tuple[slice, Pixels]]:
        """Turns rows of planes [1, 3, h, W] into pixels [h, W, C] in [0, 1], a few rows at a time.

        Pixels have the form's channels and are scaled from black to white level. If exactly one frame has colour, the
        fused picture takes its chroma.
        """
        for part in bands(*planes.shape[2:]):
            rows = slice(band.rows.start + part.start, band.rows.start + part.stop)
            yield rows, self.form.tone.shares(self._painted(rows, planes[0, :, part], keep_chroma))

    def _painted(self, rows: slice, planes: Planes, keep_chroma: bool) -> Pixels:
        pixels: Pixels = np.clip(planes.transpose(1, 2, 0), 0, 1)
        if self._visible is not None and keep_chroma:
            visible = self._visible_picture.region(rows, slice(None))
            return with_luminance(visible, luminance(pixels) if pixels.shape[2] == 3 else pixels)
        if self._grey:
            pixels = np.repeat(pixels.mean(2, keepdims=True), self.form.channels, axis=2)
        return pixels

    def _look_again(
        self, seen: list[_Seen], uses: list[Used], meanings: list[Meaning], chosen: ChosenLevels, palette: str
    ) -> None:
        """Looks again at frames whose black and white levels change because of the other frames."""
        light = chosen.result is not None and chosen.result.white is not None
        of_all = [
            meaning(*each, is_light=light or each[2].kind == "light")
            for each in zip(self.frames, chosen.levels, uses, strict=True)
        ]
        before = self._first.icc
        self._first = of_all[0].of(self._first)
        if self._first.grey and not all(each.grey for each in seen):
            self._first = replace(self._first, icc=None)  # a grey profile says nothing about colours
        for index, each in enumerate(of_all):
            self.frames[index] = self.frames[index].meant(each)
            if each != meanings[index] or before != self._first.icc:
                seen[index] = self._see(self.frames[index], self.frames[index].open(), palette)
        meanings[:] = of_all

    def _check_size(self, frame: Frame, picture: Picture, size: Size) -> None:
        if (picture.height, picture.width) != size:
            raise ImageError(
                f"{frame.name} is {picture.size_text} pixels, {self.frames[0].name} is {size.width}x{size.height}; "
                "sources need the same width and height: let them be aligned, or crop or resize them first"
                + (", or --orientation ignore if EXIF turns one wrongly." if picture.turned > 1 else ".")
            )

    def _aligned(
        self, looks: Sequence[Look], statistics: Sequence[SourceStatistics], align: Wanted | Alignment
    ) -> Alignment:
        names = [frame.name for frame in self.frames]
        if isinstance(align, Alignment):
            return align.for_frames(names, [look.shape for look in looks])
        looks = [look._replace(brightness=each.brightness) for look, each in zip(looks, statistics, strict=True)]
        return aligned(names, looks, lambda index: self.frames[index].open(), align)

    def _mend_hot_pixels(self, looks: Sequence[Look], alignment: Alignment) -> None:
        hot = hot_pixels([look.spots for look in looks], alignment)
        self._hot = len(hot)
        if self._hot:
            self.frames = [frame._replace(open=partial(_mended, frame, hot)) for frame in self.frames]

    def _warped(self, alignment: Alignment) -> list[Frame]:
        """Returns the frames warped into the result. Each is warped once and kept."""

        def warped(frame: Frame, found: FrameAlignment) -> Picture:
            return warped_picture(frame.open(), found.matrix, alignment.shape, found.local)

        frames = [
            Frame(frame.name, partial(warped, frame, found))
            for frame, found in zip(self.frames, alignment.frames, strict=True)
            if not found.left_out
        ]
        return [frame.kept() for frame in frames] if len(self.frames) == 2 else kept(frames)

    def _see(self, frame: Frame, original: Picture, palette: str) -> _Seen:
        picture = self._matched(original, frame)
        found = None if palette == "none" or original.grey or frame.true_colours else palette
        if found == "auto":
            found = recognised_palette(original)
        distance = distance_from_palette(original, found) if found is not None else math.inf
        return _Seen(measure(picture), original.depth, picture.grey, picture.notes, found, distance)

    @cached_property
    def _visible_picture(self) -> Picture:
        assert self._visible is not None
        return self.opened(self._visible)

    def _matched(self, picture: Picture, frame: Frame) -> Picture:
        return in_profile_of(picture, self._first, frame.name)


def _mended(frame: Frame, hot: Spots) -> Picture:
    return without_hot_pixels(frame.open(), hot)


def _where(open_frame: Callable[[Frame], Picture], frame: Frame, maps: Maps, number: int) -> Picture:
    picture = open_frame(frame)
    return replace(picture, alpha=maps.confidence_of(number, picture.alpha))


def _planes(picture: Picture, as_luminance: bool, count: int, rows: slice, columns: slice) -> Planes:
    """Returns part of a picture as network input, [1, count, h, w]."""
    pixels = picture.region(rows, columns)
    if as_luminance:
        pixels = luminance(pixels)
    return np.broadcast_to(pixels, (*pixels.shape[:2], count)).transpose(2, 0, 1)[None]


def _confidence(picture: Picture, rows: slice, columns: slice) -> Planes:
    """Returns the confidence of part of a picture, [1, 1, h, w]; [1, 1, 0, 0] if all of the picture counts."""
    confidence = picture.confidence(rows, columns)
    return np.zeros((1, 1, 0, 0), np.float32) if confidence is None else confidence[None, None]


def _black_hot_note(frames: Sequence[Frame], statistics: Sequence[SourceStatistics]) -> tuple[str, ...]:
    """Returns a note if the only grey frame among colour frames may show warm things dark."""
    colourless = [index for index, each in enumerate(statistics) if each.colourless]
    if len(colourless) != 1 or len(statistics) < 2:
        return ()
    (index,) = colourless
    if frames[index].black_hot or not statistics[index].few_dark:
        return ()
    return (
        f"{frames[index].name}: few places are much darker than the rest; in some thermal pictures those are "
        f"the warm ones: --black-hot {index + 1} shows them bright",
    )
