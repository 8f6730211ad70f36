"""Mixes all kinds of views in one batch. The network is not told which scene is of which kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from defusion.pretext.absent import absent, grainy
from defusion.pretext.distortions import blur
from defusion.pretext.edges import edge_field
from defusion.pretext.exposures import exposures
from defusion.pretext.focus import focus
from defusion.pretext.sensors import sensors
from defusion.pretext.views import Views, chance, joined, normal, uniform

#: Makes views of scenes [N, 3, H, W], with the given number of sources.
ViewMaker = Callable[[Tensor, int, Generator], Views]

KINDS: dict[str, ViewMaker] = {
    "focus": focus,
    "exposures": exposures,
    "sensors": sensors,
    "absent": absent,
    "grainy": grainy,
}

#: How often each kind is drawn, relative to the others.
SHARES = {"focus": 3.0, "exposures": 3.0, "sensors": 3.5, "absent": 0.9, "grainy": 0.7}

#: The same where the close look is trained alone. It has to know the other kinds, too, to find no fault in them.
CLOSE_SHARES = {"focus": 3.5, "exposures": 0.35, "sensors": 0.35, "absent": 3.0, "grainy": 1.5}

#: Share of photographs that get a rough part, whose texture is as fine as noise, and its strength: least and most, as
#: a share of the full range.
ROUGH = 0.3
ROUGHNESS = (0.03, 0.3)

#: Share of photographs with bright or dark points, such as stars or stained cells, and the share of pixels that hold
#: a point: least and most.
DOTTED = 0.4
DOTS = (0.001, 0.02)

#: Share of photographs without colour. Without them, the network took all grey sources for those of two sensors, and
#: did not see that both sources of a grey focus pair have the same light.
GREY = 0.25

#: Chance of each number of sources.
SOURCES = {2: 0.8, 3: 0.13, 4: 0.07}


def mixed(photos: Tensor, generator: Generator, shares: Mapping[str, float] = SHARES) -> tuple[Views, list[str]]:
    """Makes views of photographs [N, 3, H, W]. Each photograph draws a kind; all have the same number of sources.

    Args:
        photos: In [0, 1].
        generator: Source of all randomness.
        shares: How often each kind is drawn, relative to the others.

    Returns:
        The views, in the order of their kinds, and the kind of each scene.
    """
    device = generator.device
    drawn = torch.multinomial(torch.tensor(list(SOURCES.values()), device=device), 1, generator=generator)
    sources = list(SOURCES)[int(drawn)]
    chances = torch.tensor([shares[name] for name in KINDS], device=device)
    kinds = torch.multinomial(chances, len(photos), replacement=True, generator=generator)
    grey = chance(len(photos), GREY, generator)
    photos = rough(dotted(photos, generator), generator)
    photos = torch.where(grey, photos.mean(1, keepdim=True), photos)
    views, names = [], []
    for number, (name, make) in enumerate(KINDS.items()):
        chosen = photos[kinds == number]
        if len(chosen):
            views.append(make(chosen, sources, generator))
            names += [name] * len(chosen)
    return joined(views), names


def dotted(photos: Tensor, generator: Generator) -> Tensor:
    """Puts points on some photographs [N, 3, H, W]. Many of these are darkened first.

    A point that one source shows in focus must not be taken for noise or for a broken pixel.
    """
    n, _, height, width = photos.shape
    density = DOTS[0] + (DOTS[1] - DOTS[0]) * uniform(n, 0, 1, generator) ** 3
    drawn = torch.rand((2, n, 1, height, width), generator=generator, device=photos.device)
    points = (drawn[0] < density) * (0.2 + 0.8 * drawn[1])
    gaussian = torch.ones(n, dtype=torch.bool, device=photos.device)
    points = blur(points, uniform(n, 0.5, 2.0, generator).flatten(), gaussian)
    strength = uniform(n, 0.5, 1.5, generator) / points.amax((2, 3), keepdim=True).clamp(min=1e-3)
    points = (strength * points).clamp(max=1)
    ground = photos * uniform(n, 0.05, 1.0, generator)
    colour = 1 - 0.4 * torch.rand((n, 3, 1, 1), generator=generator, device=photos.device)
    colour = torch.where(chance(n, 0.8, generator), colour, 0.0)
    return torch.where(chance(n, DOTTED, generator), torch.lerp(ground, colour.expand_as(photos), points), photos)


def rough(photos: Tensor, generator: Generator) -> Tensor:
    """Makes a part of some photographs [N, 3, H, W] rough, as stone, gravel and leaves are.

    If one source has such a part in focus and another has not, the network must not take the sharp one for noise.
    """
    n, _, height, width = photos.shape
    grain = normal((n, 1, height, width), generator) + 0.2 * normal((n, 3, height, width), generator)
    radius_px = uniform(n, 0.5, 1.6, generator).flatten()
    gaussian = torch.ones(n, dtype=torch.bool, device=grain.device)
    soft = blur(0.5 + 0.1 * grain, radius_px, gaussian) - 0.5
    soft = soft / (soft.std((1, 2, 3), keepdim=True) + 1e-3)
    strength = ROUGHNESS[0] + (ROUGHNESS[1] - ROUGHNESS[0]) * uniform(n, 0, 1, generator) ** 2
    where = (edge_field(photos, generator) > uniform(n, -1.5, 0.8, generator)) & chance(n, ROUGH, generator)
    return (photos + strength * where * soft * photos.mean(1, keepdim=True).sqrt()).clamp(0, 1)
