"""Measures what each part of recipe `authors` contributes, by short runs that each take one part from recipe `paper`.

    python benchmarks/ablate.py PHOTOS... -o RUNS --crops 16000 --seeds 0,1,2

trains a network for each part and seed, and prints the held-back errors, all measured on the paper's own pretext;
`python benchmarks/loop.py BENCH RUNS/*.safetensors` then scores the networks on real pairs. Several seeds of the
unchanged recipe show how large differences by chance are. Runs that exist already are not repeated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from defusion.training import RECIPES, Recipe, train
from defusion.training.photos import Photos, find_photos, split


def parts() -> dict[str, Recipe]:
    """Returns the recipe, and variants of it that each lack one part."""
    ours, paper = RECIPES["authors"], RECIPES["paper"]
    return {
        "authors": ours,
        "no_jitter": replace(ours, pretext=replace(ours.pretext, jitter=None)),
        "drawn_grids": replace(ours, pretext=replace(ours.pretext, even=False)),
        "absent_as_paper": replace(ours, absent=paper.absent),
        "fused_at_once": replace(ours, fused_from=0.0),
        "paper": paper,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--crops", type=int, default=16000, help="number of crops that each run trains on")
    parser.add_argument("--network", default="small")
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--seeds", default="0", help="seeds for the unchanged recipe; the variants use the first")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    train_on, _ = split(Photos(find_photos(given.photos), given.crop_px))
    for name, recipe in parts().items():
        for seed in seeds if name == "authors" else seeds[:1]:
            run = given.output / f"{name}-{seed}"
            if not (run / "weights.safetensors").exists():
                chosen = replace(
                    recipe,
                    name=name,
                    network=given.network,
                    crop_px=given.crop_px,
                    epochs=given.crops / len(train_on),
                    fade_steps=min(recipe.fade_steps, given.crops // recipe.batch // 5),
                    seed=seed,
                )
                weights = train(given.photos, run, chosen, devices=1, checkpoint_every=10**9)
                (given.output / f"{run.name}.safetensors").write_bytes(weights.read_bytes())
            about = json.loads(sorted(run.glob("step-*/run.json"))[-1].read_text())
            errors = "  ".join(f"{part} {error:.4f}" for part, error in about["held_back_error"].items())
            print(f"{run.name:20} {about['samples']:7} crops  {errors}", flush=True)


if __name__ == "__main__":
    main()
