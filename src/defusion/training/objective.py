"""The loss: mean absolute error of the four projections (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defusion.errors import TrainingError
from defusion.model import CONFIGS, DeFusion
from defusion.model.network import Bottleneck, Projection
from defusion.pretext import CudBatch
from defusion.training.recipe import Recipe
from defusion.weights import WeightsFile

#: What a head paints before training, if the recipe has `residual_scale`. With mid grey, its ReLU passes gradients.
HEAD_START = 0.4


class CudObjective(nn.Module):
    """A network and the error of its projections on CUD batches; one module, so that engines can wrap it."""

    def __init__(self, network: DeFusion) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: CudBatch, absent_weight: float = 1.0) -> dict[str, Tensor]:
        """Returns the mean absolute error of each projection, by name.

        Args:
            batch: Two sources for each scene.
            absent_weight: How much a place counts in the error of a part of the scene that is absent there.
        """
        made = self.network(*batch.sources, embeddings=True)
        of_scenes = (made.fused - batch.scene).abs().mean((1, 2, 3))
        errors = {"fused": of_scenes.mean()}
        mask_a, mask_b = batch.masks
        parts = {
            "common": (made.common, batch.common, mask_a * mask_b),
            "unique_a": (made.unique_a, batch.uniques[0], mask_a * (1 - mask_b)),
            "unique_b": (made.unique_b, batch.uniques[1], mask_b * (1 - mask_a)),
        }
        for name, (picture, target, present) in parts.items():
            weight = present + absent_weight * (1 - present)
            errors[name] = ((picture - target).abs() * weight).mean()
        return errors


def start_network(recipe: Recipe, weights: WeightsFile | None = None) -> DeFusion:
    """Makes the network of a recipe with its first weights: those given, or the same for the same seed.

    Raises:
        TrainingError: The weights are of another network.
    """
    if weights is not None:
        config = CONFIGS[recipe.network]
        if weights.config != config:
            raise TrainingError(
                f"{weights.path}: holds a network {weights.config.name!r}, but recipe {recipe.name!r} trains "
                f"{recipe.network!r}; begin from weights of that one"
            )
        return DeFusion.of_tensors(config, weights.tensors()).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = DeFusion(CONFIGS[recipe.network])
        if recipe.residual_scale is not None:
            _start_small(network, recipe.residual_scale)
    return network


def _start_small(network: DeFusion, scale: float) -> None:
    """Starts residual branches small and heads at mid grey: without normalisation, deep stacks need both."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            with torch.no_grad():
                module.conv_out.weight.mul_(scale)
        elif isinstance(module, Projection):
            with torch.no_grad():
                module.conv.weight.mul_(0.1)
                module.conv.bias.fill_(HEAD_START)  # type: ignore[union-attr]
