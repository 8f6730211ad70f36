"""What a pretext gives: several views of a scene, the scene, and where each view shows it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Views(NamedTuple):
    """Views of scenes, and what should be made of them. All pixels are in [0, 1]."""

    sources: Tensor
    """[S, N, 3, H, W]"""
    scene: Tensor
    """[N, 3, H, W]"""
    masks: Tensor
    """How far each source shows the scene, [S, N, 1, H, W] in [0, 1]."""
    one_light: Tensor
    """One where light is the same in all sources, so that a mask can decide, [N]; else zero."""
    absent: Tensor
    """One where a source has noise or nothing beyond its mask, [N]; else zero."""
    moved: Tensor
    """Where something moves between the sources, [N, 1, H, W] in [0, 1]."""
    otherwise: Tensor
    """As right as `scene`, [N, 3, H, W]: what moves is at another of its places, or gone; and of sources that do not
    line up, places that several have in focus are where another one has them."""
    counts: Tensor
    """How much each place counts, [N, 1, H, W]: one, or more for small things that matter."""


def at_rest(sources: Tensor, scene: Tensor, masks: Tensor, one_light: Tensor, absent: Tensor) -> Views:
    """Makes views of scenes in which nothing moves."""
    still = torch.zeros_like(scene[:, :1])
    return Views(sources, scene, masks, one_light, absent, still, scene, still + 1)


def joined(views: list[Views]) -> Views:
    """Joins batches of as many sources."""
    return Views(*(torch.cat(each, 1 if each[0].ndim == 5 else 0) for each in zip(*views, strict=True)))


def uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """Draws a number a scene, [N, 1, 1, 1]."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator, device=generator.device)


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draws normal numbers."""
    return torch.randn(shape, generator=generator, device=generator.device)


def chance(n: int, share: float, generator: Generator) -> Tensor:
    """Draws yes or no a scene, [N, 1, 1, 1]."""
    return torch.rand(n, 1, 1, 1, generator=generator, device=generator.device) < share


def one_of(values: tuple[float, ...], generator: Generator) -> float:
    """Draws one of some values."""
    return values[int(torch.randint(len(values), (1,), generator=generator, device=generator.device))]


def as_camera(pixels: Tensor, noise: Tensor, generator: Generator) -> Tensor:
    """Adds noise and rounds to 8 bits, as a camera's file has it."""
    return ((pixels + noise * normal(tuple(pixels.shape), generator)).clamp(0, 1) * 255).round() / 255
