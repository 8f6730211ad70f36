"""Draws the curves of a training run.

- `python benchmarks/curves.py RUN/curve.csv -o CURVES.png`: errors of the projections on held-back photographs
- `python benchmarks/curves.py RUN/loop.csv -o LOOP.png`: scores of the checkpoints, as `loop.py` measured them
"""

from __future__ import annotations

import argparse
import csv
import math
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

#: Columns of loop.csv that are not scores.
FACTS = ("step", "name", "weights")

Rows = dict[int, dict[str, str]]
"""By step."""


def draw_errors(rows: Rows, output: Path) -> None:
    steps = sorted(rows)
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, label in LABELS.items():
        if name in rows[steps[0]]:
            axes.plot(steps, [float(rows[step][name]) for step in steps], marker="o", label=label)
    axes.set(xlabel="step", ylabel="mean absolute error, pixels in [0, 1]", yscale="log")
    axes.grid(which="both", alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(output, dpi=120)


def draw_scores(rows: Rows, output: Path) -> None:
    """Draws a panel for each measure, with a curve for each way of fusing that has it."""
    steps = sorted(rows)
    panels: dict[str, list[tuple[str, str]]] = {}
    for column in rows[steps[0]]:
        if column not in FACTS:
            way, colon, measure = column.partition(": ")
            panels.setdefault(measure if colon else column, []).append((way if colon else "", column))
    wide = 5
    figure, grid = plt.subplots(
        math.ceil(len(panels) / wide), wide, figsize=(16, 2 * math.ceil(len(panels) / wide)), layout="constrained"
    )
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, (measure, curves) in zip(grid.flat, panels.items(), strict=False):
        for way, column in curves:
            axes.plot(steps, [float(rows[step][column] or "nan") for step in steps], marker=".", label=way)
        axes.set_title(measure, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    figure.savefig(output, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curve", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    with options.curve.open(newline="") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}  # a resumed run may repeat a step
    draw = draw_scores if "weights" in next(iter(rows.values())) else draw_errors
    draw(rows, options.output)


if __name__ == "__main__":
    main()
