"""Where fused frames go: numbered images, a video file, or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import Picture, check_folder, check_output, make_folder, write
from defusion.imaging.samples import Depth
from defusion.system.files import beside, unfit
from defusion.video import film
from defusion.video.film import CODECS, Film, Segment
from defusion.video.segments import Segments, parts_of

Pixels = NDArray[np.float32]

#: Name that stands for stdout.
PIPE = "-"


class FrameForm(NamedTuple):
    """Form of the frames."""

    height: int
    width: int
    channels: int
    depth: Depth
    rate: Fraction
    """About how many there are per second."""
    colours: tuple[int, int]
    """Primaries and transfer curve, by their numbers in H.273; 2 if unknown."""


class Output(Protocol):
    """Takes fused frames in the order of time."""

    notes: tuple[str, ...]
    """What the output cannot hold, one short sentence each."""

    def add(self, time: Fraction, pixels: Pixels) -> None:
        """Adds a frame, [H, W, C] in [0, 1]. Its time counts from the first frame."""

    def seal(self) -> None:
        """Secures what has been added. A later run continues from here."""

    def finish(self, begins: Fraction, ends: Fraction) -> None:
        """Completes the result.

        Args:
            begins: Time of the visible clip at which the result starts.
            ends: Time of the visible clip at which the result ends.
        """


class Images:
    """Frames as numbered images in a folder, created if needed; `done` of them exist already.

    Raises:
        ImageError: The folder cannot be created or written to.
    """

    def __init__(self, folder: Path, suffix: str, form: FrameForm, done: int) -> None:
        make_folder(folder)
        check_output(folder / f"{1:06}{suffix}")
        self._folder, self._suffix, self._depth, self._number = folder, suffix, form.depth, done
        self.notes: tuple[str, ...] = ()
        for path in folder.glob(f"*{suffix}"):  # left by a run that was stopped
            if path.stem.isdigit() and int(path.stem) > done:
                path.unlink()

    def add(self, time: Fraction, pixels: Pixels) -> None:
        """Writes an image."""
        self._number += 1
        path = self._folder / f"{self._number:06}{self._suffix}"
        told = write(path, Picture.of_pixels(pixels, self._depth))
        self.notes = self.notes or tuple(told)

    def seal(self) -> None:
        """Does nothing, since images are complete at once."""

    def finish(self, begins: Fraction, ends: Fraction) -> None:
        """Does nothing, since images are complete at once."""


class VideoFile:
    """Frames encoded into segments, which are joined at the end, with sound.

    Args:
        path: The file to write.
        codec: One of `CODECS`. None chooses h264, h265 for more than 8 bits, or vp9 for WebM.
        form: Form of the frames.
        segments: Segments of this result.
        sound: The clip whose sound is kept.

    Raises:
        ImageError: The codec does not fit the file, or a side is too short.
    """

    def __init__(
        self, path: Path, codec: str | None, form: FrameForm, segments: Segments, sound: Film | None
    ) -> None:
        film.library()
        self.notes: tuple[str, ...] = ()
        self._path, self._segments, self._sound = path, segments, sound
        self._bits = 8 if form.depth == "uint8" else 10
        self._codec = CODECS[codec or codec_of(path, self._bits)]
        height, width = form.height, form.width
        if self._codec.pixels[8].startswith("yuv"):  # these formats store colour for squares of 2x2 pixels
            height, width = height // 2 * 2, width // 2 * 2
        if not (height and width):
            raise ImageError(f"frames of {form.width}x{form.height} pixels are too small for video; choose a folder.")
        if (height, width) != (form.height, form.width):
            self.notes += (f"{path.name}: cut to {width}x{height} pixels, because the codec needs even numbers",)
        self._form = form._replace(height=height, width=width)
        self._segment: Segment | None = None

    def add(self, time: Fraction, pixels: Pixels) -> None:
        """Encodes a frame."""
        form = self._form
        if self._segment is None:
            self._segment = Segment(
                self._segments.next_path, self._codec, self._bits, form.height, form.width, form.rate, form.colours
            )
        self._segment.add(time, pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2))

    def seal(self) -> None:
        """Ends a segment."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def finish(self, begins: Fraction, ends: Fraction) -> None:
        """Joins the segments."""
        try:
            with beside(self._path) as part:
                suffix = self._path.suffix.lower()
                self.notes += film.joined(self._segments.paths, part, suffix, self._sound, begins, ends)
        except OSError as error:
            raise ImageError(f"{self._path} cannot be written ({error.strerror}); free some space.") from error


class Pipe:
    """Frames as YUV4MPEG2 on a stream, which ffmpeg and most encoders read: 8 bits, constant frame rate."""

    def __init__(self, stream: BinaryIO, form: FrameForm) -> None:
        self._stream = stream
        self._step = 1 / form.rate
        self._written = 0
        self._last = b""
        self.notes: tuple[str, ...] = ()
        rate = form.rate.limit_denominator(1001)
        kind = "mono" if form.channels == 1 else "444"
        head = f"YUV4MPEG2 W{form.width} H{form.height} F{rate.numerator}:{rate.denominator} Ip A1:1 C{kind}"
        self._stream.write(f"{head} XCOLORRANGE=LIMITED\n".encode())
        # Players assume this if nothing is said: BT.709 for HD, otherwise BT.601.
        red, blue = (0.2126, 0.0722) if form.height >= film.HD_ROWS else (0.299, 0.114)
        light = np.array([red, 1 - red - blue, blue])
        rows = [219 * light, 112 * (np.eye(3)[2] - light) / (1 - blue), 112 * (np.eye(3)[0] - light) / (1 - red)]
        self._to_yuv = np.array(rows, np.float32)

    def add(self, time: Fraction, pixels: Pixels) -> None:
        """Writes a frame as often as its time requires."""
        if pixels.shape[2] == 1:
            planes = pixels[None, ..., 0] * 219 + 16
        else:
            planes = np.moveaxis(pixels @ self._to_yuv.T, 2, 0) + np.array([16, 128, 128], np.float32)[:, None, None]
        due = round(time / self._step)
        if due < self._written:  # this frame came too soon after the one before
            return
        while self._last and self._written < due:
            self._write()
        self._last = b"FRAME\n" + np.rint(np.clip(planes, 0, 255)).astype(np.uint8).tobytes()
        self._write()

    def seal(self) -> None:
        """Does nothing, since a pipe keeps nothing."""

    def finish(self, begins: Fraction, ends: Fraction) -> None:
        """Sends what is left."""
        self._stream.flush()

    def _write(self) -> None:
        self._stream.write(self._last)
        self._written += 1


def codec_of(path: Path, bits: int) -> str:
    """Returns the default codec for a file."""
    if path.suffix.lower() == ".webm":
        return "vp9"
    return "h264" if bits == 8 else "h265"


def check_video_output(output: str, codec: str | None, sources: Sequence[str]) -> None:
    """Checks before any work that the result can be written.

    Raises:
        ImageError: A suffix or codec is unknown, or they do not fit each other; the place cannot be written to; or
            PyAV is needed but not installed.
    """
    if codec is not None and codec not in CODECS:
        raise ImageError(f"no codec {codec!r} is known; expected one of {', '.join(CODECS)}.")
    path = Path(output)
    if output == PIPE or not path.suffix or path.is_dir():
        if codec is not None:
            raise ImageError(f"codec {codec} came, but {output} is not a video file; remove --codec.")
        if output != PIPE:
            check_folder(path, (), sources)
            if path.is_dir() and any(path.iterdir()) and not parts_of(path).is_dir():
                raise ImageError(f"{output} already holds files; choose a new folder for the images.")
        return
    if path.suffix.lower() not in film.FILM_SUFFIXES:
        expected = ", ".join(film.FILM_SUFFIXES)
        raise ImageError(f"{output} has the suffix {path.suffix}; expected {expected}, a folder, or - for a pipe.")
    if reason := unfit(path, sources):
        raise ImageError(f"{output} {reason}.")
    if codec is not None and path.suffix.lower() not in CODECS[codec].suffixes:
        raise ImageError(f"{output} cannot hold {codec}; expected one of {', '.join(CODECS[codec].suffixes)}.")
    if not path.resolve().parent.is_dir():
        raise ImageError(
            f"{output} cannot be written: {path.resolve().parent} does not exist; create that folder first."
        )
    film.library()


def opened_output(
    output: str, codec: str | None, form: FrameForm, segments: Segments | None, done: int, sound: Film | None
) -> Output:
    """Opens the output for frames of a form."""
    if output == PIPE or segments is None:
        return Pipe(sys.stdout.buffer, form)
    path = Path(output)
    if path.suffix.lower() in film.FILM_SUFFIXES and not path.is_dir():
        return VideoFile(path, codec, form, segments, sound)
    return Images(path, ".png", form, done)
