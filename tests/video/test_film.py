"""Video files in and out: times, depth, sound, and damage."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defusion import ImageError
from defusion.video import fuse_video
from defusion.video.film import CODECS, Film, Segment, joined

av: Any = pytest.importorskip("av", reason="needs the extra video")

TIMES = [Fraction(each, 1000) for each in (0, 40, 90, 100, 220, 250)]


def frame_of(number: int) -> Any:
    rng = np.random.default_rng(5)
    return np.clip(rng.random((48, 64, 3), np.float32) * 0.3 + number / 12, 0, 1).astype(np.float32)


def film(path: Path, codec: str = "ffv1", bits: int = 8, times: list[Fraction] = TIMES) -> Film:
    """Writes frames at some times, in two segments."""
    segments = [path.with_name(f"{number}.nut") for number in (0, 1)]
    for number, part in enumerate(segments):
        segment = Segment(part, CODECS[codec], bits, 48, 64, Fraction(25), (2, 2))
        for index in range(3 * number, 3 * number + 3):
            segment.add(times[index], frame_of(index))
        segment.close()
    assert joined(segments, path, path.suffix, None, Fraction(0), Fraction(1)) == ()
    return Film(str(path))


@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", ".mp4"), ("h265", ".mov"), ("vp9", ".webm"), ("ffv1", ".mkv")]
)
def test_frames_keep_their_times(tmp_path: Path, codec: str, suffix: str) -> None:
    shots = list(film(tmp_path / f"clip{suffix}", codec).shots())
    assert [float(shot.time) for shot in shots] == pytest.approx([float(each) for each in TIMES], abs=0.001)
    off = np.abs(shots[4].open().pixels.mean() - frame_of(4).mean())
    assert off < 0.02


@pytest.mark.parametrize("bits", [8, 10])
def test_what_is_lossless_comes_back(tmp_path: Path, bits: int) -> None:
    clip = film(tmp_path / "clip.mkv", "ffv1", bits)
    for index, shot in enumerate(clip.shots()):
        picture = shot.open()
        assert picture.depth == ("uint8" if bits == 8 else "uint16")
        assert np.abs(picture.pixels - frame_of(index)).max() < 1.01 / (2**bits - 1)


def test_a_clip_that_was_cut_off_gives_what_was_whole_and_says_so(tmp_path: Path) -> None:
    times = [Fraction(number, 25) for number in range(50)]
    part = tmp_path / "0.nut"
    segment = Segment(part, CODECS["ffv1"], 8, 48, 64, Fraction(25), (2, 2))
    for number, time in enumerate(times):
        segment.add(time, frame_of(number % 12))
    segment.close()
    whole = tmp_path / "whole.mkv"
    joined([part], whole, ".mkv", None, Fraction(0), Fraction(2))
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    clip = Film(str(tmp_path / "cut.mkv"))
    shots = [shot.open() for shot in clip.shots()]
    assert 15 < len(shots) < 35
    assert "as if it was cut off" in clip.notes[0]


def test_a_clip_without_a_whole_frame_is_refused(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv")
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75") + 8])  # up to the first cluster
    with pytest.raises(ImageError, match=r"b\.mkv holds no complete frame; give a whole file"):
        fuse_video(tmp_path / "a.mkv", tmp_path / "b.mkv", tmp_path / "out.mp4", align="off")


def test_a_turned_clip_comes_upright(tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4", "h264")
    data = bytearray((tmp_path / "clip.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    quarter = (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *quarter)
    (tmp_path / "turned.mp4").write_bytes(data)
    straight = next(iter(Film(str(tmp_path / "clip.mp4")).shots())).open().pixels
    turned = next(iter(Film(str(tmp_path / "turned.mp4")).shots())).open().pixels
    assert np.array_equal(turned, np.rot90(straight, -1))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(ImageError, match="cannot be read as video"):
        Film(str(tmp_path / "a.mp4"))


def with_sound(path: Path) -> Film:
    """A clip of two seconds with a tone that begins at one."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "bgr0"
        audio = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for number in range(50):
            frame = av.VideoFrame.from_ndarray((255 * frame_of(number % 12)).astype(np.uint8), format="rgb24")
            out.mux(video.encode(frame.reformat(format="bgr0")))
        for number in range(10):
            samples = np.full((1, 1600), 9000 if number >= 5 else 0, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 1600 * number
            out.mux(audio.encode(frame))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return Film(str(path))


def test_sound_is_kept_at_its_time(tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "sound.mkv")
    assert clip.sound
    part = tmp_path / "0.nut"
    segment = Segment(part, CODECS["ffv1"], 8, 48, 64, Fraction(25), (2, 2))
    for number in range(35):
        segment.add(Fraction(number, 25), frame_of(number % 12))
    segment.close()
    notes = joined([part], tmp_path / "out.mkv", ".mkv", clip, Fraction(3, 5), Fraction(2))
    assert notes == ()
    with av.open(str(tmp_path / "out.mkv")) as container:
        heard = [(frame.time, int(frame.to_ndarray().max())) for frame in container.decode(audio=0)]
    begins = next(time for time, loud in heard if loud > 1000)
    assert begins == pytest.approx(0.4, abs=0.21)
    assert heard[-1][0] < 1.4


def test_sound_that_a_file_cannot_hold_is_told(tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "sound.mkv")
    part = tmp_path / "0.nut"
    segment = Segment(part, CODECS["vp9"], 8, 48, 64, Fraction(25), (2, 2))
    segment.add(Fraction(0), frame_of(0))
    segment.close()
    (note,) = joined([part], tmp_path / "out.webm", ".webm", clip, Fraction(0), Fraction(1))
    assert "sound dropped, .webm holds no pcm_s16le" in note
