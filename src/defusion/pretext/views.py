"""Training data of the pyramid network: views of scenes as sources, and the picture to make of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Views(NamedTuple):
    """Views of scenes, and the pictures that the network should make of them. All pixels are in [0, 1]."""

    sources: Tensor
    """[S, N, 3, H, W]"""
    clean: Tensor
    """The same before noise was added, whose structure the picture should keep, [S, N, 3, H, W]."""
    target: Tensor
    """The picture to make, [N, 3, H, W]."""
    masks: Tensor
    """How far each source shows the scene, [S, N, 1, H, W] in [0, 1]."""
    one_light: Tensor
    """One if all sources have the same light, so that a mask can choose among them; else zero, [N]."""
    absent: Tensor
    """One if sources hold noise or nothing outside their masks; else zero, [N]."""
    moved: Tensor
    """Where something moves between the sources, [N, 1, H, W] in [0, 1]."""
    other_target: Tensor
    """A second picture that is as right, [N, 3, H, W]. A moving thing is elsewhere in it, or gone. Where sources do
    not line up and several are in focus, it follows another source."""
    importance: Tensor
    """How much the error of each place counts, [N, 1, H, W]: one, or more for small things that matter."""


def at_rest(sources: Tensor, target: Tensor, masks: Tensor, one_light: Tensor, absent: Tensor) -> Views:
    """Makes views of scenes in which nothing moves. Structure is taken from the sources as they are."""
    still = torch.zeros_like(target[:, :1])
    return Views(sources, sources, target, masks, one_light, absent, still, target, still + 1)


def joined(views: list[Views]) -> Views:
    """Joins batches that have the same number of sources."""
    return Views(*(torch.cat(each, 1 if each[0].ndim == 5 else 0) for each in zip(*views, strict=True)))


def uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """Draws one number for each scene, [N, 1, 1, 1]."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator, device=generator.device)


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draws normal numbers."""
    return torch.randn(shape, generator=generator, device=generator.device)


def chance(n: int, share: float, generator: Generator) -> Tensor:
    """Draws yes or no for each scene, [N, 1, 1, 1]."""
    return torch.rand(n, 1, 1, 1, generator=generator, device=generator.device) < share


def one_of(values: tuple[float, ...], generator: Generator) -> float:
    """Draws one of some values."""
    return values[int(torch.randint(len(values), (1,), generator=generator, device=generator.device))]


def strengths(sources: int, n: int, equal: float, generator: Generator) -> Tensor:
    """Draws a strength in [0, 1] for each source, [S, N, 1, 1, 1]; the same for all sources in a share of scenes."""
    own = torch.rand(sources, n, 1, 1, 1, generator=generator, device=generator.device)
    return torch.where(chance(n, equal, generator), own[:1], own)


def as_camera(pixels: Tensor, noise: Tensor, generator: Generator) -> Tensor:
    """Adds noise and rounds to 8 bits, as a camera does."""
    return ((pixels + noise * normal(tuple(pixels.shape), generator)).clamp(0, 1) * 255).round() / 255
