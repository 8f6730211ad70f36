"""Rigs that are known: real thermal and visible pairs, of which the thermal pictures are scaled, cropped and turned.

Each trial takes pairs of one set, makes visible pictures of about a megapixel, and looks through a made-up thermal
camera that sees a part of the scene at .3 to .6 of the scale, turned by up to 3 degrees. What is found is compared
with that. The sets are not exact: at this size their corners are off by 3 to 25 pixels. So the blocks of each pair
first say how its thermal picture lies in the visible one; pairs in which too few agree are left out.

    python benchmarks/rigs.py BENCH [--trials 30] [--pairs 4] [--seed 1] [-o RIGS.md]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defusion.alignment.geometry import mapped
from defusion.alignment.look import Look
from defusion.alignment.voting import agreed, votes
from defusion.errors import ImageError
from defusion.imaging import Picture, from_array, luminance, read
from defusion.scene.frame import Frame
from defusion.scene.rig import calibrated
from defusion.system.machine import cores, processor

VISIBLE = (896, 1152)
SETS = ("roadscene", "vifb", "tno")
#: A rig is good if its corners are off by less, in visible pixels.
GOOD_PX = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--scenes", type=int, default=20, help="Most of each set.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    bases: dict[Path, np.ndarray | None] = {}
    for trial in range(given.trials):
        rng = np.random.default_rng((given.seed, trial))
        name = SETS[trial % len(SETS)]
        scenes = sorted(path for path in (given.bench / name).iterdir() if path.is_dir())
        scenes = [scenes[i] for i in np.linspace(0, len(scenes) - 1, min(given.scenes, len(scenes))).astype(int)]
        chosen: list[Path] = []
        for index in rng.permutation(len(scenes)):
            scene = scenes[index]
            if len(chosen) == given.pairs:
                break
            if scene not in bases:
                bases[scene] = base_of(scene)
            if bases[scene] is not None:
                chosen.append(scene)
        matrix, size = camera(rng)
        row = {"trial": trial + 1, "set": name, "scale": round(float(np.hypot(*matrix[0, :2])), 2)}
        began = time.process_time()
        try:
            rig = calibrated([pair(scene, matrix, size, bases[scene]) for scene in chosen])
        except ImageError as error:
            row |= {"told": str(error)}
        else:
            corners = np.array([[0, 0], [size[0] - 1, 0], [size[0] - 1, size[1] - 1], [0, size[1] - 1]], float)
            away = mapped(np.linalg.inv(rig.matrix), corners) - mapped(np.linalg.inv(matrix), corners)
            row |= {"off_px": round(float(np.hypot(*away.T).mean()), 2), "told_off_px": round(rig.off_px, 2)}
            row |= {"model": rig.model, "agreeing": f"{rig.agreeing} of {rig.pairs}"}
            row |= {"confidence": round(rig.confidence, 3)}
        rows.append(row | {"cpu_s": round(time.process_time() - began, 1)})
        print(json.dumps(rows[-1]), flush=True)
    text = table(rows)
    print(text)
    if given.output:
        given.output.write_text(f"# Rigs that are known\n\n{text}\n", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """The trials as a table, after a sentence about all of them."""
    off = np.array([row["off_px"] for row in rows if "off_px" in row])
    right = int((off < GOOD_PX).sum())
    columns = ("trial", "set", "scale", "off_px", "told_off_px", "model", "agreeing", "confidence", "cpu_s", "told")
    lines = [
        f"{processor()}, {cores()} cores; defusion {version('defusion')}, OpenCV {cv2.__version__}, Python "
        f"{platform.python_version()}.",
        "",
        f"Of {len(rows)} trials {right} were off by less than {GOOD_PX} visible pixels, {len(off) - right} by more, "
        f"and {len(rows) - len(off)} were told as not lined up. `off_px` is the mean of the four corners, "
        "`told_off_px` what the rig says about itself.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    return "\n".join([*lines, *("| " + " | ".join(str(row.get(key, "")) for key in columns) + " |" for row in rows)])


def base_of(scene: Path) -> np.ndarray | None:
    """How a pair lies as it is, by the votes of its blocks around that. None where too few agree."""
    thermal, visible = (Look.of(frame.open(), 2).levels for frame in pair(scene, np.eye(3), VISIBLE[::-1], None))
    matrix, reach = np.eye(3), 12
    for _ in range(4):
        fit = agreed(votes(visible, thermal, matrix, "edges", reach))
        if fit is None:
            return None
        matrix, reach = matrix @ fit.motion, 6
    hits = votes(visible, thermal, matrix, "edges").hits
    return matrix / matrix[2, 2] if hits.mean() >= 0.25 and hits.sum() >= 30 else None


def camera(rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
    """A thermal camera: its matrix from visible pixels, and its width and height."""
    height, width = VISIBLE
    scale, part, turn = rng.uniform(0.3, 0.6), rng.uniform(0.6, 1.0), np.deg2rad(rng.uniform(-3, 3))
    size = round(width * part * scale), round(height * part * scale)
    room = np.array([width, height]) * (1 - part) / 2
    middle = np.array([width - 1, height - 1]) / 2 + rng.uniform(-1, 1, 2) * room
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = (np.array(size) - 1) / 2 - linear @ middle
    return matrix, size


def pair(scene: Path, matrix: np.ndarray, size: tuple[int, int], base: np.ndarray | None) -> tuple[Frame, Frame]:
    """A pair of the bench as the cameras would have it; `base` lays its thermal picture upon the visible one."""
    files = {path.stem: path for path in scene.iterdir()}
    hot, seen = read(files["ir"]), read(files["vis"])
    thermal = (hot.pixels if hot.grey else luminance(hot.pixels))[..., 0]
    big, visible = fitted(thermal), fitted(seen.pixels)
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    blurred = cv2.GaussianBlur(big, (0, 0), 0.45 / scale)
    through = matrix if base is None else matrix @ np.linalg.inv(base)
    small = cv2.warpPerspective(blurred, through, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    made = Picture.of_pixels(np.ascontiguousarray(small[..., None]), "uint8")
    eight = from_array(np.rint(255 * np.clip(visible, 0, 1)).astype(np.uint8))
    return Frame.of(f"{scene.name} thermal", made), Frame.of(f"{scene.name} visible", eight)


def fitted(plane: np.ndarray) -> np.ndarray:
    """The middle of a picture, as large as the visible camera's."""
    height, width = plane.shape[:2]
    scale = max(VISIBLE[0] / height, VISIBLE[1] / width)
    large = cv2.resize(plane, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    top, left = (large.shape[0] - VISIBLE[0]) // 2, (large.shape[1] - VISIBLE[1]) // 2
    return np.ascontiguousarray(large[top : top + VISIBLE[0], left : left + VISIBLE[1]])


if __name__ == "__main__":
    main()
