"""How far pictures of each precision stand from those in float32, by set of scenes.

    python benchmarks/precision.py BENCH [--weights FILE] [--most 20] [--record] [-o TABLE.md]

PSNR of up to `--most` scenes of each set; mean and least of each set. Scenes are fused as users fuse them, which for
most tasks asks no network, so that pictures are equal; and by head `paper` and by task `generic`, which ask it on
every scene. `--record` writes the worst mean of all into the weights file: the choice of a precision goes by that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scenes import MOST_DB, pair_of, psnr, scenes

from defusion.api import Fuser
from defusion.errors import EngineError
from defusion.imaging import Picture, read
from defusion.machine import processor
from defusion.runtime import PRECISIONS
from defusion.weights import WeightsFile, resolve, save


class Way(NamedTuple):
    """A way to fuse, as options of `Fuser`."""

    label: str
    task: str | None = None
    head: str | None = None


WAYS = (Way("as users fuse"), Way("head paper", head="paper"), Way("task generic", task="generic"))

Fusers = dict[tuple[Way, str], Fuser]


def loaded(weights: WeightsFile) -> Fusers:
    """Loads each way in each precision that this machine has."""
    fusers: Fusers = {}
    for precision in PRECISIONS:
        try:
            for way in WAYS:
                fusers[way, precision] = Fuser(
                    weights=weights.path, task=way.task, head=way.head, precision=precision
                )
        except EngineError as error:
            print(error)
    return fusers


def distances(fusers: Fusers, pictures: list[Picture]) -> dict[tuple[Way, str], float]:
    """PSNR to float32 of each way in each lower precision."""
    made = {key: fuser.fuse_pictures(pictures).pixels for key, fuser in fusers.items()}
    return {
        (way, precision): psnr(fused, made[way, "float32"])
        for (way, precision), fused in made.items()
        if precision != "float32"
    }


def cell(values: list[float]) -> str:
    if min(values) == MOST_DB:
        return "equal"
    return f"{np.mean(values):.1f} ({min(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--most", type=int, default=20)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    weights = WeightsFile.open(resolve(options.weights))
    fusers = loaded(weights)
    columns = [(way, precision) for way, precision in fusers if precision != "float32"]
    lines = [
        f"Weights `{weights.path.stem}`, {processor()}; PSNR to float32, dB, mean (least) of the scenes.",
        "",
        f"| set | scenes | {' | '.join(f'{precision}, {way.label}' for way, precision in columns)} |",
        "|---|---|" + "---|" * len(columns),
    ]
    worst: dict[str, float] = {precision: MOST_DB for _, precision in columns}
    for name, folders in scenes(options.bench, options.most):
        found = [distances(fusers, [read(file) for file in pair_of(folder)]) for folder in folders]
        by_column = {column: [each[column] for each in found] for column in columns}
        for (_, precision), values in by_column.items():
            worst[precision] = min(worst[precision], float(np.mean(values)))
        lines.append(f"| {name} | {len(folders)} | {' | '.join(map(cell, by_column.values()))} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    if options.record:
        known = {precision: round(value, 2) for precision, value in worst.items()}
        tensors = {name: tensor.astype(np.float16) for name, tensor in weights.tensors().items()}
        save(weights.path, tensors, weights.config, {**weights.about, "psnr_to_float32": known})


if __name__ == "__main__":
    main()
