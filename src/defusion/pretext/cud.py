"""Common and unique decomposition, the pretext task (paper, eq. 1 and section 3.2).

x^i  = M_i(x) + not M_i(n)           sources: the scene, distorted where the mask does not keep it
x_c  = what more than one mask keeps
x_u^i = what mask i alone keeps
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from defusion.errors import TrainingError
from defusion.pretext.depth import layers
from defusion.pretext.distortions import DISTORTIONS, bracket, cross_sensors, grain, jitter
from defusion.pretext.masks import even_grid_masks, freeform_masks, grid_masks


class CudBatch(NamedTuple):
    """Sources made from scenes, and what the network should make of them. All pixels in [0, 1]."""

    sources: Tensor
    """x^i: [S, N, 3, H, W]."""
    masks: Tensor
    """M_i: zeros and ones, [S, N, 1, H, W]."""
    common: Tensor
    """x_c: [N, 3, H, W], zero elsewhere."""
    uniques: Tensor
    """x_u^i: [S, N, 3, H, W], zero elsewhere."""
    scene: Tensor
    """x: [N, 3, H, W]."""


class CudTargets(NamedTuple):
    """The parts of a scene; their sum is the scene."""

    common: Tensor
    uniques: Tensor


def cud_targets(scene: Tensor, masks: Tensor) -> CudTargets:
    """Divides scenes into what several sources keep and what one alone keeps.

    For two sources x_c = M_1 and M_2, x_u^1 = M_1 and not M_2, x_u^2 = not M_1 and M_2, as in section 3.2. For
    any number, x_c + sum of x_u^i = x wherever a source keeps the scene.

    Args:
        scene: [N, 3, H, W].
        masks: Zeros and ones, [S, N, 1, H, W].
    """
    alone = masks.sum(0) == 1
    return CudTargets(common=scene * (masks.sum(0) > 1), uniques=scene * masks * alone)


@dataclass(frozen=True)
class Pretext:
    """Which masks and distortions sources are made with; the defaults are the paper's.

    A scene draws one mask shape, and each of its sources one distortion.
    """

    distortions: Mapping[str, float] = field(default_factory=lambda: {"noise": 1.0})
    """Chance of each distortion, by its name in `DISTORTIONS`; need not sum to one."""
    even: bool = False
    """Grids have cells of two fixed sizes; otherwise sizes are drawn for each scene."""
    jitter: tuple[float, float] | None = None
    """Bounds of the factors by which brightness, contrast and saturation of a scene are lowered before all else, in
    its sources and parts alike; None leaves scenes as they are."""
    freeform: float = 0.0
    """Share of scenes whose masks are smooth regions; the rest have the paper's grids."""
    bracketed: float = 0.0
    """Share of scenes that every source shows whole, each at another exposure, without masks."""
    crossed: float = 0.0
    """Share of scenes seen by sensors of different kinds: without colour, each with other tones."""
    grainy: float = 0.0
    """Share of scenes that every source shows whole, under grain: of its own, or the same for all."""
    layered: float = 0.0
    """Share of scenes made of layers at different depths. Each source has another layer in focus."""
    grey: float = 0.0
    """Share of further scenes without colour, as microscope pictures are."""

    def __post_init__(self) -> None:
        unknown = set(self.distortions) - set(DISTORTIONS)
        if unknown:
            raise TrainingError(
                f"unknown distortion {', '.join(sorted(unknown))}; expected some of {', '.join(DISTORTIONS)}"
            )
        if not sum(self.distortions.values()) > 0 or min(self.distortions.values()) < 0:
            raise TrainingError(f"the chances of distortions are {dict(self.distortions)}; expected some above zero")
        for name in ("freeform", "bracketed", "crossed", "grainy", "layered", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; expected a share in [0, 1]")
        if self.jitter is not None and not (len(self.jitter) == 2 and 0 <= self.jitter[0] <= self.jitter[1] <= 1):
            raise TrainingError(f"jitter is {self.jitter}; expected 0 <= low <= high <= 1")

    def __call__(self, scene: Tensor, sources: int = 2, *, generator: Generator) -> CudBatch:
        """Makes sources and targets from a batch of scenes.

        Args:
            scene: [N, 3, H, W] in [0, 1], on the generator's device.
            sources: Number of sources S to make of each scene.
            generator: Source of all randomness: the same state gives the same batch.
        """
        n, _, height, width = scene.shape
        if self.jitter is not None:
            scene = jitter(scene, self.jitter, generator)
        crossed = self._chosen(n, self.crossed, generator)
        colourless = crossed | self._chosen(n, self.grey, generator)
        scene = torch.where(colourless, scene.mean(1, keepdim=True), scene)
        views = scene.expand(sources, *scene.shape)
        if self.crossed > 0:
            views = torch.where(crossed, cross_sensors(scene, sources, generator), views)
        make_masks = even_grid_masks if self.even else grid_masks
        masks = make_masks((n, height, width), sources, generator=generator)
        if self.freeform > 0:
            smooth = freeform_masks((n, height, width), sources, generator=generator)
            masks = torch.where(self._chosen(n, self.freeform, generator), smooth, masks)
        distorted = torch.stack([self._distort(view, generator) for view in views])
        views = masks * views + (1 - masks) * distorted
        if self.bracketed > 0:
            exposures, well_exposed = bracket(scene, sources, generator)
            chosen = self._chosen(n, self.bracketed, generator)
            views, masks = torch.where(chosen, exposures, views), torch.where(chosen, well_exposed, masks)
        if self.grainy > 0:
            chosen = self._chosen(n, self.grainy, generator)
            views = torch.where(chosen, grain(scene, sources, generator), views)
            masks = torch.where(chosen, torch.ones_like(masks), masks)
        if self.layered > 0:
            focused, in_focus, deep = layers(scene, sources, generator)
            chosen = self._chosen(n, self.layered, generator)
            views, masks = torch.where(chosen, focused, views), torch.where(chosen, in_focus, masks)
            scene = torch.where(chosen, deep, scene)
        return CudBatch(views, masks, *cud_targets(scene, masks), scene)

    def _chosen(self, scenes: int, share: float, generator: Generator) -> Tensor:
        return torch.rand(scenes, 1, 1, 1, generator=generator, device=generator.device) < share

    def _distort(self, scene: Tensor, generator: Generator) -> Tensor:
        """Distorts each scene of a batch by a distortion drawn at random."""
        names = list(self.distortions)
        chances = torch.tensor([float(self.distortions[name]) for name in names], device=generator.device)
        drawn = torch.multinomial(chances, len(scene), replacement=True, generator=generator)
        distorted = torch.empty_like(scene)
        for index, name in enumerate(names):
            chosen = drawn == index
            if chosen.any():
                distorted[chosen] = DISTORTIONS[name](scene[chosen], generator)
        return distorted
