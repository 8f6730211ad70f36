"""Measures weights fast enough to steer training: 40 scenes and a few scores, 70 s of one core per file.

    python benchmarks/loop.py BENCH [WEIGHTS ...] [-o LOOP.md] [--csv LOOP.csv] [--work DIR]

Each of WEIGHTS is a shipped name, a weights file, or the folder of a training run. Of a run, all checkpoints are
measured. Without WEIGHTS, the default weights are measured. Beside the scores of fused pictures, the table has

- the measures of the paper's pretext: PSNR and errors on sources that CUD masked (`quality.py` measures the same on
  other scenes), and what is left of two noises of 10 8-bit levels, as in `defusion explain toy`, both on the middle
  of every other scene;
- the faults of `faults.py`, which people see and metrics hardly show: tones swapped in exposures, warm things lost.

If the recipes of some weights differ only in the seed, a further column has their mean and standard deviation.
Smaller differences between weights are noise.

`SCENES` tells how many scenes of each set are used. They are spread evenly by name and scaled down to `LARGEST_PX`
pixels. Metrics are those of `defusion evaluate --protocol paper`. Pictures and scores are kept in DIR, or in the
cache folder, so that no picture is measured twice.

Lines for a run are added to RUN/loop.csv, lines for files to `--csv`. Checkpoints that have a line already are passed
over. A run keeps only its last two checkpoints, so this measures them while it trains, and `curves.py RUN/loop.csv`
draws the curves:

    while sleep 300; do python benchmarks/loop.py BENCH RUN; done
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from faults import LOST, swapped_tones, warm_contrasts
from quality import middle_of, on_masked_sources

from defusion.api.fuser import Fuser
from defusion.evaluation.datasets import DataSet, find_sets
from defusion.evaluation.explain.cases import toy_cases
from defusion.evaluation.files import eight_bits
from defusion.evaluation.methods import parse_methods
from defusion.evaluation.metrics import METRICS as KNOWN
from defusion.evaluation.report.tables import ARROWS
from defusion.evaluation.results import DataSetKind, Outcome, Results
from defusion.evaluation.run import evaluate
from defusion.imaging import Picture, read, write
from defusion.imaging.samples import converted
from defusion.runtime import Planes
from defusion.system.cache import cache_folder
from defusion.system.machine import cores
from defusion.weights import WeightsFile, resolve
from defusion.weights.file import SUFFIX

#: Scenes of each set, 40 in all.
SCENES = {"mefb": 9, "mfifb": 7, "nyud_synth_gt": 6, "roadscene": 4, "tno": 3, "vifb": 11}
LARGEST_PX = 150_000

#: The metrics that matter for each kind of scene.
METRICS: dict[DataSetKind, tuple[str, ...]] = {
    "exposure": ("mef_ssim", "qcv", "qabf", "ssim"),
    "focus": ("psnr_truth", "qcv", "qabf", "ssim"),
    "infrared": ("qcv", "qabf", "ssim", "cc"),
}

Scores = dict[str, float]
"""Scores by `SET METRIC`, or by the name of a measure of the pretext."""


class Weights(NamedTuple):
    """Weights to measure, and their label in tables."""

    file: WeightsFile
    label: str

    @property
    def step(self) -> int | None:
        """Number of steps that they were trained for."""
        return self.file.about.get("steps")

    @property
    def family(self) -> str:
        """A text that is equal for weights whose training differs only in the seed."""
        recipe = self.file.about.get("recipe") or {}
        return repr((sorted((key, value) for key, value in recipe.items() if key != "seed"), self.step))


def found_weights(given: Sequence[str], known: Path | None) -> list[Weights]:
    """Opens the given weights. Of a run, only checkpoints without a line yet are opened."""
    paths: list[Path] = []
    for each in given or [None]:
        if each is not None and Path(each).is_dir():
            paths += sorted(Path(each).glob(f"step-*/*{SUFFIX}"))
        else:
            paths.append(resolve(each))
    files = [WeightsFile.open(path) for path in paths]
    done = lines_of(known)
    return [each for each in labelled(files) if each.file.sha256 not in done]


def labelled(files: Sequence[WeightsFile]) -> list[Weights]:
    """Labels weights by their recipes, and by seed, steps and path as far as labels would be equal otherwise."""
    facts = []
    for file in files:
        recipe = file.about.get("recipe") or {}
        name = recipe.get("name", file.path.stem)
        facts.append((name, f"seed {recipe.get('seed')}", f"step {file.about.get('steps')}", str(file.path)))
    for depth in range(1, 5):
        labels = [" ".join(each[:depth]) for each in facts]
        if len(set(labels)) == len(labels):
            break
    return [Weights(file, label) for file, label in zip(files, labels, strict=True)]


def small_sets(bench: Path, work: Path) -> list[DataSet]:
    """Finds the scenes and scales them down into the work folder."""
    sets = []
    for name, most in SCENES.items():
        found = find_sets([str(bench / name)])[0].spread(most)
        scenes = []
        for scene in found.scenes:
            folder = work / "scenes" / name / scene.name
            folder.mkdir(parents=True, exist_ok=True)
            a, b, *truth = (drawn_down(file, folder) for file in (*scene.sources, scene.truth) if file)
            scenes.append(replace(scene, sources=(a, b), truth=truth[0] if truth else None))
        sets.append(replace(found, scenes=tuple(scenes)))
    return sets


def drawn_down(file: Path, folder: Path) -> Path:
    samples = converted(read(file).samples[:, :], np.uint8)
    height, width = samples.shape[:2]
    scale = (LARGEST_PX / (height * width)) ** 0.5
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        samples = cv2.resize(samples, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    out = folder / f"{file.stem}.png"
    write(out, Picture(samples))
    return out


def measured(weights: Weights, sets: Sequence[DataSet], work: Path) -> Scores:
    """Measures one weights file."""
    methods = parse_methods([f"ours=defusion@{weights.file.path}"])
    names = list(dict.fromkeys(name for metrics in METRICS.values() for name in metrics))
    results = evaluate(sets, methods, work, metrics=names, protocol="paper", jobs=cores())
    scores = means(results)
    crops = [middle_of(read(scene.sources[0])) for each in sets for scene in each.scenes[::2]]
    fuser = Fuser(weights=weights.file.path, precision="float32", align="off")
    masked, errors = on_masked_sources(fuser, crops)
    scores["PSNR of CUD-masked sources ↑"] = masked
    scores |= {f"mean absolute error, {part} ↓": errors[part] for part in ("common", "unique_a", "unique_b")}
    return scores | {"left of two noises ↓": noise_left(fuser, crops)}


def means(results: Results) -> Scores:
    """Returns the means over the scenes of each set, by `SET MEASURE`."""
    found: dict[str, list[float]] = {}
    for outcome in results.outcomes:
        scene = outcome.scene
        if outcome.failure is not None:
            raise SystemExit(f"fusing failed on {scene.data_set}/{scene.name}: {outcome.failure}")
        for metric in METRICS[scene.kind]:
            if metric in outcome.scores:
                name = f"{scene.data_set} {metric} {ARROWS[KNOWN[metric].better]}"
                found.setdefault(name, []).append(outcome.scores[metric].value)
        for fault, values in faults(outcome).items():
            found.setdefault(f"{scene.data_set} {fault} ↓", []).extend(values)
    return {name: float(np.nanmean(values)) for name, values in found.items() if values}


def faults(outcome: Outcome) -> dict[str, list[float]]:
    """Measures the visible faults of a picture, in per cent."""
    files = (*outcome.scene.sources, outcome.picture)
    a, b, fused = (eight_bits(read(file), as_grey=True).astype(np.float32) for file in files if file)
    if outcome.scene.kind == "exposure":
        return {"tones swapped, %": [100 * swapped_tones(a, b, fused)]}
    if outcome.scene.kind == "infrared":
        return {"warm things lost, %": [100.0 * (abs(kept) < LOST) for _, kept in warm_contrasts(b, fused)]}
    return {}


def noise_left(fuser: Fuser, crops: Sequence[Planes]) -> float:
    """Returns the mean deviation of fused noisy sources from the fused clean scene, in 8-bit levels."""
    left = []
    for number, crop in enumerate(crops):
        scene = np.ascontiguousarray(crop[0].transpose(1, 2, 0))
        noisy = next(case for case in toy_cases(scene, seed=number) if case.name == "two_noises")
        fused, clean = (
            fuser.fuse([Picture(each) for each in pair]).pixels for pair in ((noisy.a, noisy.b), (scene, scene))
        )
        left.append(255 * float((fused - clean).std()))
    return float(np.mean(left))


def table(weights: Sequence[Weights], scores: Sequence[Scores]) -> str:
    """Makes a table with a row for each measure and a column for each weights file. A further column has the spread
    of weights of one recipe.
    """
    columns = [(each.label, [number]) for number, each in enumerate(weights)]
    families: dict[str, list[int]] = {}
    for number, each in enumerate(weights):
        families.setdefault(each.family, []).append(number)
    for numbers in families.values():
        if len(numbers) > 1:
            name = (weights[numbers[0]].file.about.get("recipe") or {}).get("name", "these")
            columns.append((f"{name}: mean ± deviation of {len(numbers)} runs", numbers))
    lines = [f"| measured | {' | '.join(label for label, _ in columns)} |", "|---" * (1 + len(columns)) + "|"]
    for measure in scores[0]:
        cells = [cell([scores[number].get(measure, np.nan) for number in numbers]) for _, numbers in columns]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    digits = 1 if abs(mean) >= 100 else 2 if abs(mean) >= 2 else 4
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def lines_of(file: Path | None) -> set[str]:
    """Returns the SHA-256 of all weights that have a line."""
    if file is None or not file.exists():
        return set()
    with file.open(newline="") as lines:
        return {line["weights"] for line in csv.DictReader(lines)}


def add_line(file: Path, weights: Weights, scores: Scores) -> None:
    new = not file.exists()
    with file.open("a", newline="") as lines:
        writer = csv.writer(lines)
        if new:
            writer.writerow(["step", *scores, "name", "weights"])
        values = [f"{value:.6g}" for value in scores.values()]
        writer.writerow([weights.step, *values, weights.label, weights.file.sha256])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("weights", nargs="*", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = options.work or cache_folder("loop")
    runs = [Path(each) for each in options.weights if Path(each).is_dir()]
    if len(runs) > 1:
        parser.error("several runs came; give one run, or weights files of each")
    file = options.csv or (runs[0] / "loop.csv" if runs else None)
    weights = found_weights(options.weights, file)
    if not weights:
        print(f"all of these stand in {file}")
        return
    sets = small_sets(options.bench, work)
    scores = []
    for each in weights:
        scores.append(measured(each, sets, work))
        if file:
            add_line(file, each, scores[-1])
        print(f"measured {each.label}", flush=True)
    text = table(weights, scores)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
