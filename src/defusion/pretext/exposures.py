"""Brackets: views of a scene whose range of light is wider than one exposure can hold.

The photograph is taken for a tone-mapped picture of such a scene. Its light is expanded to what the scene may have
had. Each view then shows a part of that range: dark views show what is bright, bright views show what is dark. The
target's range of light is compressed, never removed. Over large squares, its light and its colour are mixtures of the
views' own.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from defusion.pretext.distortions import blur
from defusion.pretext.edges import box, edge_field, edge_masks, field
from defusion.pretext.views import Views, as_camera, chance, normal, one_of, uniform

#: The target keeps this share of the range of light that is added to the photograph, in stops per stop. With .15 to
#: .25 pictures looked pale and flat: light became darker where a scene is bright, and brighter where it is dark.
KEPT_RANGE = 0.5

#: Over squares of some 60 pixels, the target's light is a mixture of the views' light. A view counts e^x there, x
#: being this times its brightness. When the light of fused pictures was replaced by such a mixture, QCV on the tuning
#: scenes of MEFB was 189 in place of 243, Qabf .763 in place of .752, and MEF-SSIM stayed at .982.
BRIGHTER_VIEW = 1.0
LIGHT_RADIUS_PX = 20

#: Over such squares, the target's colour is a mixture of the views' colours. A view counts e^x there, x being this
#: times its colourfulness, the largest of its channels less the smallest. A clipped view is pale. When the colour of
#: the base of fused pictures was replaced by such a mixture, the colourfulness of the tuning scenes (MEFB) was 35 of
#: 255 in place of 29, that of Mertens' fusion being 37. MEF-SSIM stayed at .983.
MORE_COLOUR = 8.0

#: The brightest view is exposed by so many stops more than the darkest places need, and the darkest view by so many
#: fewer than the brightest places need. Both vary from scene to scene, by this standard deviation.
BEYOND_STOPS = 0.3
VARYING_STOPS = 0.6

#: Share of scenes in which something moves.
MOVING = 0.25

#: Above this value the target's tone curve bends towards white.
SHOULDER = 0.75


def exposures(photos: Tensor, sources: int, generator: Generator) -> Views:
    """Makes a bracket of each scene [N, 3, H, W], in random order of exposure."""
    n, _, height, width = photos.shape
    gamma = uniform(n, 1.8, 2.6, generator)
    light = photos.clamp(min=1e-4) ** gamma
    # Stops added to the photograph's range: light with edges, such as a window's, and soft light.
    stops = 5 * uniform(n, 0.2, 1, generator)
    lit = (edge_field(photos, generator) > 0.5 * normal((n, 1, 1, 1), generator)).float()
    softness_px = one_of((0.9, 1.8, 3.3, 8.0), generator)
    if softness_px < 8:
        lit = blur(lit, torch.full((n,), softness_px, device=photos.device), torch.ones(n, dtype=torch.bool))
    else:
        lit = box(box(lit, 5), 5)
    added = stops * lit + 0.5 * uniform(n, 0, 1, generator) * field((n, height, width), 40.0, generator)
    # Some scenes have more contrast about mid grey instead.
    expand = torch.where(chance(n, 0.3, generator), uniform(n, 0.2, 0.9, generator), 0.0)
    mid = light.mean((1, 2, 3), keepdim=True)
    whole = expand * ((light.mean(1, keepdim=True) + 1e-3) / (mid + 1e-3)).log2().clamp(-4, 4)
    added = torch.where(expand > 0, whole + 0.4 * added, added)
    span = torch.quantile(added.flatten(1), 0.97, dim=1) - torch.quantile(added.flatten(1), 0.03, dim=1)
    span, low = span.view(n, 1, 1, 1), torch.quantile(added.flatten(1), 0.03, dim=1).view(n, 1, 1, 1)
    added = added - low
    # In some scenes one view alone shows a thing, whole.
    moving = chance(n, MOVING, generator).float()
    thing = blur(edge_masks(photos.roll(1, 0), 4, generator)[0] * moving, torch.full((n,), 0.9), torch.ones(n) > 0)
    with_thing = (1 - thing) * light + thing * photos.roll(1, 0).clamp(min=1e-4) ** gamma
    seen_in = torch.randint(sources, (n,), generator=generator, device=photos.device)
    sees = (torch.arange(sources, device=photos.device)[:, None] == seen_in).float().view(sources, n, 1, 1, 1)
    radiance = (sees * with_thing + (1 - sees) * light) * 2**added
    place = torch.linspace(0, 1, sources, device=photos.device)[:, None, None, None, None]
    jitter = VARYING_STOPS * normal((sources, n, 1, 1, 1), generator) / (sources - 1)
    exposure = 2 ** (BEYOND_STOPS - (span + 2 * BEYOND_STOPS) * (1 - place) + jitter)
    views = radiance * exposure
    # A camera's white balance drifts, its shadows are noisy, and it cuts off the deepest shadows.
    white_balance = 1 + 0.03 * normal((sources, n, 3, 1, 1), generator)
    noise = uniform(n, 0.001, 0.009, generator)
    clean = views * white_balance
    noisy = clean + noise * normal(tuple(clean.shape), generator) * clean.clamp(min=0).sqrt()
    crushed = 0.01 * uniform(n, 0, 1, generator) ** 2
    clean, views = (((each - crushed) / (1 - crushed)).clamp(1e-6, 1) ** (1 / gamma) for each in (clean, noisy))
    views = as_camera(views, 0.002 * uniform(n, 0, 1, generator), generator)
    wanted = _mixed_light(views)
    scene, otherwise = ((seen * 2 ** (KEPT_RANGE * added)) ** (1 / gamma) for seen in (light, with_thing))
    gain = wanted.mean((1, 2, 3), keepdim=True) / scene.mean((1, 2, 3), keepdim=True)
    compressed = _compressed(gain * scene)
    correction = (
        _wide((wanted - compressed).mean(1, keepdim=True)) + _mixed_colour(views) - _colour(_wide(compressed))
    )
    scene, otherwise = (_compressed(gain * each + correction).clamp(min=0) for each in (scene, otherwise))
    well = _well_exposed(views)
    order = torch.rand(sources, n, generator=generator, device=photos.device).argsort(0)
    scenes = torch.arange(n, device=photos.device)
    zeros = torch.zeros(n, device=photos.device)
    moved = box(thing, 4).clamp(max=0.02) / 0.02
    views, clean, well = views[order, scenes], clean[order, scenes], well[order, scenes]
    return Views(views, clean, scene, well, zeros, zeros, moved, otherwise, torch.ones_like(moved))


def _mixed_light(views: Tensor) -> Tensor:
    """Mixes views [S, N, 3, H, W]. A view counts more where it is brighter."""
    weights = (BRIGHTER_VIEW * views.mean(2, keepdim=True)).softmax(0)
    return (weights * views).sum(0)


def _mixed_colour(views: Tensor) -> Tensor:
    """Mixes the colours of views [S, N, 3, H, W] over large squares. A view counts more where it has more colour."""
    means = torch.stack([_wide(view) for view in views])
    strength = means.amax(2, keepdim=True) - means.amin(2, keepdim=True)
    return ((MORE_COLOUR * strength).softmax(0) * _colour(means)).sum(0)


def _colour(values: Tensor) -> Tensor:
    """Returns the difference from grey, of [..., 3, H, W]."""
    return values - values.mean(-3, keepdim=True)


def _wide(values: Tensor) -> Tensor:
    """Averages over large squares, with soft borders, [N, C, H, W]."""
    return box(box(values, LIGHT_RADIUS_PX), LIGHT_RADIUS_PX)


def _compressed(values: Tensor) -> Tensor:
    """Bends bright values towards white, so that none is clipped."""
    over = (values - SHOULDER).clamp(min=0)
    bent = SHOULDER + (1 - SHOULDER) * (1 - (-over / (1 - SHOULDER)).exp())
    return torch.where(values > SHOULDER, bent, values)


def _well_exposed(views: Tensor) -> Tensor:
    """Returns masks that are one where a view is neither clipped nor black, or is the view that is least so."""
    badness = (views.mean(2, keepdim=True) - 0.5).abs()
    well = (badness < 0.42) & (views.amax(2, keepdim=True) < 0.98)
    best = torch.zeros_like(badness).scatter_(0, badness.argmin(0, keepdim=True), 1.0)
    return torch.maximum(best, well.float())
