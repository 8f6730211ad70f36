"""Measures what the search for moving things gives away in focus stacks: `python benchmarks/walkers.py BENCH`.

A dark disk walks through three frames of each stack of four or more frames, at two places. The first figures are how
many disks one frame alone shows, by the disk's size. The others are of the stacks and pairs without disks: in how
many something is given away, and which part of the picture, on average over all. Frames are aligned first.

`--constants` repeats that with each constant of the search halved and doubled. `--half report` takes the scenes on
which nothing was chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.alignment import owners
from defusion.alignment.frames import Wanted
from defusion.alignment.look import places_shown, shrink_to, shrunk
from defusion.api.sources import frames_of
from defusion.scene.scene import Scene

MOST_PX = 2.5e5
SETS = ("focus_stacks", "mfifb")
#: Diameters, as fractions of the width.
SIZES = (0.04, 0.025, 0.015)
SEEDS = (5, 6)
CONSTANTS = (
    "_AROUND_PART",
    "_LIMIT",
    "_TONE",
    "_MEAN_PART",
    "_MEAN_OF_BLUR",
    "_STRONG",
    "_WEAK",
    "_HOLE_PART",
    "_GROWN_PART",
    "_OWNER_PART",
    "_MAJORITY",
    "_WHOLE_PART",
)

Pixels = NDArray[np.float32]


class Stack(NamedTuple):
    """Small frames of a scene, aligned, and which of their places each has."""

    frames: list[Pixels]
    there: list[NDArray[np.bool_] | None]


def loaded(folder: Path) -> Stack:
    """Returns the frames of a scene, aligned and small."""
    files = [str(file) for file in sorted(folder.iterdir()) if file.stem != "gt"]
    scene = Scene(frames_of(files), align=Wanted())
    pictures = [scene.opened(frame) for frame in scene.frames]
    shrink = shrink_to(pictures[0], MOST_PX)
    return Stack([shrunk(each, shrink) for each in pictures], [places_shown(each, shrink) for each in pictures])


def walked(stack: Stack, size: float, seed: int) -> int:
    """Returns how many of three disks are shown by one frame alone."""
    height, width = stack.frames[0].shape[:2]
    radius = size * width / 2
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.1, 0.6) * width, rng.uniform(0.2, 0.8) * height
    frames, disks = [frame.copy() for frame in stack.frames], []
    for step in range(3):
        place = np.zeros((height, width), np.float32)
        centre = tuple(round(16 * each) for each in (x + 3.5 * radius * step, y))
        cv2.circle(place, centre, round(16 * radius), 1, -1, cv2.LINE_AA, 4)
        frame = frames[step + (len(frames) - 3) // 2]
        frame += (np.float32(0.05) - frame) * place[..., None]
        disks.append(place > 0.5)
    masks = owners.owned(frames, stack.there)
    shown = np.sum([np.ones((height, width), bool) if mask is None else mask == 0 for mask in masks], 0)
    return sum((shown[disk] == 1).mean() > 0.9 for disk in disks)


def measured(scenes: Sequence[Stack]) -> str:
    """Returns the cells of a row."""
    stacks = [each for each in scenes if len(each.frames) > 3]
    found = [sum(walked(stack, size, seed) for stack in stacks for seed in SEEDS) for size in SIZES]
    given = []
    for stack in scenes:
        masks = [mask for mask in owners.owned(*stack) if mask is not None]
        given.append(float((np.max(masks, 0) > 0).mean()) if masks else 0.0)
    cells = [*(f"{each} of {3 * len(SEEDS) * len(stacks)}" for each in found)]
    return " | ".join([*cells, f"{sum(each > 0 for each in given)} of {len(given)}", f"{np.mean(given):.2%}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--half", choices=("tuning", "report"), default="tuning")
    parser.add_argument("--constants", action="store_true")
    options = parser.parse_args()
    folders = [
        folder
        for name in SETS
        for folder in sorted((options.bench / name).iterdir())[int(options.half == "report") :: 2]
    ]
    scenes = [loaded(folder) for folder in folders]
    print("| constant | " + " | ".join(f"{size:.1%} of the width" for size in SIZES) + " | scenes | part |")
    print(f"| as they are | {measured(scenes)} |", flush=True)
    for name in CONSTANTS if options.constants else ():
        usual = getattr(owners, name)
        for factor in (0.5, 2):
            setattr(owners, name, usual * factor)
            print(f"| {name} {usual * factor:g} | {measured(scenes)} |", flush=True)
        setattr(owners, name, usual)


if __name__ == "__main__":
    main()
