"""Frames a second of thermal and visible clips, 640x512 pixels of 8 bits, made from real pairs.

    python benchmarks/video.py BENCH [--frames 100] [-o VIDEO.md]

A clip is made from a pair of VIFB, with noise of one level. Either the camera stands and something hot walks
through, or it pans by 4 pixels per frame. `Live` gets arrays as from cameras. `defusion video` reads two video files
and writes one, or reads and writes numbered PNG images; its figures hold all that it does: looking at the clips,
aligning them, reading, fusing and writing. CPU time is that of the whole process; frames a second are by the clock.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.api.fuser import Fuser
from defusion.imaging import from_array, read, write
from defusion.scene.rig import Rig
from defusion.system.machine import cores, processor
from defusion.video import Live, fuse_video
from defusion.video.film import CODECS, Segment

SIZE = (640, 512)
SCENE = "walkingnight"
RATE = 25
#: Frames at the start that are not timed: graphs are compiled then.
WARM = 6

Samples = NDArray[np.uint8]


class Row(NamedTuple):
    """A row of the table."""

    what: str
    cpu_ms: float
    fps: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    fuser = Fuser()
    rows: list[Row] = []
    for moving, name in ((False, "the camera stands"), (True, "the camera pans")):
        frames = list(clip(given.bench, given.frames, moving))
        for quick in (True, False):
            how = "quick, the default" if quick else "--fine"
            rows.append(timed(f"`Live`, {name}, {how}", frames, Live(fuser, quick=quick).fuse))
    frames = list(clip(given.bench, given.frames, False))
    rig = Rig.of(np.diag([0.5, 0.5, 1.0]), thermal=(256, 320), visible=SIZE[::-1])
    small = [(cv2.resize(hot, (320, 256), interpolation=cv2.INTER_AREA), seen) for hot, seen in frames]
    rows.append(timed("`Live`, a rig with thermal pictures of 320x256", small, Live(fuser, rig).fuse))
    fuse = Fuser(align="off").fuse
    rows.append(timed('`Fuser(align="off").fuse`, each pair anew', frames[: WARM + 20], lambda *pair: fuse(pair)))
    with tempfile.TemporaryDirectory() as folder:
        rows += files(Path(folder), frames, fuser)
    lines = [
        f"{processor()}, {cores()} cores; defusion {version('defusion')}, OpenVINO {version('openvino')}, "
        f"{fuser.engine.precision}; OpenCV {cv2.__version__}, Python {platform.python_version()}; {given.frames} "
        f"frames of {SIZE[0]}x{SIZE[1]} pixels, 8 bits.",
        "",
        "| what | CPU ms per frame | frames/s |",
        "|---|---|---|",
        *(f"| {row.what} | {row.cpu_ms:.0f} | {row.fps:.1f} |" for row in rows),
    ]
    print("\n".join(lines))
    if given.output:
        given.output.write_text("\n".join(["# Clips", "", *lines, ""]), encoding="utf-8")


def clip(bench: Path, count: int, moving: bool) -> Iterator[tuple[Samples, Samples]]:
    """Yields thermal and visible frames."""
    files = {path.stem: path for path in (bench / "vifb" / SCENE).iterdir()}
    pair = [cv2.resize(np.asarray(read(files[role]).samples), SIZE) for role in ("ir", "vis")]
    hot, seen = pair[0] if pair[0].ndim == 2 else pair[0][..., 0], pair[1]
    rng = np.random.default_rng(1)
    for number in range(count):
        a, b = hot.astype(np.float32), seen.astype(np.float32)
        if moving:
            a, b = np.roll(a, 4 * number, 1), np.roll(b, 4 * number, 1)
        else:
            left = 6 * number % (SIZE[0] - 44)
            a[180:300, left : left + 44] = 240
            b[180:300, left : left + 44] *= 0.6
        noisy = (each + rng.normal(0, 1, each.shape) for each in (a, b))
        hot_now, seen_now = (np.rint(np.clip(each, 0, 255)).astype(np.uint8) for each in noisy)
        yield hot_now, seen_now


def timed(what: str, frames: list[tuple[Samples, Samples]], fuse: Callable[..., object]) -> Row:
    for pair in frames[:WARM]:
        fuse(*pair)
    cpu, clock = time.process_time(), time.monotonic()
    for pair in frames[WARM:]:
        fuse(*pair)
    count = len(frames) - WARM
    row = Row(what, (time.process_time() - cpu) * 1000 / count, count / (time.monotonic() - clock))
    print(row, flush=True)
    return row


def files(folder: Path, frames: list[tuple[Samples, Samples]], fuser: Fuser) -> Iterator[Row]:
    """Times `defusion video` on video files and on images."""
    for role, name in enumerate(("ir", "vis")):
        (folder / name).mkdir()
        segment = Segment(folder / f"{name}.nut", CODECS["h264"], 8, SIZE[1], SIZE[0], Fraction(RATE), (2, 2))
        for number, pair in enumerate(frames):
            write(folder / name / f"{number:05}.png", from_array(pair[role]))
            colour = pair[role] if pair[role].ndim == 3 else np.repeat(pair[role][..., None], 3, 2)
            segment.add(Fraction(number, RATE), colour.astype(np.float32) / 255)
        segment.close()
    for what, suffix, output in (("video files to .mp4", ".nut", "out.mp4"), ("PNG images to images", "", "out")):
        cpu = time.process_time()
        made = fuse_video(folder / f"ir{suffix}", folder / f"vis{suffix}", folder / output, fuser=fuser)
        taken = (time.process_time() - cpu) * 1000 / made.facts["frames"]
        yield Row(f"`defusion video`, {what}, aligning included", taken, made.facts["fps"])


if __name__ == "__main__":
    main()
