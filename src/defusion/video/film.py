"""Video files, by PyAV (extra `video`): reads frames with their times, writes encoded segments, joins
them to a file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.imaging import Picture, from_array
from defusion.video.clip import Shot

#: Ticks per second by which the times of results are counted. Every usual frame rate divides this.
_TICKS = 90_000

#: Pixel formats of grey planes.
_GREY = "gray"
_FORMATS = {(True, True): "gray", (True, False): "gray16le", (False, True): "rgb24", (False, False): "rgb48le"}

#: If a video does not name its colour space, it is usually BT.709 from this many rows on, and BT.601 below.
HD_ROWS = 720
_BT709, _BT601 = 1, 5

#: A clip is truncated if it ends more than this many frames too early.
_MISSING_FRAMES = 3


class Codec(NamedTuple):
    """How frames are encoded."""

    encoder: str
    pixels: dict[int, str]
    """Pixel formats, by number of bits."""
    options: dict[str, str]
    suffixes: tuple[str, ...]
    """Suffixes of files that can hold it."""


#: The codecs by name. Their quality is visually lossless, or nearly so.
CODECS = {
    "h264": Codec(
        "libx264", {8: "yuv420p", 10: "yuv420p10le"}, {"crf": "17", "preset": "fast"}, (".mp4", ".mov", ".mkv")
    ),
    "h265": Codec(
        "libx265",
        {8: "yuv420p", 10: "yuv420p10le"},
        {"crf": "19", "preset": "medium", "x265-params": "log-level=error"},
        (".mp4", ".mov", ".mkv"),
    ),
    "vp9": Codec(
        "libvpx-vp9",
        {8: "yuv420p", 10: "yuv420p10le"},
        {"crf": "24", "b": "0", "row-mt": "1"},
        (".webm", ".mkv", ".mp4"),
    ),
    "ffv1": Codec("ffv1", {8: "bgr0", 10: "gbrp10le"}, {}, (".mkv",)),
}

#: Suffixes of video files that can be written, and the formats.
FILM_SUFFIXES = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def library() -> Any:
    """Returns PyAV.

    Raises:
        ImageError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImageError(
            'video files need PyAV: pip install "defusion[video]" (its wheels bundle encoders under the GPL); '
            "folders of images need nothing, and `-o -` pipes frames to your own ffmpeg."
        ) from error
    av.logging.set_level(None)
    return av


class Film:
    """A video file as a clip. Frames are turned upright.

    Args:
        path: The file.

    Raises:
        ImageError: The file cannot be read, or holds no video.
    """

    def __init__(self, path: str) -> None:
        self.name, self.path = path, path
        self._av = library()
        with self._opened() as container:
            stream = self._stream(container)
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            self.step = 1 / Fraction(rate)
            duration = stream.duration and stream.duration * stream.time_base
            if duration is None and container.duration:
                duration = Fraction(container.duration, self._av.time_base)
            self._duration: Fraction | None = duration
            self.count: int | None = stream.frames or (duration and round(duration / self.step)) or None
            self.start = (stream.start_time or 0) * stream.time_base
            """Time of the first frame in the file."""
            self.sound = bool(container.streams.audio)
            self.colours = (stream.codec_context.color_primaries, stream.codec_context.color_trc)
        self.notes: tuple[str, ...] = ()

    def shots(self) -> Iterator[Shot]:
        """Decodes the frames. Damaged frames are left out, and a note says so."""
        damaged, last = 0, -self.step
        with self._opened() as container:
            stream = self._stream(container)
            start = (stream.start_time or 0) * stream.time_base
            stream.thread_type = "AUTO"
            for packet in self._packets(container, stream):
                try:
                    frames = packet.decode()
                except self._av.FFmpegError:
                    damaged += 1
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        damaged += 1
                        continue
                    time = last + self.step if frame.pts is None else frame.pts * frame.time_base - start
                    if time > last:
                        yield Shot(time, partial(_picture, frame, self.name))
                        last = time
        notes = []
        if damaged:
            notes.append(f"{self.name}: {damaged} damaged frames left out")
        if self._duration is not None and last + self.step < self._duration - _MISSING_FRAMES * self.step:
            notes.append(
                f"{self.name}: ends after {float(last + self.step):.2f} s of {float(self._duration):.2f} s, as if it "
                "was cut off; the complete frames are used"
            )
        self.notes = tuple(notes)

    def _opened(self) -> Any:
        try:
            return self._av.open(self.path)
        except (self._av.FFmpegError, OSError) as error:
            raise ImageError(f"{self.path} cannot be read as video ({error.strerror}); give a whole file.") from error

    def _stream(self, container: Any) -> Any:
        if not container.streams.video:
            raise ImageError(f"{self.path} holds no video; expected a clip.")
        return container.streams.video[0]

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yields packets until the file ends, even if it ends too early."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, self._av.FFmpegError):
                return
            yield packet


def _picture(frame: Any, name: str) -> Picture:
    """Converts a decoded frame to an upright picture with 8 or 16 bits."""
    bits = frame.format.components[0].bits
    grey = frame.format.name.startswith(_GREY)
    wanted = _FORMATS[grey, bits == 8]
    if frame.format.name != wanted:
        told = int(frame.colorspace) in (1, 4, 5, 6, 7)
        space = int(frame.colorspace) if told else _BT709 if frame.height >= HD_ROWS else _BT601
        frame = frame.reformat(format=wanted, src_colorspace=space)
    turned = np.rot90(frame.to_ndarray(), (frame.rotation // 90) % 4)
    return from_array(np.ascontiguousarray(turned), name)


class Segment:
    """Part of a result: encoded frames in a file of their own, with their times in the whole.

    Args:
        path: File to write, in the format NUT, which keeps times unchanged.
        codec: How to encode.
        bits: 8 or 10.
        height: Height of the frames.
        width: Width of the frames.
        rate: About how many frames there are per second.
        colours: Primaries and transfer curve, as in `Film`.
    """

    def __init__(
        self, path: Path, codec: Codec, bits: int, height: int, width: int, rate: Fraction, colours: tuple[int, int]
    ) -> None:
        self._av = library()
        self._out = self._av.open(str(path), "w", format="nut")
        self._stream = self._out.add_stream(codec.encoder, rate=rate.limit_denominator(1001), options=codec.options)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, codec.pixels[bits]
        context.time_base = self._stream.time_base = Fraction(1, _TICKS)
        context.max_b_frames = 0  # so that the next segment can start where this one ends, in decoding order, too
        context.flags |= self._av.codec.context.Flags.global_header
        context.color_primaries, context.color_trc = colours
        self._planar = codec.pixels[bits]
        self._luminous = self._planar.startswith("yuv")
        if self._luminous:
            context.colorspace, context.color_range = _BT709, 1
        self._bits, self._shape = bits, (height, width)

    def add(self, time: Fraction, pixels: NDArray[np.float32]) -> None:
        """Encodes a frame, [H, W, 3] in [0, 1]."""
        top = 255 if self._bits == 8 else 65535
        samples = np.rint(np.clip(pixels, 0, 1) * np.float32(top)).astype(np.uint8 if self._bits == 8 else np.uint16)
        samples = np.ascontiguousarray(samples[: self._shape[0], : self._shape[1]])
        form = "rgb24" if self._bits == 8 else "rgb48le"
        frame = self._av.VideoFrame.from_ndarray(samples, format=form)
        if self._luminous:
            frame = frame.reformat(format=self._planar, dst_colorspace=_BT709, dst_color_range=1)
        else:
            frame = frame.reformat(format=self._planar)
        frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
        self._out.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes the remaining frames."""
        self._out.mux(self._stream.encode(None))
        self._out.close()


def joined(
    segments: Iterable[Path], target: Path, suffix: str, sound: Film | None, begins: Fraction, ends: Fraction
) -> tuple[str, ...]:
    """Joins segments to a video file, with the sound of a clip.

    Args:
        segments: Files in order.
        target: File to write.
        suffix: Suffix that names the format.
        sound: The clip with the sound.
        begins: Time of that clip at which the result starts.
        ends: Time of that clip at which the result ends.

    Returns:
        Notes.
    """
    av = library()
    notes: list[str] = []
    with av.open(str(target), "w", format=FILM_SUFFIXES[suffix]) as out:
        first, *others = segments
        with av.open(str(first)) as begin:
            video = out.add_stream_from_template(begin.streams.video[0])
        packets = [_timed(_copied([first, *others], video))]
        if sound is not None:
            with av.open(sound.path) as source:
                template = source.streams.audio[0]
                name = template.codec_context.name
                if (
                    template.codec_context.codec.canonical_name in out.supported_codecs
                    or name in out.supported_codecs
                ):
                    audio = out.add_stream_from_template(template)
                    packets.append(_timed(_heard(sound, audio, begins, ends)))
                else:
                    notes.append(f"{target.name}: sound dropped, {suffix} holds no {name}; choose .mkv")
        for _, _, packet in heapq.merge(*packets, key=lambda each: each[:2]):
            out.mux(packet)
    return tuple(notes)


def _timed(packets: Iterable[Any]) -> Iterator[tuple[Fraction, int, Any]]:
    for packet in packets:
        yield packet.dts * packet.time_base, packet.stream.index, packet


def _copied(paths: Iterable[Path], stream: Any) -> Iterator[Any]:
    for path in paths:
        with library().open(str(path)) as segment:
            for packet in segment.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    yield packet


def _heard(film: Film, stream: Any, begins: Fraction, ends: Fraction) -> Iterator[Any]:
    """Yields the sound from one time of a clip to another."""
    av = library()
    with av.open(film.path) as container:
        packets = container.demux(audio=0)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                return
            if packet.pts is None:
                continue
            time = packet.pts * packet.time_base - film.start
            if time < begins:
                continue
            if time >= ends:
                return
            shift = round((film.start + begins) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            yield packet
