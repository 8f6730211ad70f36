"""Frames a second of thermal and visible clips, 640x512 pixels of 8 bits, made from real pairs; flicker; memory.

    python benchmarks/video.py BENCH [--frames 100] [--long 10000] [-o VIDEO.md]

A clip is made from a pair of VIFB, with noise of one level. Either the camera stands and something hot walks
through, or it pans by 4 pixels per frame. `Live` gets arrays as from cameras. `defusion video` reads two video files
and writes one, or reads and writes numbered PNG images; its figures hold all that it does: looking at the clips,
aligning them where that is said, reading, fusing and writing. CPU time is that of the whole process; frames a second
are by the clock.

Flicker is measured on four pairs at 320x256. Places are squares of 15x15 pixels. Still are those that the hot thing
does not cover now, where it has been, too; they are compared with the frame before it entered. Memory is that of the
process while `defusion video` makes one long clip of small images.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import psutil
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

#: The pairs on which flicker is measured, the size, and how far the thing moves from frame to frame.
STILL, STILL_SIZE, STEP_PX = ("walkingnight", "manCall", "carLight", "peopleshadow"), (320, 256), 6
#: Width of the hot thing; side of a place; and from how far on, in pixels, no place reaches into the thing.
THING_PX, PLACE_PX, CLEAR_PX = 44, 15, 11

#: Frames of the long clip after which its memory is compared with that at the end, and their size.
SETTLED, SMALL = 500, (64, 48)

Samples = NDArray[np.uint8]
Pair = tuple[Samples, Samples]


class Row(NamedTuple):
    """A row of the table."""

    what: str
    cpu_ms: float
    fps: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--long", type=int, default=10_000, help="Frames of the clip for memory; 0 for none.")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    lines: list[str] = []
    for line in report(given.bench, given.frames, given.long):
        lines.append(line)
        print(line, flush=True)
    if given.output:
        given.output.write_text("\n".join(["# Clips", "", *lines, ""]), encoding="utf-8")


def report(bench: Path, count: int, long: int) -> Iterator[str]:
    """Measures everything, and yields the lines of the tables."""
    fuser = Fuser()
    yield (
        f"{processor()}, {cores()} cores; defusion {version('defusion')}, OpenVINO {version('openvino')}, "
        f"{fuser.engine.precision}; OpenCV {cv2.__version__}, Python {platform.python_version()}; {count} frames of "
        f"{SIZE[0]}x{SIZE[1]} pixels, 8 bits."
    )
    yield from ("", "| what | CPU ms per frame | frames/s |", "|---|---|---|")
    for row in speeds(bench, count, fuser):
        yield f"| {row.what} | {row.cpu_ms:.0f} | {row.fps:.1f} |"
    yield from ("", "| levels by which still parts change, worst frame | " + " | ".join(STILL) + " |")
    yield "|---|" + "---|" * len(STILL)
    yield from flicker(bench, fuser)
    if long:
        yield from ("", memory(long, fuser))


def speeds(bench: Path, count: int, fuser: Fuser) -> Iterator[Row]:
    """Times everything that fuses a sequence of pairs."""
    for moving, name in ((True, "the camera pans"), (False, "the camera stands")):
        frames = list(clip(bench, count, moving))
        for quick in (True, False):
            how = "quick, the default" if quick else "`quick=False`"
            yield timed(f"`Live.frames`, {name}, {how}", frames, Live(fuser, quick=quick).frames)
    live = Live(fuser)
    yield timed("`Live.fuse`, pair by pair, the camera stands", frames, each_by(lambda pair: live.fuse(*pair)))
    rig = Rig.of(np.diag([0.5, 0.5, 1.0]), thermal=(256, 320), visible=SIZE[::-1])
    small = [(cv2.resize(hot, (320, 256), interpolation=cv2.INTER_AREA), seen) for hot, seen in frames]
    yield timed("`Live.frames`, a rig with thermal pictures of 320x256", small, Live(fuser, rig).frames)
    for align, what in (("off", ""), ("auto", ", aligned anew, too")):
        name = f"`Fuser(align={align!r}).fuse`, each pair anew{what}"
        yield timed(name, frames[: WARM + 10], each_by(Fuser(align=align).fuse))
    with tempfile.TemporaryDirectory() as folder:
        yield from files(Path(folder), frames, fuser)


def pair_of(scene: Path, size: tuple[int, int]) -> Pair:
    """Reads a pair, the thermal picture as one plane [H, W], at a size in width and height."""
    files = {path.stem: path for path in scene.iterdir()}
    hot, seen = (cv2.resize(np.asarray(read(files[role]).samples), size) for role in ("ir", "vis"))
    return hot if hot.ndim == 2 else hot[..., 0], seen


def noisy(samples: NDArray[np.float32], rng: np.random.Generator) -> Samples:
    return np.rint(np.clip(samples + rng.normal(0, 1, samples.shape), 0, 255)).astype(np.uint8)


def clip(bench: Path, count: int, moving: bool) -> Iterator[Pair]:
    """Yields thermal and visible frames."""
    hot, seen = pair_of(bench / "vifb" / SCENE, SIZE)
    rng = np.random.default_rng(1)
    for number in range(count):
        a, b = hot.astype(np.float32), seen.astype(np.float32)
        if moving:
            a, b = np.roll(a, 4 * number, 1), np.roll(b, 4 * number, 1)
        else:
            left = 6 * number % (SIZE[0] - THING_PX)
            a[180:300, left : left + THING_PX] = 240
            b[180:300, left : left + THING_PX] *= 0.6
        yield noisy(a, rng), noisy(b, rng)


def timed(what: str, frames: list[Pair], fuse: Callable[[Iterable[Pair]], Iterable[object]]) -> Row:
    for _ in fuse(frames[:WARM]):
        pass
    cpu, clock = time.process_time(), time.monotonic()
    count = sum(1 for _ in fuse(frames[WARM:]))
    return Row(what, (time.process_time() - cpu) * 1000 / count, count / (time.monotonic() - clock))


def each_by(fuse: Callable[[Pair], object]) -> Callable[[Iterable[Pair]], Iterable[object]]:
    return lambda pairs: map(fuse, pairs)


def files(folder: Path, frames: list[Pair], fuser: Fuser) -> Iterator[Row]:
    """Times `defusion video` on video files and on images."""
    for role, name in enumerate(("ir", "vis")):
        (folder / name).mkdir()
        segment = Segment(folder / f"{name}.nut", CODECS["h264"], 8, SIZE[1], SIZE[0], Fraction(RATE), (2, 2))
        for number, pair in enumerate(frames):
            write(folder / name / f"{number:05}.png", from_array(pair[role]))
            colour = pair[role] if pair[role].ndim == 3 else np.repeat(pair[role][..., None], 3, 2)
            segment.add(Fraction(number, RATE), colour.astype(np.float32) / 255)
        segment.close()
    for what, suffix, align in (
        ("video files to .mp4", ".nut", "off"),
        ("video files to .mp4, aligning included", ".nut", "auto"),
        ("PNG images to images", "", "off"),
    ):
        cpu = time.process_time()
        output = folder / f"{align}{suffix and '.mp4'}"
        made = fuse_video(folder / f"ir{suffix}", folder / f"vis{suffix}", output, fuser=fuser, align=align)
        taken = (time.process_time() - cpu) * 1000 / made.facts["frames"]
        yield Row(f"`defusion video`, {what}", taken, made.facts["fps"])


def flicker(bench: Path, fuser: Fuser) -> Iterator[str]:
    """Yields rows of a table: how much still parts change after something hot has entered."""
    columns = [changes(bench / "vifb" / scene, fuser) for scene in STILL]
    for what in columns[0]:
        yield f"| {what} | " + " | ".join(f"{column[what]:.2f}" for column in columns) + " |"


def changes(scene: Path, fuser: Fuser) -> dict[str, float]:
    """Measures how much still parts of a scene change, each frame alone and as they are kept."""
    hot, seen = pair_of(scene, STILL_SIZE)
    rng = np.random.default_rng(2)
    width, height = STILL_SIZE
    lefts = [width, *range(width - STEP_PX, -THING_PX, -STEP_PX)]
    frames, far = [], []
    for left in lefts:
        a, b, there = hot.astype(np.float32), seen.astype(np.float32), np.ones((height, width), np.uint8)
        place = slice(90, 190), slice(max(left, 0), max(left + THING_PX, 0))
        a[place], there[place] = 240, 0
        b[place] *= 0.6
        frames.append((noisy(a, rng), noisy(b, rng)))
        far.append(cv2.distanceTransform(there, cv2.DIST_L2, 5))
    ways = {"each alone": each_by(Fuser(align="off").fuse), "kept": Live(fuser).frames}
    found: dict[str, float] = {}
    for way, fuse in ways.items():
        lights = [cv2.blur(np.asarray(made, np.float32).mean(2), (PLACE_PX, PLACE_PX)) for made in fuse(frames)]
        for near, most in ((20, np.inf), (CLEAR_PX, 20)):
            still = [(away > near) & (away <= most) for away in far[1:]]
            moved = [np.abs(light - lights[0])[where] for light, where in zip(lights[1:], still, strict=True)]
            name = f"over {near} px from the hot thing" if most == np.inf else f"{near} to {most} px from it"
            found[f"{name}, {way}: mean"] = max(float(each.mean()) for each in moved if each.size)
            found[f"{name}, {way}: worst hundredth"] = max(
                float(np.quantile(each, 0.99)) for each in moved if each.size
            )
    return found


def memory(count: int, fuser: Fuser) -> str:
    """Makes a long clip of small images, and says how much memory the process had on the way."""
    rng, process, taken = np.random.default_rng(0), psutil.Process(), {}
    scene = rng.integers(0, 255, (*SMALL[::-1], 3), np.uint8)

    def look(done: int, of: int | None) -> None:
        if done in (SETTLED, count):
            taken[done] = process.memory_info().rss / 1e6

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for role in ("ir", "vis"):
            (folder / role).mkdir()
            for number in range(count):
                path = folder / role / f"{number:06}.png"
                if number < 20:
                    frame = np.roll(scene[..., 0], number, 1) if role == "ir" else scene
                    write(path, from_array(np.ascontiguousarray(frame)))
                else:
                    os.link(folder / role / f"{number % 20:06}.png", path)
        made = fuse_video(folder / "ir", folder / "vis", folder / "out.mp4", fuser=fuser, align="off", report=look)
    return (
        f"Memory of the process while {made.facts['frames']} frames of {SMALL[0]}x{SMALL[1]} pixels were made: "
        f"{taken[SETTLED]:.0f} MB after {SETTLED} of them, {taken[count]:.0f} MB after all."
    )


if __name__ == "__main__":
    main()
