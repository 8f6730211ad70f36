"""Draws the curves of a training run: error of each projection on held-back photographs.

python benchmarks/curves.py RUN/curve.csv -o CURVES.png
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LABELS = {
    "fused": "fused",
    "fused_paper": "fused, head paper",
    "common": "common",
    "unique_a": "unique a",
    "unique_b": "unique b",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curve", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    with options.curve.open(newline="") as file:
        by_step = {int(row["step"]): row for row in csv.DictReader(file)}  # a resumed run may repeat a step
    steps = sorted(by_step)
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, label in LABELS.items():
        if name in by_step[steps[0]]:
            axes.plot(steps, [float(by_step[step][name]) for step in steps], marker="o", label=label)
    axes.set(xlabel="step", ylabel="mean absolute error, pixels in [0, 1]", yscale="log")
    axes.grid(which="both", alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
