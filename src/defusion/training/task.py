"""The two things that can be trained: the pyramid network on all kinds of views, and the paper's on its own pretext.

The loop in `run.py` knows neither of them; it asks a `Task`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from defusion.errors import TrainingError
from defusion.model import DeFusion
from defusion.model.config import NetworkConfig, PyramidConfig
from defusion.model.torch_ops import TorchPyramid
from defusion.pretext import CudBatch
from defusion.pretext.mixed import CLOSE_SHARES, SHARES, mixed
from defusion.training.objective import CudObjective, start_network
from defusion.training.pyramid_objective import ERROR_WEIGHTS, PARTS_EVERY, PyramidObjective
from defusion.training.recipe import Recipe
from defusion.weights import WeightsFile

Tensors = Mapping[str, NDArray[Any]]


class Task(Protocol):
    """What a run trains."""

    @property
    def network(self) -> nn.Module:
        """The network."""

    @property
    def objective(self) -> nn.Module:
        """The network and its errors, as one module that Lightning can wrap."""

    def errors(
        self, objective: nn.Module, scenes: Tensor, step: int, steps: int, generator: Generator
    ) -> dict[str, Tensor]:
        """Returns the errors of a step by name; their sum is the loss.

        Args:
            objective: As an engine has wrapped it.
            scenes: [N, 3, H, W] in [0, 1].
            step: From zero.
            steps: In all.
            generator: Source of all randomness.
        """

    def measured(self, network: nn.Module, scenes: Tensor, generator: Generator) -> dict[str, float]:
        """Returns mean errors on scenes that were kept out of training."""

    def sheet(self, network: nn.Module, scenes: Tensor, generator: Generator) -> tuple[str, Tensor]:
        """Returns a picture of four scenes, [3, H, W], and the words for its columns, from left to right."""

    def stored(self, network: nn.Module) -> tuple[Tensors, NetworkConfig | PyramidConfig]:
        """Returns the weights for a file, and the config of their network."""


def task_of(recipe: Recipe, weights: WeightsFile | None, *, bfloat16: bool) -> Task:
    """Makes the task of a recipe.

    Args:
        recipe: Says which.
        weights: The network starts from these; None starts anew.
        bfloat16: The device computes in it. The pyramid network then does so in convolutions alone: energy and
            structure are differences of what is nearly equal.

    Raises:
        TrainingError: The weights are of another network.
    """
    if recipe.network == PyramidConfig().name:
        return PyramidTask(recipe, weights, bfloat16=bfloat16)
    return CudTask(recipe, weights)


class CudTask:
    """The paper's network, on the paper's pretext or a wider one."""

    def __init__(self, recipe: Recipe, weights: WeightsFile | None) -> None:
        self._recipe = recipe
        network: DeFusion = start_network(recipe, weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.objective = CudObjective(self.network)

    def errors(
        self, objective: nn.Module, scenes: Tensor, step: int, steps: int, generator: Generator
    ) -> dict[str, Tensor]:
        """See `Task`."""
        recipe = self._recipe
        found = objective(recipe.pretext(scenes, generator=generator), recipe.absent_weight(step))
        of_fused = recipe.fused_weight(step, steps)
        return {name: of_fused * error if name.startswith("fused") else error for name, error in found.items()}

    def measured(self, network: nn.Module, scenes: Tensor, generator: Generator) -> dict[str, float]:
        """See `Task`. Held-back scenes are distorted by the paper's noise."""
        assert isinstance(network, DeFusion)
        objective, totals = CudObjective(network).eval(), dict[str, float]()
        batch = self._held_back(scenes, generator)
        for start in range(0, len(scenes), 8):
            part = slice(start, start + 8)
            sources, masks, common, uniques, scene = batch
            piece = CudBatch(sources[:, part], masks[:, part], common[part], uniques[:, part], scene[part])
            for name, value in objective(piece).items():
                totals[name] = totals.get(name, 0.0) + value.item() * len(piece.scene) / len(scenes)
        return totals

    def sheet(self, network: nn.Module, scenes: Tensor, generator: Generator) -> tuple[str, Tensor]:
        """See `Task`."""
        a, b = self._held_back(scenes, generator).sources[:, :4]
        made = network(a, b)
        columns = [a, b, made.common, made.unique_a, made.unique_b, made.fused]
        return "a, b, common, unique a, unique b, fused", side_by_side(columns)

    def stored(self, network: nn.Module) -> tuple[Tensors, NetworkConfig]:
        """See `Task`."""
        assert isinstance(network, DeFusion)
        return as_arrays(network.state_dict()), network.config

    def _held_back(self, scenes: Tensor, generator: Generator) -> CudBatch:
        return type(self._recipe.pretext)()(scenes, generator=generator)


class PyramidTask:
    """The pyramid network, on views of all kinds.

    Its weights do not use torch's channels-last layout. With it, torch 2.13 on CPUs gives NaN for the gradients of
    dilated convolutions in bfloat16.
    """

    def __init__(self, recipe: Recipe, weights: WeightsFile | None, *, bfloat16: bool) -> None:
        if weights is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(recipe.seed)
                self.network = TorchPyramid()
        elif isinstance(weights.config, PyramidConfig):
            self.network = TorchPyramid.of_tensors(weights.tensors()).train()
        else:
            raise TrainingError(
                f"{weights.path}: holds a network {weights.config.name!r}, but recipe {recipe.name!r} trains the "
                "pyramid network; begin from weights of that one"
            )
        self.network.low = torch.bfloat16 if bfloat16 else None
        self._part = recipe.part
        if recipe.part != "all":
            for name, value in self.network.named_weights().items():
                value.requires_grad_(name.startswith("close.") == (recipe.part == "close"))
        self.objective = PyramidObjective(self.network)

    def errors(
        self, objective: nn.Module, scenes: Tensor, step: int, steps: int, generator: Generator
    ) -> dict[str, Tensor]:
        """See `Task`."""
        only_close = self._part == "close"
        with torch.no_grad():
            views, kinds = mixed(scenes, generator, CLOSE_SHARES if only_close else SHARES)
        parts = step % PARTS_EVERY == 0
        return weighed(objective(views, parts=parts, only_close=only_close), kinds)

    def measured(self, network: nn.Module, scenes: Tensor, generator: Generator) -> dict[str, float]:
        """See `Task`."""
        assert isinstance(network, TorchPyramid)
        objective = PyramidObjective(network).eval()
        found: dict[str, list[float]] = {}
        for start in range(0, len(scenes), 8):
            views, kinds = mixed(scenes[start : start + 8], generator)
            for name, values in objective(views).items():
                for kind, value in zip(kinds, values.tolist(), strict=True):
                    if name in ERROR_WEIGHTS[kind]:
                        found.setdefault(f"{kind} {name}", []).append(value)
        return {name: float(np.mean(found[name])) for name in sorted(found)}

    def sheet(self, network: nn.Module, scenes: Tensor, generator: Generator) -> tuple[str, Tensor]:
        """See `Task`."""
        views, _ = mixed(scenes[:16], generator)
        some = [int(place) for place in np.linspace(0, len(views.target) - 1, min(4, len(views.target)))]
        columns = [*views.sources[:2, some], views.target[some], network(views.sources[:, some]).made[0]]
        return "two of the sources, scene, fused", side_by_side(columns)

    def stored(self, network: nn.Module) -> tuple[Tensors, PyramidConfig]:
        """See `Task`."""
        assert isinstance(network, TorchPyramid)
        return as_arrays(network.named_weights()), PyramidConfig()


def weighed(errors: Mapping[str, Tensor], kinds: list[str]) -> dict[str, Tensor]:
    """Returns mean errors, weighted by the kind of each scene."""
    found = {}
    for name, values in errors.items():
        weights = torch.tensor([ERROR_WEIGHTS[kind].get(name, 0.0) for kind in kinds], device=values.device)
        found[name] = (PARTS_EVERY if name == "parts" else 1) * (weights * values).mean()
    return found


def side_by_side(columns: list[Tensor]) -> Tensor:
    """Lays batches of pictures [N, 3, H, W] out as columns."""
    return torch.cat([torch.cat(list(column.clamp(0, 1)), 1) for column in columns], 2)


def as_arrays(tensors: Mapping[str, Tensor]) -> Tensors:
    """Returns tensors as a file has them, float16."""
    return {key: value.detach().cpu().half().numpy() for key, value in tensors.items()}
