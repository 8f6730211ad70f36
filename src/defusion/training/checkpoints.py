"""Checkpoints of a run: what they hold, and what a run that continues takes from them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

import defusion.weights as weights
from defusion.errors import TrainingError
from defusion.model.config import NetworkConfig, PyramidConfig
from defusion.system.files import beside
from defusion.training.photos import Photos
from defusion.training.recipe import Recipe
from defusion.training.task import Tensors
from defusion.weights import WeightsFile

CHECKPOINT = "checkpoint.pt"
WEIGHTS_NAME = "weights.safetensors"
ABOUT = "run.json"


def newest_checkpoint(run: Path) -> Path | None:
    """Returns the folder of the newest checkpoint of a run; None if there is none."""
    found = sorted(run.glob(f"step-*/{CHECKPOINT}"))
    return found[-1].parent if found else None


def recipe_of(run: str | Path) -> Recipe:
    """Returns the recipe that a run was last trained with.

    Raises:
        TrainingError: The folder holds no checkpoint.
    """
    newest = newest_checkpoint(Path(run))
    if newest is None:
        raise TrainingError(f"{run}: holds no checkpoint to resume from; leave --resume out to start a new run")
    return Recipe.from_dict(json.loads((newest / ABOUT).read_text())["recipe"])


def origin(newest: Path | None, began_from: WeightsFile | None) -> dict[str, Any] | None:
    """Returns which weights a run began from, and how many crops those had seen; None if it began anew."""
    if newest is not None:
        origin: dict[str, Any] | None = json.loads((newest / ABOUT).read_text()).get("began_from")
        return origin
    if began_from is None:
        return None
    return {"sha256": began_from.sha256, **{key: began_from.about.get(key) for key in ("recipe", "samples")}}


def check_same_run(checkpoint: Path, photos: Photos, fabric: Fabric) -> None:
    """Raises if the photographs or the number of processes differ, since both change the batches."""
    about = json.loads((checkpoint / ABOUT).read_text())
    if about["data"]["sha256"] != photos.index.digest:
        raise TrainingError(f"{checkpoint}: was trained on other photographs; resume with those of that run")
    processes = about.get("processes", fabric.world_size)
    if processes != fabric.world_size:
        raise TrainingError(
            f"{checkpoint}: was trained by {processes} processes, here are {fabric.world_size}; resume with the "
            "same number of devices and nodes, or start another run with --weights"
        )


def restore(
    checkpoint: Path,
    recipe: Recipe,
    network: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Restores a checkpoint; returns the number of steps done."""
    state = torch.load(checkpoint / CHECKPOINT, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state["network"])
    except RuntimeError as error:
        raise TrainingError(
            f"{checkpoint}: holds another network than {recipe.network!r}, the one of recipe {recipe.name!r}; "
            "resume with the recipe of that run"
        ) from error
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def save(
    run: Path,
    step: int,
    state: dict[str, Any],
    tensors: Tensors,
    config: NetworkConfig | PyramidConfig,
    about: dict[str, Any],
) -> None:
    """Writes a checkpoint, its weights and how they were made; keeps the last two."""
    folder = run / f"step-{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    for target in (folder / WEIGHTS_NAME, run / WEIGHTS_NAME):
        weights.save(target, tensors, config, {**about, "date": date.today().isoformat()})
    with beside(folder / CHECKPOINT) as part:
        torch.save(state, part)
    for old in sorted(run.glob("step-*"))[:-2]:
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
