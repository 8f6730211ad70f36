"""How far tiles move a picture from the whole plane at once, and whether their borders can be seen.

    python benchmarks/tiles.py BENCH [--scenes 30] [--samples 384 768 1152] [-o TABLE.md]

The largest scenes of BENCH are fused whole and in tiles whose attention comes from samples of several sizes. A seam
is a step across a tile's border that is larger than the step which the picture fused whole has at the same place: the
table gives the largest excess over all borders, of 255 levels. (Tiles that take the attention of the whole have none
by construction; this excess is what the sample's attention adds, and it is smooth.)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scenes import pair_of, psnr, scenes

from defusion import tiling
from defusion.api import Fuser
from defusion.imaging import Picture, read
from defusion.model.config import size_multiple

#: Small tiles, so that pictures of one megapixel have borders too.
TILE_PX = 384


def fused(fuser: Fuser, pictures: list[Picture], whole_px: float, sample_px: int) -> np.ndarray:
    tiling.WHOLE_PX, tiling.SAMPLE_PX = whole_px, sample_px
    return fuser.fuse_pictures(pictures).pixels


def excess(tiled: np.ndarray, whole: np.ndarray, multiple: int) -> float:
    """The largest step across a border of tiles above that of the whole picture there, of 255."""
    most = 0.0
    for axis in (0, 1):
        borders = [span.core.start for span in tiling.spans(tiled.shape[axis], tiling.Tiles(0, multiple, TILE_PX))][
            1:
        ]
        if borders:
            index = np.array(borders)
            one, other = (
                np.abs(each.take(index, axis) - each.take(index - 1, axis)).mean(2) for each in (tiled, whole)
            )
            most = max(most, float((one - other).max()) * 255)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--samples", type=int, nargs="+", default=[384, 768, 1152])
    parser.add_argument("--most-mp", type=float, default=4)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    sized = []
    for name, folders in scenes(options.bench):
        for folder in folders:
            first = read(pair_of(folder)[0])
            sized.append((first.height * first.width / 1e6, f"{name}/{folder.name}", folder))
    largest = sorted((each for each in sized if each[0] <= options.most_mp), reverse=True)[: options.scenes]
    fuser, tiling.TILE_PX = Fuser(precision="float32"), TILE_PX
    columns = " | ".join(f"sample {side}, dB | step, of 255" for side in options.samples)
    lines = [f"| scene | MP | head | {columns} |", "|---|---|---|" + "---|---|" * len(options.samples)]
    found: dict[int, list[tuple[float, float]]] = {side: [] for side in options.samples}
    for megapixels, name, folder in largest:
        pictures = [read(file) for file in pair_of(folder)]
        head = fuser.plan(pictures).head
        whole = fused(fuser, pictures, float("inf"), max(options.samples))
        for side in options.samples:
            tiled = fused(fuser, pictures, 0, side)
            found[side].append((psnr(tiled, whole), excess(tiled, whole, size_multiple(head))))
        cells = " | ".join(f"{found[side][-1][0]:.1f} | {found[side][-1][1]:.2f}" for side in options.samples)
        lines.append(f"| {name} | {megapixels:.2f} | {head} | {cells} |")
        print(lines[-1], flush=True)
    medians = " | ".join(
        f"{np.median([each[0] for each in found[side]]):.1f} | {max(each[1] for each in found[side]):.2f}"
        for side in options.samples
    )
    lines.append(f"| median, largest step | | | {medians} |")
    text = "\n".join(lines)
    print(lines[-1])
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
