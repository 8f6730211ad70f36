"""Clips fused as users do it."""

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from defusion import Fuser, ImageError
from defusion.imaging import Picture, from_array, read, write
from defusion.scene.rig import Rig
from defusion.video import fuse_video, output, run
from defusion.video.segments import Segments

FRAMES = 7


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser(task="infrared", align="off", deghost="off")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A still street; into its thermal clip comes a hot thing."""
    root = tmp_path_factory.mktemp("clips")
    scene = cv2.resize(data.chelsea(), (96, 64), interpolation=cv2.INTER_AREA)
    for name in ("ir", "vis"):
        (root / name).mkdir()
    for number in range(FRAMES):
        thermal = 255 - scene[..., 0] // 2
        if number > 2:
            thermal[10:50, 6 + 3 * number : 22 + 3 * number] = 255
        write(root / "ir" / f"{number:04}.png", from_array(np.ascontiguousarray(thermal)))
        write(root / "vis" / f"{number:04}.png", from_array(scene // 3))
    return root / "ir", root / "vis"


def frames_in(folder: Path) -> NDArray[np.uint8]:
    return np.stack([np.asarray(read(path).samples) for path in sorted(folder.glob("*.png"))])


def test_what_stands_still_does_not_flicker(fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path) -> None:
    made = fuse_video(*clips, tmp_path / "out", fuser=fuser, align="off")
    assert made.facts["frames"] == FRAMES
    frames = frames_in(tmp_path / "out").astype(float)
    assert frames.shape == (FRAMES, 64, 96, 3)
    assert np.abs(frames - frames[0])[:, :, 64:].mean((1, 2, 3)).max() < 0.5
    assert np.abs(frames[5] - frames[0])[20:40, 24:34].mean() > 10
    assert not (tmp_path / "out.parts").exists()


def stopping_at(last: int) -> Callable[[Path, Picture], list[str]]:
    def stop(path: Path, picture: Picture) -> list[str]:
        if int(path.stem) == last:
            raise KeyboardInterrupt
        return list(write(path, picture))

    return stop


def test_a_run_that_was_stopped_goes_on_to_the_same_frames(
    fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FRAMES", 3)
    fuse_video(*clips, tmp_path / "whole", fuser=fuser, align="off")
    with monkeypatch.context() as patched:
        patched.setattr(output, "write", stopping_at(5))
        with pytest.raises(KeyboardInterrupt):
            fuse_video(*clips, tmp_path / "halted", fuser=fuser, align="off")
    seen: list[int] = []
    made = fuse_video(
        *clips, tmp_path / "halted", fuser=fuser, align="off", report=lambda done, of: seen.append(done)
    )
    assert seen == [4, 5, 6, 7]
    assert any("continued after the 3 frames" in note for note in made.notes)
    assert np.array_equal(frames_in(tmp_path / "whole"), frames_in(tmp_path / "halted"))


def test_two_runs_do_not_write_one_output(fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Segments(output, {"other": "run"}, None):
        (tmp_path / "out.parts" / "00000.npz").write_bytes(b"done")
        with pytest.raises(ImageError, match=r"out is in use by another run; wait for it"):
            fuse_video(*clips, output, fuser=fuser, align="off")
        assert (tmp_path / "out.parts" / "00000.npz").read_bytes() == b"done"
    assert fuse_video(*clips, output, fuser=fuser, align="off").facts["frames"] == FRAMES
    assert not (tmp_path / "out.parts").exists()


def test_a_folder_of_somebody_else_is_left_alone(fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(ImageError, match=r"out\.parts is in the way"):
        fuse_video(*clips, tmp_path / "out", fuser=fuser, align="off")
    assert [path.name for path in folder.iterdir()] == ["diary.txt"]


def test_segments_of_other_choices_are_not_gone_on_with(
    fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FRAMES", 3)

    def stop(done: int, of: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fuse_video(*clips, tmp_path / "out", fuser=fuser, align="off", report=stop)
    made = fuse_video(*clips, tmp_path / "out", fuser=fuser, align="off", black_hot=True)
    assert made.facts["frames"] == FRAMES and made.notes == ()


def test_a_video_file_is_joined_of_segments(
    fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    from defusion.video.film import Film

    monkeypatch.setattr(run, "FRAMES", 3)
    rates = (Fraction(10), Fraction(10))
    made = fuse_video(*clips, tmp_path / "out.mkv", fuser=fuser, align="off", codec="ffv1", rates=rates)
    fuse_video(*clips, tmp_path / "images", fuser=fuser, align="off", rates=rates)
    shots = list(Film(str(tmp_path / "out.mkv")).shots())
    assert made.facts["frames"] == len(shots) == FRAMES
    assert [float(shot.time) for shot in shots] == pytest.approx(np.arange(FRAMES) / 10)
    film = np.stack([np.asarray(shot.open().samples) for shot in Film(str(tmp_path / "out.mkv")).shots()])
    assert np.abs(film.astype(int) - frames_in(tmp_path / "images")).max() <= 1


def test_outside_of_a_small_thermal_picture_the_visible_one_is_shown(
    fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for path in sorted(clips[0].iterdir()):
        write(small / path.name, from_array(np.asarray(read(path).samples)[16:48, 24:72]))
    matrix = np.array([[1, 0, -24], [0, 1, -16], [0, 0, 1.0]])
    rig = Rig(run.Shape(32, 48), run.Shape(64, 96), matrix, "translation", 0.0, 0.0, 1.0, 1, 1)
    fuse_video(small, clips[1], tmp_path / "out", fuser=fuser, rig=rig)
    frames, visible = frames_in(tmp_path / "out").astype(int), frames_in(clips[1]).astype(int)
    off = np.abs(frames - visible)
    assert off[:, :12].max() <= 1 and off[:, :, :20].max() <= 1
    assert off[0, 26:38, 40:56].mean() > 5


def test_counts_have_one_range_for_the_whole_clip(fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    counts.mkdir()
    for path in sorted(clips[0].iterdir()):
        deep = 7000 + 2 * np.asarray(read(path).samples).astype(np.uint16)
        write(counts / f"{path.stem}.tif", from_array(deep))
    made = fuse_video(counts, clips[1], tmp_path / "out", fuser=fuser, align="off")
    low, high = made.facts["range"]
    assert 7000 <= low < 7310 < high <= 7510
    frames = frames_in(tmp_path / "out").astype(float)
    assert np.abs(frames - frames[0])[:, :, 64:].mean((1, 2, 3)).max() < 0.5


def test_clips_without_a_common_moment_are_refused(fuser: Fuser, clips: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no moment in common"):
        fuse_video(*clips, tmp_path / "out", fuser=fuser, offset=Fraction(60))
    assert not (tmp_path / "out").exists()


def command(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "defusion", *map(str, arguments)], capture_output=True, check=False)


def test_the_command_prints_frames_seconds_and_rate(clips: tuple[Path, Path], tmp_path: Path) -> None:
    done = command("video", *clips, "-o", tmp_path / "out", "--align", "off", "--json")
    facts: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, facts["frames"], facts["notes"]) == (0, FRAMES, [])
    assert facts["fps"] == pytest.approx(FRAMES / facts["seconds"], rel=0.01)


def test_a_pipe_gets_frames_that_encoders_read(clips: tuple[Path, Path], tmp_path: Path) -> None:
    done = command("video", *clips, "-o", "-", "--align", "off", "--fps", "10")
    head, _, frames = done.stdout.partition(b"\n")
    assert done.returncode == 0
    assert head == b"YUV4MPEG2 W96 H64 F10:1 Ip A1:1 C444 XCOLORRANGE=LIMITED"
    assert len(frames) == FRAMES * (len(b"FRAME\n") + 3 * 96 * 64)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-o", "."), "already holds files"),
        (("-o", "out.avi"), "has the suffix .avi"),
        (("-o", "out.mp4", "--codec", "ffv1"), "cannot hold ffv1"),
        (("-o", "out", "--fps", "0"), "--fps 0 is not understood"),
        (("-o", "out", "--rig", "none.json"), "none.json cannot be read"),
        (("-o", "out", "--range", "7000"), "--range 7000 is not understood"),
    ],
)
def test_what_means_nothing_is_refused(clips: tuple[Path, Path], arguments: tuple[str, ...], says: str) -> None:
    done = command("video", *clips, *arguments)
    assert done.returncode == 2
    assert says in done.stderr.decode()
