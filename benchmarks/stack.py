"""Measures a made focus stack that breathes and drifts beside one that holds still: `python benchmarks/stack.py`.

Three slanted layers of texture, each blurred by .4 pixels for each frame away from focus, with noise of one level.
The frame's size changes by 6 % from the first frame to the last, and it drifts by some .6 pixels a frame. The script
prints how far off the corners of frames are, the part of places, which all have texture, whose depth is within one
frame of the truth (still, then moved), the mean gradient of the moved stack's result relative to that of the still
one, and what `--align auto` costs relative to `--align off`: processor time and memory of a process.

`--enlarged 7` makes frames so many times larger afterwards, for what large ones cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Shape, corner_distance, enlarged, shifted

WIDTH, HEIGHT = 600, 400
BREATHES, DRIFTS_PX, BLUR_PX = 0.06, 0.6, 0.4
#: Scenes are made this many times finer than frames, so that a frame is not softer because it moved.
FINER = 2

Pixels = NDArray[np.uint8]


class Run(NamedTuple):
    """What one process made, and what it took."""

    picture: NDArray[np.float64]
    depth: NDArray[np.float64]
    """From 0 for the first frame."""
    frames: list[dict[str, Any]]
    seconds: float
    peak_mb: float


def scene(rng: np.random.Generator, count: int) -> tuple[Pixels, NDArray[np.float32]]:
    """Returns texture [H, W, 3] of the fine scene, and its depth in frames [H, W]."""
    height, width = FINER * HEIGHT, FINER * WIDTH
    made = np.zeros((height, width, 3), np.float32)
    for grain in (1.2, 2.5, 6, 20, 60):
        noise = cv2.GaussianBlur(rng.normal(0, 1, made.shape).astype(np.float32), (0, 0), grain)
        made += noise / noise.std()
    y, x = (np.asarray(each, np.float32) for each in np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j])
    layer = (x * 3).astype(int).clip(0, 2)
    part = np.choose(layer, [0.1 + 0.5 * y, 0.9 - 0.4 * y, 0.05 + 0.9 * y])
    return (128 + 28 * made).clip(0, 255).astype(np.uint8), (part * (count - 1)).astype(np.float32)


def motions(rng: np.random.Generator, count: int) -> list[Matrix]:
    """Maps pixels of each frame to those of the middle one, which does not move."""
    middle = count // 2
    centre = shifted((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    drift = np.cumsum(rng.normal(0, DRIFTS_PX, (count, 2)), 0)
    drift -= drift[middle]
    sizes = 1 + BREATHES * (np.arange(count) - middle) / (count - 1)
    return [
        shifted(*away) @ centre @ enlarged(size, size) @ np.linalg.inv(centre)
        for away, size in zip(drift, sizes, strict=True)
    ]


def make(folder: Path, count: int, enlarge: int) -> tuple[list[list[Path]], list[Matrix], NDArray[np.float32]]:
    """Writes both stacks: still, moved."""
    rng = np.random.default_rng(2)
    texture, depth = scene(rng, count)
    places = motions(rng, count)
    blurred = [texture] + [cv2.GaussianBlur(texture, (0, 0), FINER * BLUR_PX * away) for away in range(1, count)]
    fine = enlarged(1 / FINER, 1 / FINER)
    files: list[list[Path]] = [[], []]
    for number, place in enumerate(places):
        away = np.rint(np.abs(depth - number)).astype(int)
        shown = np.empty_like(texture)
        for level in np.unique(away):
            shown[away == level] = blurred[level][away == level]
        for which, matrix in enumerate((np.eye(3), place)):
            moved = cv2.warpPerspective(
                shown,
                np.linalg.inv(fine) @ matrix @ fine,
                (FINER * WIDTH, FINER * HEIGHT),
                flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            )
            size = (enlarge * WIDTH, enlarge * HEIGHT)
            frame = cv2.resize(moved, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
            noisy = (frame + rng.normal(0, 1, frame.shape).astype(np.float32)).clip(0, 255).astype(np.uint8)
            files[which].append(folder / f"{'moved' if which else 'still'}-{number:02}.png")
            cv2.imwrite(str(files[which][-1]), noisy, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return files, places, cv2.resize(depth, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def fused(files: list[Path], align: str, folder: Path) -> Run:
    """Fuses in a process of its own."""
    output, maps = folder / f"{align}.png", folder / align
    command = [sys.executable, "-m", "defusion", "fuse", *map(str, files), "-o", str(output), "--task", "focus"]
    with Path(folder, "facts.json").open("w+b") as told:
        process = subprocess.Popen([*command, "--align", align, "--maps", str(maps), "--json"], stdout=told)
        _, status, used = os.wait4(process.pid, 0)
        told.seek(0)
        facts = json.loads(told.read()) if status == 0 else sys.exit(f"--align {align} ended with {status}")
    return Run(
        cv2.imread(str(output), cv2.IMREAD_GRAYSCALE).astype(float),
        cv2.imread(str(maps / "depth.png"), cv2.IMREAD_UNCHANGED) / 65535 * (len(files) - 1),
        [] if facts["alignment"] is None else facts["alignment"]["frames"],
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 1e3,
    )


def sharpness(picture: NDArray[np.float64]) -> float:
    """Returns the mean gradient."""
    return float(np.hypot(*np.gradient(picture)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--enlarged", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files, places, depth = make(Path(scratch), options.frames, options.enlarged)
        still = fused(files[0], "off", Path(scratch))
        moved = fused(files[1], "auto", Path(scratch))
    size = enlarged(options.enlarged, options.enlarged)
    shape = Shape(options.enlarged * HEIGHT, options.enlarged * WIDTH)
    found = [np.array(frame["matrix"]) for frame in moved.frames]
    cropped = found[options.frames // 2]
    off = [
        corner_distance(matrix @ np.linalg.inv(cropped), size @ np.linalg.inv(place) @ np.linalg.inv(size), shape)
        for matrix, place in zip(found, places, strict=True)
    ]
    left, top = np.rint(cropped[:2, 2]).astype(int)
    rows, columns = slice(top, top + moved.picture.shape[0]), slice(left, left + moved.picture.shape[1])
    truth = cv2.resize(depth, (shape.width, shape.height))
    near = [
        float((np.abs(run.depth - truth[part]) <= 1).mean())
        for run, part in ((still, (slice(None), slice(None))), (moved, (rows, columns)))
    ]
    aligned = sum(each["aligned"] for each in moved.frames)
    print(f"{options.frames} frames of {shape.width}x{shape.height}, {aligned} aligned")
    print(f"corners off by {np.median(off):.2f} pixels (median), {max(off):.2f} at most")
    print(f"depth within a frame: {near[0]:.1%} still, {near[1]:.1%} moved")
    print(f"sharpness {sharpness(moved.picture) / sharpness(still.picture[rows, columns]):.3f} of the still stack's")
    print(
        f"processor time {moved.seconds:.1f} s, {moved.seconds / still.seconds:.2f} times that without aligning; "
        f"memory {moved.peak_mb:.0f} MB, {moved.peak_mb / still.peak_mb:.2f} times"
    )


if __name__ == "__main__":
    main()
