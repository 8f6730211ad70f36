"""How far a large scene, fused by overviews and tiles, stands from the same fused whole, and whether tiles show.

    python benchmarks/tiles.py BENCH [--scenes 30] [--most-mp 12] [--most-network-mp 4] [-o TABLE.md]

Scenes of the pair sets of BENCH, as many of each, are scaled to sizes from 1.6 megapixels up, at even steps of the
logarithm, and fused for every task and by head `paper`, in float32, three times: as users do; with one tile as large
as the scene; and whole at once. Ways that ask the network are scaled to less: whole, it takes a gigabyte a megapixel.
Scaled up, pictures have little in their finest octaves; so the scenes of other sets that are large as they are follow
in rows of their own, each for the task that is recognised.

- PSNR to whole: what overviews change, anywhere; where the network is asked, the attention of a sample. Of the latter
  every third scene also with samples of other sizes: what a larger one would bring.
- Step: across the borders of tiles, neighbours differ by the scene itself. Of all borders the largest difference of
  neighbours, and the largest mean along a border, above what the picture made without tiles has at the same places,
  of 255 levels. No seam: zero, but for rounding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray
from scenes import pair_of, psnr, scenes

from defusion import tiling
from defusion.api import Fuser
from defusion.errors import EngineError
from defusion.imaging import Picture, from_array, read
from defusion.model.config import BLENDINGS
from defusion.tiling import Overview, Size, Tiles

#: Sets of pairs, and the task that they are of.
SETS = {
    "mefb": "exposure",
    "mfifb": "focus",
    "nyud_synth_gt": "focus",
    "roadscene": "infrared",
    "tno": "infrared",
    "vifb": "infrared",
}
LEAST_MP = 1.6

#: Samples of other sizes, by their sides in pixels, are measured on one of so many scenes.
SIZES = (256, 512, 768, 1024)
EACH = 3

Pixels = NDArray[np.float32]


class Way(NamedTuple):
    """A way to fuse, as options of `Fuser`."""

    label: str
    task: str | None = None
    head: str | None = None

    @property
    def asks(self) -> bool:
        """Whether the network runs at the size of the scene where that is fused whole."""
        return self.head == "paper" or (self.task is not None and BLENDINGS[self.task].asks_network)


WAYS = (*(Way(f"task {task}", task=task) for task in BLENDINGS), Way("head paper", head="paper"))


class Case(NamedTuple):
    """A pair of the bench."""

    set_name: str
    files: tuple[Path, Path]
    megapixels: float

    def pictures(self, most_mp: float) -> list[Picture]:
        """Reads the pair, scaled to the megapixels, or to fewer."""
        target = min(self.megapixels, most_mp)
        return [scaled(read(file), target) for file in self.files]


class Found(NamedTuple):
    """What a case shows."""

    megapixels: float
    psnr_db: float
    largest_step: float
    mean_step: float
    by_size: list[float]
    """PSNR to whole with samples of sides of `SIZES`; empty where that was not measured."""


def scaled(picture: Picture, megapixels: float) -> Picture:
    factor = (megapixels * 1e6 / (picture.height * picture.width)) ** 0.5
    if abs(factor - 1) < 1e-3:
        return from_array(np.asarray(picture.samples))
    size = round(picture.width * factor), round(picture.height * factor)
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return from_array(cv2.resize(np.asarray(picture.samples), size, interpolation=how))


def measured(fuser: Fuser, way: Way, pictures: list[Picture], sizes: Sequence[int]) -> Found:
    """Compares a pair by overviews and tiles with the pair in one tile, and whole."""
    usual = tiling.WHOLE_PX, tiling.TILE_PX
    by_size = [of_sample(fuser, pictures, side_px) for side_px in sizes]
    as_usual = fuser.fuse_pictures(pictures).pixels
    size = Size(*as_usual.shape[:2])
    try:
        tiling.TILE_PX = max(size)
        uncut = fuser.fuse_pictures(pictures).pixels
        tiling.WHOLE_PX = size.height * size.width
        whole = fuser.fuse_pictures(pictures).pixels
    finally:
        tiling.WHOLE_PX, tiling.TILE_PX = usual
    if way.asks:
        cut = tiling.tiles(size, fuser.engine.config.network_reach_px)
    else:
        finest = Overview.lacking(min(Overview.of(size).finer, tiling.MOST_FINER), size)
        cut = finest.tiles(2 * finest.scale)
    decibels = [psnr(each, whole) for each in by_size]
    return Found(size.height * size.width / 1e6, psnr(as_usual, whole), *steps(as_usual, uncut, cut), decibels)


def of_sample(fuser: Fuser, pictures: list[Picture], side_px: int) -> Pixels:
    """Fuses with a sample of another size."""
    with mock.patch.object(tiling, "SAMPLE_PX", side_px):
        return fuser.fuse_pictures(pictures).pixels


def steps(tiled: Pixels, uncut: Pixels, cut: Tiles) -> tuple[float, float]:
    """By how much the largest step across borders, and the largest mean along one, exceed those without tiles."""
    largest, means = [], []
    for axis in (0, 1):
        borders = [span.core.start for span in tiling.spans(tiled.shape[axis], cut)][1:]
        if borders:
            index = np.array(borders)
            one, other = (
                np.abs(each.take(index, axis) - each.take(index - 1, axis)).mean(2) * 255 for each in (tiled, uncut)
            )
            largest.append(float(one.max() - other.max()))
            means.append(float((one.mean(1 - axis) - other.mean(1 - axis)).max()))
    return max(largest), max(means)


def chosen(bench: Path, count: int, most_mp: float) -> list[Case]:
    """So many pairs, the sets in turn, so that each has small and large ones."""
    of_sets = [
        [(name, tuple(pair_of(folder))) for folder in folders]
        for name, folders in scenes(bench, -(-count // len(SETS)))
        if name in SETS
    ]
    in_turn = [each for turn in zip(*of_sets, strict=False) for each in turn][:count]
    sizes = np.geomspace(LEAST_MP, most_mp, len(in_turn))
    return [Case(name, files, float(mp)) for (name, files), mp in zip(in_turn, sizes, strict=True)]


def large_ones(bench: Path, most_mp: float) -> Iterator[Case]:
    """Pairs of other sets that are large as they are; of a stack each two neighbours."""
    for name, folders in scenes(bench):
        for folder in folders if name not in SETS else ():
            stack = sorted(folder.glob("frame_*"))
            first = read(stack[0] if stack else pair_of(folder)[0])
            megapixels = first.height * first.width / 1e6
            if tiling.WHOLE_PX / 1e6 < megapixels <= most_mp:
                for files in pairwise(stack or pair_of(folder)):
                    yield Case(name, files, megapixels)


def row_of(label: str, found: list[Found]) -> str:
    decibels = [each.psnr_db for each in found]
    sizes = [each.megapixels for each in found]
    cells = (
        label,
        len(found),
        f"{min(sizes):.1f} to {max(sizes):.1f}",
        f"{np.median(decibels):.1f}",
        f"{min(decibels):.1f}",
        f"{max(each.largest_step for each in found):.3f}",
        f"{max(each.mean_step for each in found):.3f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--most-mp", type=float, default=12)
    parser.add_argument("--most-network-mp", type=float, default=4)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    cases = chosen(options.bench, options.scenes, options.most_mp)
    if not cases:
        parser.error(f"{options.bench} has none of the sets {', '.join(SETS)}")
    lines = [
        "| way | scenes | MP | PSNR to whole, dB: median | worst | largest step above that without tiles, of 255 | "
        "largest mean step along a border above that |",
        "|---|---|---|---|---|---|---|",
    ]
    of_sizes = [
        f"Samples of other sizes, usual {tiling.SAMPLE_PX}x{tiling.SAMPLE_PX}: PSNR to whole, dB, median.",
        "",
        f"| way | scenes | {' | '.join(f'{side_px}x{side_px}' for side_px in SIZES)} |",
        "|---" * (2 + len(SIZES)) + "|",
    ]
    left_out: list[str] = []

    def measure(fuser: Fuser, way: Way, case: Case, most_mp: float, sizes: Sequence[int] = ()) -> Iterator[Found]:
        try:
            yield measured(fuser, way, case.pictures(most_mp), sizes)
        except EngineError as error:
            left_out.append(f"- Not run: {way.label}, {case.files[0].parent.name}: {error}")

    for way in WAYS:
        fuser = Fuser(task=way.task, head=way.head, precision="float32")
        most_mp = options.most_network_mp if way.asks else options.most_mp
        by_case = [
            (case, list(measure(fuser, way, case, most_mp, SIZES if way.asks and number % EACH == 0 else ())))
            for number, case in enumerate(cases)
        ]
        lines.append(row_of(way.label, [each for _, found in by_case for each in found]))
        if way.asks:
            by_size = [each.by_size for _, found in by_case for each in found if each.by_size]
            medians = " | ".join(f"{decibels:.1f}" for decibels in np.median(by_size, 0))
            of_sizes.append(f"| {way.label} | {len(by_size)} | {medians} |")
        own = [each for case, found in by_case if SETS[case.set_name] == way.task for each in found]
        if own:
            lines.append(row_of(f"{way.label}, scenes of its kind", own))
        print("\n".join(lines[-2:]), file=sys.stderr, flush=True)
    fuser, large = Fuser(precision="float32"), list(large_ones(options.bench, options.most_mp))
    by_task: dict[str, list[Found]] = {}
    for case in large:
        task = fuser.plan(case.pictures(options.most_mp)).task
        way = Way(f"task {task}", task=task)
        if not way.asks:
            by_task.setdefault(way.label, []).extend(measure(fuser, way, case, options.most_mp))
    lines += [row_of(f"{label}, large as they are", found) for label, found in by_task.items() if found]
    text = "\n".join([*lines, "", *of_sizes, *([""] if left_out else []), *left_out])
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
