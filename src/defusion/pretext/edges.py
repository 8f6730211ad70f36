"""Random fields and masks whose borders follow the edges of a picture, as borders of focus, light and things do."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from defusion.pretext.views import normal, one_of


def box(x: Tensor, radius_px: int) -> Tensor:
    """Returns the mean over a square, of [N, C, H, W]; the edge is repeated beyond it."""
    padded = F.pad(x, (radius_px,) * 4, mode="replicate")
    return _means_along(_means_along(padded, radius_px, 2), radius_px, 3)


def _means_along(x: Tensor, radius_px: int, axis: int) -> Tensor:
    """Returns the means of 2 `radius_px` + 1 neighbours along an axis, by sums from its start: the time does not
    depend on the radius.
    """
    side = 2 * radius_px + 1
    sums = x.cumsum(axis)
    last = sums.narrow(axis, side - 1, x.shape[axis] - side + 1).clone()
    last.narrow(axis, 1, last.shape[axis] - 1).sub_(sums.narrow(axis, 0, last.shape[axis] - 1))
    return last / side


def guided(x: Tensor, guide: Tensor, radius_px: int, floor: float) -> Tensor:
    """Smooths x [N, 1, H, W] except where the guide has edges (He, Sun and Tang, 2010).

    The fit is made at half the size, and applied at full size (He and Sun, 2015).

    Args:
        x: What is smoothed.
        guide: [N, 1, H, W].
        radius_px: Of the window.
        floor: Variance of the guide from which on an edge is kept.
    """
    size, radius_px = guide.shape[2:], max(1, radius_px // 2)
    small, of_guide = F.avg_pool2d(x, 2), F.avg_pool2d(guide, 2)
    mean_x, mean_guide = box(small, radius_px), box(of_guide, radius_px)
    slope = (box(of_guide * small, radius_px) - mean_guide * mean_x) / (
        box(of_guide * of_guide, radius_px) - mean_guide**2 + floor
    )
    fit = torch.cat([box(slope, radius_px), box(mean_x - slope * mean_guide, radius_px)], 1)
    fit = F.interpolate(fit, size=size, mode="bilinear")
    return fit[:, :1] * guide + fit[:, 1:]


def field(shape: tuple[int, int, int], cell_px: float, generator: Generator) -> Tensor:
    """Makes smooth random fields [N, 1, H, W] of mean 0 and deviation 1, with bumps about `cell_px` wide."""
    n, height, width = shape
    cells = (int(height / cell_px) + 3, int(width / cell_px) + 3)
    bumps = F.interpolate(normal((n, 1, *cells), generator), size=(height, width), mode="bicubic")
    return (bumps - bumps.mean((2, 3), keepdim=True)) / (bumps.std((2, 3), keepdim=True) + 1e-3)


def edge_field(scenes: Tensor, generator: Generator, cell_px: tuple[float, float] = (20.0, 60.0)) -> Tensor:
    """Makes random fields [N, 1, H, W] that change at the edges of scenes [N, 3, H, W]."""
    n, _, height, width = scenes.shape
    guide = scenes.mean(1, keepdim=True)
    drawn = torch.rand(2, generator=generator, device=generator.device)
    z = field((n, height, width), cell_px[0] + (cell_px[1] - cell_px[0]) * float(drawn[0]), generator)
    floor = 10 ** (-4 + 1.5 * float(drawn[1]))
    for _ in range(2):
        z = guided(z, guide, int(one_of((4, 8), generator)), floor)
    return (z - z.mean((2, 3), keepdim=True)) / (z.std((2, 3), keepdim=True) + 1e-3)


def edge_masks(scenes: Tensor, count: int, generator: Generator) -> Tensor:
    """Divides scenes along their edges into masks of zeros and ones, [count, N, 1, H, W], that add up to one."""
    fields = torch.stack([edge_field(scenes, generator) for _ in range(count)])
    fields = fields + 0.5 * normal((count, len(scenes), 1, 1, 1), generator)
    owner = fields.argmax(0, keepdim=True)
    return torch.zeros_like(fields).scatter_(0, owner, 1.0)
