"""The paper's own pretext (section 3.2): each source keeps a part of the scene; the rest is noise or black."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from defusion.pretext.distortions import faint_noise, noise, zeros
from defusion.pretext.masks import freeform_masks, grid_masks
from defusion.pretext.views import Views, at_rest, chance, normal, strengths, uniform

#: Largest standard deviation of the noise in `grainy`, as a share of the full range, if sources are equally noisy and
#: if they are not. With .06 for both, of noise of .1 in one source alone seven tenths were left in the fused picture,
#: more than the average of the sources has. With .15 for both, detail was taken for noise when all but the close look
#: was trained: Qabf on the tuning scenes was .743 in place of .764 (MFIFB), and .535 in place of .595 (TNO). As here,
#: it was .754 and .545 after 40,110 crops. So the rest of the shipped weights was trained with .06 for both.
MOST_EQUAL_NOISE = 0.06
MOST_NOISE = 0.15
#: Share of scenes whose sources are equally noisy. In the others, noise must not be taken for detail that one source
#: alone shows.
EQUALLY_NOISY = 0.5
#: Share of scenes in `grainy` whose contrast is lowered, so that noise is most of what a source shows.
FLAT = 0.4


def absent(photos: Tensor, sources: int, generator: Generator) -> Views:
    """Makes views of scenes [N, 3, H, W] that each lack places: cells of the paper's grids, or smooth regions."""
    n, _, height, width = photos.shape
    drawn = torch.rand(2, generator=generator, device=generator.device)
    make = grid_masks if drawn[0] < 0.7 else freeform_masks
    masks = make((n, height, width), sources, generator=generator)
    fill = noise if drawn[1] < 0.5 else faint_noise if drawn[1] < 0.75 else zeros
    views = torch.stack([mask * photos + (1 - mask) * fill(photos, generator) for mask in masks])
    ones = torch.ones(n, device=photos.device)
    return at_rest(views, photos, masks, ones, ones)


def grainy(photos: Tensor, sources: int, generator: Generator) -> Views:
    """Makes views that show scenes [N, 3, H, W] whole, each with its own noise (paper, section 4.2)."""
    n, _, height, width = photos.shape
    strength = strengths(sources, n, EQUALLY_NOISY, generator)
    spread = torch.where(strength[:1] == strength[1:2], MOST_EQUAL_NOISE, MOST_NOISE) * strength
    contrast = torch.where(chance(n, FLAT, generator), uniform(n, 0, 0.5, generator), 1.0)
    photos = torch.lerp(photos.mean((2, 3), keepdim=True), photos, contrast)
    views = (photos + spread * normal((sources, *photos.shape), generator)).clamp(0, 1)
    ones = torch.ones(n, device=photos.device)
    return at_rest(views, photos, torch.ones(sources, n, 1, height, width, device=photos.device), ones, 0 * ones)
