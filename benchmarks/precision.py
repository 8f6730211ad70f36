"""How far pictures of each precision stand from those in float32, by set of scenes.

    python benchmarks/precision.py BENCH [--weights FILE] [--most 20] [--record] [-o TABLE.md]

PSNR of up to `--most` scenes of each set, fused by the head for their task; mean and least of each set. `--record`
writes the worst set's mean into the weights file: that is what the choice of a precision goes by.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scenes import pair_of, psnr, scenes

from defusion.api import Fuser
from defusion.errors import EngineError
from defusion.imaging import read
from defusion.machine import processor
from defusion.runtime import PRECISIONS
from defusion.weights import WeightsFile, resolve, save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--most", type=int, default=20)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    weights = WeightsFile.open(resolve(options.weights))
    fusers = {}
    for precision in PRECISIONS:
        try:
            fusers[precision] = Fuser(weights=weights.path, precision=precision)
        except EngineError as error:
            print(error)
    low = [precision for precision in fusers if precision != "float32"]
    lines = [
        f"Weights `{weights.path.stem}`, {processor()}; PSNR to float32, dB, mean (least) of the scenes.",
        "",
        f"| set | scenes | {' | '.join(low)} |",
        "|---|---|" + "---|" * len(low),
    ]
    means: dict[str, list[float]] = {precision: [] for precision in low}
    for name, folders in scenes(options.bench, options.most):
        found: dict[str, list[float]] = {precision: [] for precision in low}
        for folder in folders:
            pictures = [read(file) for file in pair_of(folder)]
            fused = {precision: fuser.fuse_pictures(pictures).pixels for precision, fuser in fusers.items()}
            for precision in low:
                found[precision].append(psnr(fused[precision], fused["float32"]))
        for precision in low:
            means[precision].append(float(np.mean(found[precision])))
        cells = [f"{np.mean(found[precision]):.1f} ({min(found[precision]):.1f})" for precision in low]
        lines.append(f"| {name} | {len(folders)} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    if options.record:
        known = {precision: round(min(means[precision]), 2) for precision in low}
        tensors = {name: tensor.astype(np.float16) for name, tensor in weights.tensors().items()}
        save(weights.path, tensors, weights.config, {**weights.about, "psnr_to_float32": known})


if __name__ == "__main__":
    main()
