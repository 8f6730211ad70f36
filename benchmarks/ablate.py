"""Measures what each part of a recipe contributes, by short runs that each lack one part.

    python benchmarks/ablate.py PHOTOS... -o RUNS --recipe pyramid --crops 2400 --crop-px 96 --seeds 0,1,2
    python benchmarks/loop.py BENCH RUNS/*.safetensors -o TABLE.md

The first command trains a network for each part and seed, and prints its held-back errors. The second measures the
networks on real pairs; its table has the mean and the standard deviation over the seeds. Runs that exist already are
not repeated. Of recipe `pyramid`, the parts are kinds of views of its pretext. Of recipe `authors`, they are what it
has beyond recipe `paper`, and errors are measured on the paper's own pretext.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from defusion.pretext import absent, focus, mixed, sensors
from defusion.training import RECIPES, Recipe, train
from defusion.training.photos import Photos, find_photos, split

#: A recipe, and what has to hold while it trains.
Variant = tuple[Recipe, Callable[[], AbstractContextManager[object]]]

#: Values of a pretext's constants, by module and name.
Constants = Mapping[tuple[ModuleType, str], float]

PLAIN: Constants = {(mixed, "ROUGH"): 0.0, (mixed, "DOTTED"): 0.0}
EQUAL_NOISE: Constants = {
    (absent, "EQUALLY_NOISY"): 1.0,
    (focus, "EQUALLY_NOISY"): 1.0,
    (sensors, "NOISY_THERMAL"): 0.0,
}
NO_SNOW_OR_DARK: Constants = {(sensors, "SNOW"): 0.0, (sensors, "DARK_THINGS"): 0.0}


def parts_of_pyramid() -> dict[str, Variant]:
    """Returns recipe `pyramid`, and variants whose pretext lacks some kinds of views or things in photographs."""
    recipe = RECIPES["pyramid"]
    lacking = {
        "no_focus": ("focus",),
        "no_exposures": ("exposures",),
        "no_sensors": ("sensors",),
        "no_absent": ("absent", "grainy"),
    }
    variants: dict[str, Variant] = {"whole": (recipe, nullcontext)}
    variants |= {name: (recipe, _without(kinds)) for name, kinds in lacking.items()}
    changed = {"no_rough_or_dotted": PLAIN, "equal_noise": EQUAL_NOISE, "no_snow_or_dark": NO_SNOW_OR_DARK}
    return variants | {name: (recipe, _with(constants)) for name, constants in changed.items()}


def _without(kinds: tuple[str, ...]) -> Callable[[], AbstractContextManager[object]]:
    return lambda: patch.dict(mixed.SHARES, dict.fromkeys(kinds, 0.0))


def _with(constants: Constants) -> Callable[[], AbstractContextManager[object]]:
    @contextmanager
    def changed() -> Iterator[None]:
        with ExitStack() as stack:
            for (module, name), value in constants.items():
                stack.enter_context(patch.object(module, name, value))
            yield

    return changed


def parts_of_authors() -> dict[str, Variant]:
    """Returns recipe `authors`, and variants of it that each lack one part."""
    ours, paper = RECIPES["authors"], RECIPES["paper"]
    recipes = {
        "authors": ours,
        "no_jitter": replace(ours, pretext=replace(ours.pretext, jitter=None)),
        "drawn_grids": replace(ours, pretext=replace(ours.pretext, even=False)),
        "absent_as_paper": replace(ours, absent=paper.absent),
        "fused_at_once": replace(ours, fused_from=0.0),
        "paper": paper,
    }
    return {name: (replace(recipe, network="small"), nullcontext) for name, recipe in recipes.items()}


PARTS = {"pyramid": parts_of_pyramid, "authors": parts_of_authors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--recipe", choices=PARTS, default="pyramid")
    parser.add_argument("--crops", type=int, default=16000, help="number of crops that each run trains on")
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    train_on, _ = split(Photos(find_photos(given.photos), given.crop_px))
    for seed in [int(seed) for seed in given.seeds.split(",")]:
        for name, (recipe, while_training) in PARTS[given.recipe]().items():
            run = given.output / f"{name}-{seed}"
            if not (run / "weights.safetensors").exists():
                chosen = replace(
                    recipe,
                    name=name,
                    crop_px=given.crop_px,
                    epochs=given.crops / len(train_on),
                    fade_steps=min(recipe.fade_steps, given.crops // recipe.batch // 5),
                    seed=seed,
                )
                with while_training():
                    weights = train(given.photos, run, chosen, devices=1, checkpoint_every=10**9)
                (given.output / f"{run.name}.safetensors").write_bytes(weights.read_bytes())
            about = json.loads(sorted(run.glob("step-*/run.json"))[-1].read_text())
            errors = "  ".join(f"{part} {error:.4f}" for part, error in about["held_back_error"].items())
            print(f"{run.name:22} {about['samples']:7} crops  {errors}", flush=True)


if __name__ == "__main__":
    main()
