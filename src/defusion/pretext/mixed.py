"""All kinds of views in one batch; the network is not told which is which."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from defusion.pretext.absent import absent, grainy
from defusion.pretext.exposures import exposures
from defusion.pretext.focus import focus
from defusion.pretext.sensors import sensors
from defusion.pretext.views import Views, joined

#: Makes views of scenes [N, 3, H, W], by so many sources.
Kind = Callable[[Tensor, int, Generator], Views]

KINDS: dict[str, Kind] = {
    "focus": focus,
    "exposures": exposures,
    "sensors": sensors,
    "absent": absent,
    "grainy": grainy,
}

#: Share of each kind, of ten scenes.
SHARES = {"focus": 3.0, "exposures": 3.0, "sensors": 2.0, "absent": 1.0, "grainy": 1.0}

#: Chance of two, three and four sources.
SOURCES = {2: 0.8, 3: 0.13, 4: 0.07}


def mixed(photos: Tensor, generator: Generator) -> tuple[Views, list[str]]:
    """Makes views of photographs [N, 3, H, W]: each draws its kind, and all draw one number of sources.

    Returns:
        The views, in the order of their kinds, and the kind of each scene.
    """
    device = generator.device
    drawn = torch.multinomial(torch.tensor(list(SOURCES.values()), device=device), 1, generator=generator)
    sources = list(SOURCES)[int(drawn)]
    chances = torch.tensor([SHARES[name] for name in KINDS], device=device)
    kinds = torch.multinomial(chances, len(photos), replacement=True, generator=generator)
    views, names = [], []
    for number, (name, make) in enumerate(KINDS.items()):
        chosen = photos[kinds == number]
        if len(chosen):
            views.append(make(chosen, sources, generator))
            names += [name] * len(chosen)
    return joined(views), names
