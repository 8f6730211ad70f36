"""Measures deghosting with moving things that are pasted into still brackets: `python benchmarks/ghosts.py BENCH`.

Disks of a tenth of the width, cut from elsewhere in the frame, are pasted into every frame but the reference, at two
sets of places for each of ten stacks. The bracket is then fused as exposures, with and without deghosting. The script
prints the mean difference from the fused still bracket, in 8-bit levels: where things move, elsewhere, and for the
still bracket with deghosting. "Known" is the first if the disks are replaced by the next frame's own content, in the
frame's tones: what two frames of the stack differ by anyway, such as leaves in the wind, no deghosting can repair.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion import Fuser
from defusion.alignment.motion import reference_of
from defusion.imaging import from_array, read

MOST_PX = 2.5e5
SETS = ("exposure_stacks_kedema", "exposure_stacks_ipol")
SEEDS = (5, 6)

Pixels = NDArray[np.float32]


def loaded(path: Path) -> Pixels:
    pixels = read(path).pixels
    height, width = pixels.shape[:2]
    shrink = min(1.0, (MOST_PX / (height * width)) ** 0.5)
    small = cv2.resize(pixels, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def with_movers(frames: Sequence[Pixels], reference: int, seed: int) -> tuple[list[Pixels], NDArray[np.bool_]]:
    """Returns the frames with three disks each, and a mask of the disks."""
    rng = np.random.default_rng(seed)
    height, width = frames[0].shape[:2]
    side = int(0.11 * width)
    down, across = np.mgrid[:side, :side]
    disk = (down - side / 2) ** 2 + (across - side / 2) ** 2 < (side / 2) ** 2
    moved, places = [frame.copy() for frame in frames], np.zeros((height, width), bool)
    for index, frame in enumerate(frames):
        for _ in range(3 if index != reference else 0):
            (to_y, from_y), (to_x, from_x) = (rng.integers(0, length - side, 2) for length in (height, width))
            of_disk = frame[from_y : from_y + side, from_x : from_x + side][disk]
            moved[index][to_y : to_y + side, to_x : to_x + side][disk] = of_disk
            places[to_y : to_y + side, to_x : to_x + side] |= disk
    return moved, places


def with_known(frames: Sequence[Pixels], moved: Sequence[Pixels], reference: int) -> list[Pixels]:
    """Returns the frames with what the next one towards the reference shows in the places of the disks."""
    order = [int(each) for each in np.argsort([frame.mean() for frame in frames])]
    known = []
    for index, frame in enumerate(frames):
        place = order.index(index)
        near = frames[order[place + int(np.sign(order.index(reference) - place))]]
        told = np.empty_like(frame)
        for channel in range(frame.shape[2]):
            tones = (np.quantile(each[..., channel], np.linspace(0, 1, 257)) for each in (near, frame))
            told[..., channel] = np.interp(near[..., channel], *tones)
        known.append(np.where((moved[index] != frame).any(2, keepdims=True), told, frame))
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", type=Path)
    options = parser.parse_args()
    plain, deghosting = (Fuser(task="exposure", align="off", deghost=how) for how in ("off", "high"))

    def fused(fuser: Fuser, frames: Sequence[Pixels]) -> NDArray[np.float64]:
        pictures = [from_array(np.rint(frame * 255).astype(np.uint8)) for frame in frames]
        return np.asarray(fuser.fuse(pictures).samples, float)

    for scene in [scene for name in SETS for scene in sorted((options.bench / name).iterdir())]:
        frames = [loaded(file) for file in sorted(scene.iterdir())]
        reference = reference_of(frames)
        truth = fused(plain, frames)
        still = np.abs(fused(deghosting, frames) - truth).mean()
        for seed in SEEDS:
            moved, places = with_movers(frames, reference, seed)
            ghosts, mended, known = (
                np.abs(fused(fuser, given) - truth).mean(2)
                for fuser, given in (
                    (plain, moved),
                    (deghosting, moved),
                    (plain, with_known(frames, moved, reference)),
                )
            )
            print(
                f"| {scene.name} {seed} "
                f"| {ghosts[places].mean():.1f} / {mended[places].mean():.1f} | {known[places].mean():.1f} "
                f"| {ghosts[~places].mean():.2f} / {mended[~places].mean():.2f} | {still:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
