"""How far a large scene, fused by overview and tiles, stands from the same scene fused whole.

    python benchmarks/tiles.py BENCH [--task TASK] [--scenes 30] [--most-mp 12.5] [--minutes 60] [-o TABLE.md]

Pairs of BENCH that are too large to run whole as a rule are fused as users fuse them, and whole at once; by head
`pyramid`, task as the sources decide unless given. Of a stack, each two neighbours are a pair, and so is their
middle, half and a quarter as large: real detail at every size. Scenes are chosen at even steps of the size's
logarithm, and taken in an order of chance until the minutes are over. Where the network is asked, one of 12
megapixels takes 12 GB of memory whole.

What can differ: the finest octaves take tiles with a halo as wide as they see, and no network. The rest is fused at
the overview's size. So `exposure` and `infrared`, which ask no network, differ by rounding; `focus` leads its coarser
octaves by the finest detail of the overview, not of the scene; `generic` has the network judge the overview.

The step is that across a tile's border above the step which the picture fused whole has at the same place: the
largest over all borders, of 255 levels. It counts a seam, and also what the overview changes anywhere. What the cut
alone changes is the last column: the largest difference from overview and one tile as large as the scene.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scenes import pair_of, psnr, scenes

from defusion import tiling
from defusion.api import Fuser
from defusion.errors import EngineError
from defusion.imaging import Picture, from_array, read
from defusion.model.config import BLENDINGS, TaskName
from defusion.tiling import Overview, Size

ORDINALS = {2: "half", 4: "quarter"}


class Found(NamedTuple):
    """What a case shows."""

    task: TaskName
    psnr_db: float
    step_of_255: float
    cut_of_255: float


def measured(fuser: Fuser, pictures: list[Picture]) -> Found:
    """Compares a pair by overview and tiles with the pair whole."""
    usual = tiling.WHOLE_PX, tiling.TILE_PX
    tiled = fuser.fuse_pictures(pictures).pixels
    try:
        tiling.TILE_PX = math.inf
        uncut = fuser.fuse_pictures(pictures).pixels
        tiling.WHOLE_PX = math.inf
        whole = fuser.fuse_pictures(pictures).pixels
    finally:
        tiling.WHOLE_PX, tiling.TILE_PX = usual
    cut = float(np.abs(tiled - uncut).max()) * 255
    return Found(fuser.plan(pictures).task, psnr(tiled, whole), excess(tiled, whole), cut)


def excess(tiled: np.ndarray, whole: np.ndarray) -> float:
    """The largest step across a border of tiles above that of the whole picture there, of 255."""
    cut = Overview.of(Size(*tiled.shape[:2])).tiles
    most = 0.0
    for axis in (0, 1):
        borders = [span.core.start for span in tiling.spans(tiled.shape[axis], cut)][1:]
        if borders:
            index = np.array(borders)
            one, other = (
                np.abs(each.take(index, axis) - each.take(index - 1, axis)).mean(2) for each in (tiled, whole)
            )
            most = max(most, float((one - other).max()) * 255)
    return most


class Case(NamedTuple):
    """A pair, or the middle of it."""

    megapixels: float
    name: str
    files: tuple[Path, Path]
    part: int
    """One so many-th of the picture's area, its middle."""

    def pictures(self) -> list[Picture]:
        """Reads the pair."""
        return [from_array(middle(np.asarray(read(file).samples), self.part)) for file in self.files]


def middle(samples: np.ndarray, part: int) -> np.ndarray:
    high, wide = (round(side / part**0.5) for side in samples.shape[:2])
    top, left = ((side - size) // 2 for side, size in zip(samples.shape, (high, wide), strict=False))
    return np.ascontiguousarray(samples[top : top + high, left : left + wide])


def cases(bench: Path, most_mp: float) -> Iterator[Case]:
    for name, folders in scenes(bench):
        for folder in folders:
            first = read(pair_of(folder)[0])
            whole_mp = first.height * first.width / 1e6
            stack = sorted(folder.glob("frame_*"))
            pairs = list(pairwise(stack)) if len(stack) > 2 else [tuple(pair_of(folder))]
            for number, (one, other) in enumerate(pairs):
                for part in (1, 2, 4):
                    if tiling.WHOLE_PX / 1e6 < whole_mp / part <= most_mp:
                        of_stack = f" {number}" if len(pairs) > 1 else ""
                        of_whole = f", a {ORDINALS[part]}" if part > 1 else ""
                        yield Case(whole_mp / part, f"{name}/{folder.name}{of_stack}{of_whole}", (one, other), part)


def spread(found: list[Case], count: int) -> list[Case]:
    """Chooses cases at even steps of the logarithm of their size."""
    chosen: list[Case] = []
    for target in np.geomspace(min(found).megapixels, max(found).megapixels, min(count, len(found))):
        chosen.append(min(found, key=lambda case: abs(np.log(case.megapixels / target))))
        found.remove(chosen[-1])
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--task", choices=BLENDINGS)
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--most-mp", type=float, default=12.5)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    found = list(cases(options.bench, options.most_mp))
    if not found:
        parser.error(f"{options.bench} has no scene above {tiling.WHOLE_PX / 1e6} megapixels")
    chosen = spread(found, options.scenes)
    fuser = Fuser(precision="float32", task=options.task)
    rows: list[tuple[Case, Found]] = []
    left_out: list[str] = []
    began = time.monotonic()
    for index in np.random.default_rng(0).permutation(len(chosen)):
        case = chosen[index]
        if time.monotonic() - began > options.minutes * 60:
            left_out.append(f"- Not run for want of time: {case.name}, {case.megapixels:.1f} MP")
            continue
        try:
            rows.append((case, measured(fuser, case.pictures())))
        except EngineError as error:
            left_out.append(f"- Not run: {case.name}, {case.megapixels:.1f} MP: {error}")
            continue
        print(row_of(*rows[-1]), flush=True)
    lines = [
        "| scene | MP | task | network | PSNR to whole, dB | step, of 255 | by the cut, of 255 |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [row_of(*row) for row in sorted(rows, reverse=True)]
    for task in BLENDINGS:
        of_task = [each for _, each in rows if each.task == task]
        if of_task:
            median, largest = np.median([each.psnr_db for each in of_task]), max(each.step_of_255 for each in of_task)
            lines.append(f"| {task}: median, largest step | | | | {median:.1f} | {largest:.2f} | |")
    text = "\n".join([*lines, *([""] if left_out else []), *left_out])
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


def row_of(case: Case, found: Found) -> str:
    asked = "asked" if BLENDINGS[found.task].verdict else "not asked"
    cells = (
        case.name,
        f"{case.megapixels:.2f}",
        found.task,
        asked,
        f"{found.psnr_db:.1f}",
        f"{found.step_of_255:.2f}",
        f"{found.cut_of_255:.2f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
