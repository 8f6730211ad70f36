"""What the figures of a blend trade against each other: neighbours of the shipped ones, scored side by side.

    python benchmarks/blends.py BENCH [--scenes 24] [-o TABLE.md]

Each row blends pairs by head `pyramid` with one change to `BLENDINGS`, without a network, and scores them by metrics
of `defusion evaluate --protocol paper`: exposures and focus in colour, infrared and visible in grey. The plain
average stands beside. Where CE is asked for, so does the shipped picture with black and white moved in by one level,
which nobody can see: CE leaves out levels that a picture lacks. Where the truth is known, it is scored as if it were
a fused picture, which tells what a perfect one would be given. Scenes are so many of each set, spread evenly by name.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scenes import pair_of, scenes
from torch import Tensor

from defusion.evaluation.files import eight_bits
from defusion.evaluation.metrics import METRICS, score
from defusion.evaluation.report.tables import ARROWS
from defusion.imaging import read
from defusion.machine import cores
from defusion.model.config import BLENDINGS, Blending, TaskName, octaves_of
from defusion.model.network import blend, opposition

Pixels = NDArray[np.uint8]


class Question(NamedTuple):
    """What is asked about a task: on which sets, by which metrics, and what is changed, by name."""

    task: TaskName
    sets: tuple[str, ...]
    metrics: tuple[str, ...]
    changes: dict[str, dict[str, float]]
    grey: bool = False


QUESTIONS = (
    Question(
        "exposure",
        ("mefb",),
        ("ce", "qcv", "ssim", "qabf", "mef_ssim"),
        {
            "shipped": {},
            "brighter light counts more": {"rest": 1.5},
            "brightness counts nothing": {"rest": 0.0},
            "clipped light counts as any": {"rest_detail": 0.0},
            "clipped places as blended": {"colour": 0.0},
            "softer choice of detail": {"detail": 0.5},
            "harder choice of detail": {"detail": 2.0},
        },
    ),
    Question(
        "focus",
        ("mfifb", "nyud_synth_gt"),
        ("ssim", "qcv", "qabf", "psnr_truth"),
        {
            "shipped": {},
            "softer choice": {"detail": 0.7, "finest": 0.6},
            "softer still": {"detail": 0.4, "finest": 0.3},
            "harder choice": {"detail": 2.5, "finest": 2.0},
        },
    ),
    Question(
        "infrared",
        ("roadscene", "tno"),
        ("ce", "cc", "qcv", "ssim", "qabf"),
        {
            "shipped": {},
            "a mixture's contrast left as it is": {"contrast": 1.0},
            "contrast stronger still": {"contrast": 2.5},
            "the paler light as it is": {"stretch": 1.0},
            "where details oppose, both count": {"verdict": 0.0},
            "where they oppose, the brighter counts more": {"verdict": 15.0},
            "both lights alike": {"rest": 0.0},
            "both lights and tones alike": {"rest": 0.0, "tone": 0.0},
            "softer choice of detail": {"detail": 0.3},
            "harder choice of detail": {"detail": 1.2},
            "softer, and both lights alike": {"detail": 0.3, "rest": 0.0},
        },
        grey=True,
    ),
)


def scored(folder: Path, question: Question) -> dict[str, dict[str, float]]:
    """Scores all ways to fuse a scene, by name."""
    torch.set_num_threads(1)
    a, b = (eight_bits(read(file), as_grey=question.grey) for file in pair_of(folder))
    truth_file = next((file for file in folder.iterdir() if file.stem == "gt"), None)
    truth = eight_bits(read(truth_file), as_grey=question.grey) if truth_file else None
    usual = BLENDINGS[question.task]
    pictures = {name: fused(a, b, usual._replace(**change)) for name, change in question.changes.items()}
    if "ce" in question.metrics:
        pictures["shipped, 0 and 255 made 1 and 254"] = pictures["shipped"].clip(1, 254)
    pictures["plain average"] = ((a.astype(np.uint16) + b + 1) // 2).astype(np.uint8)
    if truth is not None:
        pictures["the truth itself"] = truth
    names = [name for name in question.metrics if truth is not None or not name.endswith("_truth")]
    return {
        name: {metric: each.value for metric, each in score(a, b, picture, truth, names=names).items()}
        for name, picture in pictures.items()
    }


def fused(a: Pixels, b: Pixels, blending: Blending) -> Pixels:
    sources = torch.stack([as_planes(a), as_planes(b)])
    height, width = a.shape[:2]
    judged = torch.zeros(2, 1, 2, (height + 1) // 2, (width + 1) // 2)
    with torch.inference_mode():
        if blending.asks_opposition:
            judged = opposition(sources, octaves_of(height, width, blending))
        made = blend(sources, judged, blending)[0].permute(1, 2, 0).numpy()
    pixels = (made.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels[..., 0] if a.ndim == 2 else pixels


def as_planes(pixels: Pixels) -> Tensor:
    planes = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / 255).permute(2, 0, 1)[None]
    return planes.expand(-1, 3, -1, -1)


def table(name: str, question: Question, found: list[dict[str, dict[str, float]]]) -> str:
    metrics = list(found[0]["shipped"])
    head = " | ".join(f"{metric} {ARROWS[METRICS[metric].better]}" for metric in metrics)
    lines = [
        f"{name}, {len(found)} scenes, task {question.task}:",
        "",
        f"| | {head} |",
        "|---" * (1 + len(metrics)) + "|",
    ]
    for row in found[0]:
        means = [np.mean(finite([each[row][metric] for each in found])) for metric in metrics]
        changes = ", ".join(f"{key} {value:g}" for key, value in question.changes.get(row, {}).items())
        label = f"{row} ({changes})" if changes else row
        lines.append(f"| {label} | {' | '.join(f'{mean:.4g}' for mean in means)} |")
    return "\n".join(lines)


def finite(values: list[float]) -> list[float]:
    """Leaves out the PSNR of what equals the truth."""
    return [value for value in values if np.isfinite(value)] or [np.inf]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    folders = dict(scenes(options.bench, options.scenes))
    tables = []
    with ProcessPoolExecutor(cores()) as pool:
        for question in QUESTIONS:
            ask: Callable[[Path], dict[str, dict[str, float]]] = partial(scored, question=question)
            for name in question.sets:
                if name in folders:
                    tables.append(table(name, question, list(pool.map(ask, folders[name]))))
                    print(tables[-1], end="\n\n", flush=True)
    if not tables:
        parser.error(
            f"{options.bench} has none of the sets {', '.join(name for each in QUESTIONS for name in each.sets)}"
        )
    if options.output:
        options.output.write_text("\n\n".join(tables) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
