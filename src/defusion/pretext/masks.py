"""Random masks M_i for the CUD pretext task (paper, sections 3.2 and 3.3).

A mask is 1 where a source keeps the scene and 0 where it is distorted. Masks of one scene are made
together, for any number of sources, so that every place is kept by at least one: M_1 + ... + M_S > 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

#: Cell sides in pixels of the two grids whose product is a mask. The paper says "two random masks with
#: different resolution"; these ranges hold the 14 and 28 cells that suit 256-pixel crops.
COARSE_PX = (14.0, 40.0)
FINE_PX = (6.0, 14.0)

#: Chance that a cell keeps the scene, drawn for each scene.
KEEP = (0.35, 0.95)

#: Cells that `even_grid_masks` divides `EVEN_PX` pixels into, and the bounds of the chance that a cell is kept.
EVEN_CELLS = (13, 26)
EVEN_PX = 256
EVEN_KEEP = (0.1, 0.99)

#: Side in pixels of the bumps that free-form regions are cut from.
FREEFORM_PX = (12.0, 64.0)


def grid_masks(shape: tuple[int, int, int], sources: int = 2, *, generator: Generator) -> Tensor:
    """Makes masks as the paper does: each the product of two random grids of different resolution.

    Where no source would keep a place, a third grid hands it to one of them.

    Args:
        shape: (scenes N, height H, width W); H and W in pixels.
        sources: Number of sources S.
        generator: Source of all randomness; its device is where the masks are made.

    Returns:
        Float masks of zeros and ones, [S, N, 1, H, W], whose sum over S is positive everywhere.
    """
    scenes, height, width = shape
    size = (height, width)
    keep = _uniform((scenes, 1, 1, 1), KEEP, generator)
    coarse_px = _uniform((scenes,), COARSE_PX, generator)
    fine_px = _uniform((scenes,), FINE_PX, generator)
    masks = torch.stack(
        [
            (_cells(coarse_px, size, generator) < keep.sqrt()).float()
            * (_cells(fine_px, size, generator) < keep.sqrt()).float()
            for _ in range(sources)
        ]
    )
    return give_orphans(masks, _cells(coarse_px, size, generator))


def even_grid_masks(shape: tuple[int, int, int], sources: int = 2, *, generator: Generator) -> Tensor:
    """Makes masks of two grids whose cells always have the same size: 13 and 26 of them along 256 pixels.

    Each grid of each source draws its own chance that a cell keeps the scene, between .1 and .99.

    Args and returns: as `grid_masks`.
    """
    scenes, height, width = shape
    coarse_px, fine_px = (torch.full((scenes,), EVEN_PX / cells, device=generator.device) for cells in EVEN_CELLS)

    def kept(cell_px: Tensor) -> Tensor:
        keep = _uniform((scenes, 1, 1, 1), EVEN_KEEP, generator)
        return (_cells(cell_px, (height, width), generator) < keep).float()

    masks = torch.stack([kept(coarse_px) * kept(fine_px) for _ in range(sources)])
    return give_orphans(masks, _cells(coarse_px, (height, width), generator))


def freeform_masks(shape: tuple[int, int, int], sources: int = 2, *, generator: Generator) -> Tensor:
    """Makes masks of smooth random regions, as focus and exposure divide real scenes.

    Args and returns: as `grid_masks`.
    """
    scenes, height, width = shape
    keep = _uniform((scenes, 1, 1, 1), KEEP, generator)
    bump_px = _uniform((scenes,), FREEFORM_PX, generator)
    size = (height, width)
    masks = torch.stack([(_bumps(bump_px, size, generator) < keep).float() for _ in range(sources)])
    return give_orphans(masks, _bumps(bump_px, size, generator))


def give_orphans(masks: Tensor, owner: Tensor) -> Tensor:
    """Gives each place that no source keeps to one source: the constraint M_1 + ... + M_S > 0 of eq. 1.

    Args:
        masks: [S, N, 1, H, W], zeros and ones.
        owner: [N, 1, H, W] in [0, 1); source floor(S * owner) gets a place that no mask keeps.
    """
    sources = len(masks)
    orphan = masks.sum(0) == 0
    index = (owner * sources).long().clamp(max=sources - 1)
    return torch.stack([mask + (orphan & (index == i)) for i, mask in enumerate(masks)])


def _uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _cells(cell_px: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Random numbers in [0, 1), constant over square cells: [N, 1, H, W] for cell sides [N]."""
    scenes, device = len(cell_px), generator.device
    most = int(max(size) / float(cell_px.min())) + 2
    values = torch.rand(scenes, most, most, generator=generator, device=device)
    shift = torch.rand(scenes, 2, 1, generator=generator, device=device)
    rows, columns = (
        ((torch.arange(side, device=device) / cell_px[:, None]) + shift[:, axis]).long()
        for axis, side in enumerate(size)
    )
    scene = torch.arange(scenes, device=device)[:, None, None]
    return values[scene, rows[:, :, None], columns[:, None, :]][:, None]


def _bumps(bump_px: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Smooth random numbers, spread evenly over [0, 1): [N, 1, H, W] for bump sides [N]."""
    planes = []
    for side in bump_px.tolist():
        grid = (int(size[0] / side) + 3, int(size[1] / side) + 3)
        noise = torch.randn(1, 1, *grid, generator=generator, device=generator.device)
        planes.append(F.interpolate(noise, size=size, mode="bicubic", align_corners=False))
    smooth = torch.cat(planes)
    spread = smooth.flatten(1).std(1, correction=0).clamp(min=1e-3)[:, None, None, None]
    spread_evenly: Tensor = torch.special.ndtr((smooth - smooth.mean((2, 3), keepdim=True)) / spread)
    return spread_evenly
