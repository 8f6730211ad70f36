"""Views of a scene by two kinds of sensor, such as thermal and visible light.

The sensors agree about where things are, but not about tones. Contrast may be reversed. Each sees things that the
other does not. The visible sensor loses places in the dark, in glare and in fog; the thermal one where all is equally
warm.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from defusion.pretext.distortions import blur
from defusion.pretext.edges import box, edge_field, field, guided
from defusion.pretext.views import Views, as_camera, at_rest, chance, one_of, uniform

#: The target's light follows the brighter sensor: its weight is a sigmoid of its lead times this. With 10, all that
#: is dark in the visible view became as pale as the thermal one.
BRIGHTER_SENSOR = 4.0

#: A mixture of two lights is paler than either. So it is spread about its mean by this factor, within the range of
#: the two. When the light of fused pictures was replaced by such a mixture, QCV on the tuning scenes was 384 in place
#: of 440 (RoadScene), 540 in place of 647 (VIFB) and 276 in place of 317 (TNO).
SPREAD = 1.35

#: The target shows a hot or cold thing by the sensor in which it stands out more: again a sigmoid of its lead times
#: this. The lead is a mean over squares with a side of twice the pixels and one, so that a thing is whole. Of a hot
#: thing, the thermal view has a head start of so much contrast. Networks trained with .15 and with .4 showed warm
#: things of the tuning scenes with the same contrast. With a factor of 12 and the lead of single pixels, a target was
#: often a mixture. In a run of 34,760 crops without that, and with stronger noise, the contrast of warm things of the
#: tuning scenes (VIFB) rose from .58 to .62.
STANDS_OUT = 30.0
THING_PX = 6
THERMAL_LEAD = 0.4

#: Share of scenes with a sky, which is cold and often bright. Without them, the network mixed a white sky with the
#: black one of the thermal view.
SKIES = 0.3

#: Share of scenes in which such things are dark in visible light, as clothes are, and share with white ground, such
#: as snow. A warm person may then be dark before white in one view and bright before grey in the other. A mixture of
#: both would show hardly any person.
DARK_THINGS = 0.35
SNOW = 0.25

#: Such things are small, so their places count so much more.
HOT_COUNTS = 4.0

#: Share of scenes in which the visible sensor is as noisy as at night, and its noise then, as a share of the full
#: range.
NIGHT = 0.25
NIGHT_NOISE = (0.02, 0.08)

#: Share of scenes whose thermal view is noisy, and its noise then, at most.
NOISY_THERMAL = 0.3
THERMAL_NOISE = 0.05


def sensors(photos: Tensor, sources: int, generator: Generator) -> Views:
    """Makes a thermal view and visible views of each scene [N, 3, H, W], without colour, in random order.

    The target has the detail of the visible view, and that of the thermal view where the visible sensor has lost it.
    Its light is mostly that of the brighter view. A hot or cold thing is whole, as in the view in which it stands out
    more. The target has no noise.
    """
    n, _, height, width = photos.shape
    seen = photos.mean(1, keepdim=True)
    thermal = _tones(seen, photos, generator)
    # Things that are warmer or colder than their surroundings, and hardly show in visible light.
    z = field((n, height, width), 14 + 22 * _drawn(generator), generator)
    for _ in range(2):
        z = guided(z, seen, 4, 1e-3)
    rare = torch.quantile(z.flatten(1), 0.84 + 0.13 * _drawn(generator), dim=1).view(n, 1, 1, 1)
    hot = _soft((z > rare).float() * chance(n, 0.8, generator), 0.8)
    sky = _sky(photos, generator) * chance(n, SKIES, generator)
    seen = seen + uniform(n, 0, 1.2, generator) * sky * (1 - seen)
    cold = uniform(n, -0.1, 0.15, generator)
    thermal = thermal + uniform(n, 0.7, 1.0, generator) * sky * (cold - thermal)
    snow = _soft((edge_field(photos, generator) > uniform(n, -1, 0.5, generator)).float(), 0.8)
    snow = snow * chance(n, SNOW, generator)
    seen = seen + uniform(n, 0.6, 0.95, generator) * snow * (1 - seen)
    dark = torch.where(chance(n, DARK_THINGS, generator), uniform(n, 0.5, 0.95, generator), 0.0)
    seen = seen * (1 - dark * hot)
    own = seen - box(seen, 6)
    warm = torch.where(chance(n, 0.85, generator), uniform(n, 0.7, 1.0, generator), uniform(n, 0.0, 0.2, generator))
    thermal = (1 - hot) * thermal + hot * (warm + uniform(n, 0.1, 0.4, generator) * own)
    # In some scenes they vanish in visible light: they are as bright as what is behind them.
    hidden = torch.where(chance(n, 0.5, generator), uniform(n, 0.3, 1.0, generator), 0.0) * (dark == 0)
    seen = seen * (1 - hidden * hot) + hidden * hot * box(seen, 6)
    visible, lost = _lost_places(seen, photos, generator)
    # Light follows the sensor that receives more: a dark place is often one that a sensor misses.
    of_visible, of_thermal = (guided(each, each, 8, 1e-2) for each in (visible, thermal))
    brighter = (BRIGHTER_SENSOR * (of_thermal - of_visible)).sigmoid()
    # Detail of the thermal view where the visible one is flat.
    flat = ((visible - box(visible, 6)).abs() < 0.02).float()
    warm_detail = _soft(thermal, 0.6) - box(_soft(thermal, 0.6), 6)
    scene = torch.lerp(of_visible, of_thermal, brighter)
    middle = scene.mean((2, 3), keepdim=True)
    scene = middle + SPREAD * (scene - middle)
    scene = scene.maximum(torch.minimum(of_visible, of_thermal)).minimum(torch.maximum(of_visible, of_thermal))
    scene = scene + torch.lerp(visible - of_visible + 0.6 * flat * warm_detail, thermal - of_thermal, lost)
    around = box(scene * (1 - hot), 12) / box(1 - hot, 12).clamp(min=0.05)
    lead = (thermal - around).abs() - (visible - around).abs() + THERMAL_LEAD * (thermal > around)
    lead = box(lead * hot, THING_PX) / box(hot, THING_PX).clamp(min=1e-3)
    hot = hot * (STANDS_OUT * lead).sigmoid()
    scene = (1 - hot) * scene + hot * thermal
    night = NIGHT_NOISE[0] + (NIGHT_NOISE[1] - NIGHT_NOISE[0]) * uniform(n, 0, 1, generator)
    noise = torch.where(chance(n, NIGHT, generator), night, uniform(n, 0.0, 0.02, generator))
    clean = torch.stack([thermal, *[visible] * (sources - 1)]).clamp(0, 1)
    of_thermal = torch.where(chance(n, NOISY_THERMAL, generator), THERMAL_NOISE, 0.012) * uniform(n, 0, 1, generator)
    noises = torch.stack([of_thermal, *[noise] * (sources - 1)])
    views = as_camera(clean, noises, generator)
    shows = torch.maximum(hot, lost)
    masks = torch.stack([shows, *[1 - shows] * (sources - 1)])
    order = torch.rand(sources, n, generator=generator, device=photos.device).argsort(0)
    scenes = torch.arange(n, device=photos.device)
    views, clean, masks = views[order, scenes], clean[order, scenes], masks[order, scenes]
    zeros = torch.zeros(n, device=photos.device)
    grey = (sources, n, 3, height, width)
    made = at_rest(views.expand(grey), scene.clamp(0, 1).expand(grey[1:]), masks, zeros, zeros)
    return made._replace(clean=clean.expand(grey), importance=1 + HOT_COUNTS * hot)


def _sky(photos: Tensor, generator: Generator) -> Tensor:
    """Makes masks [N, 1, H, W] of the upper parts of photographs, bordered by edges."""
    n, _, height, _ = photos.shape
    up = 1 - 2 * torch.linspace(0, 1, height, device=photos.device).view(1, 1, height, 1)
    z = edge_field(photos, generator) + 3 * up
    share = torch.quantile(z.flatten(1), 0.4 + 0.5 * _drawn(generator), dim=1).view(n, 1, 1, 1)
    return _soft((z > share).float(), 0.8)


def _drawn(generator: Generator) -> float:
    return float(torch.rand(1, generator=generator, device=generator.device))


def _soft(x: Tensor, spread_px: float) -> Tensor:
    n = len(x)
    return blur(x, torch.full((n,), spread_px / 0.6, device=x.device), torch.ones(n, dtype=torch.bool))


def _tones(seen: Tensor, photos: Tensor, generator: Generator) -> Tensor:
    """Shows a scene as a thermal sensor might: by two random tone curves, soft, in low contrast, with own detail."""
    n = len(seen)
    mask = (edge_field(photos, generator) > 0.5 * uniform(n, -1, 1, generator)).float()
    thermal = torch.where(mask > 0.5, _curve(seen, generator), _curve(seen, generator))
    thermal = guided(thermal, thermal, int(one_of((2, 3, 5), generator)), 10 ** (-3 + 1.2 * _drawn(generator)))
    thermal = _soft(thermal, 0.6 + 0.9 * _drawn(generator))
    middle = thermal.mean((2, 3), keepdim=True)
    thermal = middle + uniform(n, 0.25, 0.9, generator) * (thermal - middle)
    other = photos.roll(1, 0).mean(1, keepdim=True)
    where = _soft((edge_field(photos.roll(2, 0), generator) > 0).float(), 1.0)
    return thermal + 0.7 * torch.where(chance(n, 0.4, generator), where, 0.0) * (other - box(other, 8))


def _curve(light: Tensor, generator: Generator) -> Tensor:
    """Applies a random tone curve of six points to each scene. Four curves in ten are reversed."""
    n = len(light)
    points = torch.rand(n, 6, generator=generator, device=light.device).sort(1).values
    points = torch.where(chance(n, 0.4, generator).view(n, 1), points.flip(1), points)
    place = light.clamp(0, 1) * 4.999
    left = place.floor().long()
    low, high = (points.gather(1, (left + step).flatten(1)).view_as(light) for step in (0, 1))
    return torch.lerp(low, high, place - left)


def _lost_places(seen: Tensor, photos: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Hides parts of scenes in the dark, in glare or in fog.

    Returns the visible view, and how far places are lost.
    """
    n, _, height, width = seen.shape
    where = _soft((edge_field(photos, generator) > 0.4).float(), one_of((0.8, 2.0, 4.0), generator))
    stops = 1 + 4 * uniform(n, 0, 1, generator)
    dark = (seen.clamp(min=1e-4) ** 2.2 * 2 ** (-stops * where)) ** (1 / 2.2)
    glare = (field((n, height, width), 30.0, generator) - 1.2).clamp(min=0)
    glared = (seen + 1.5 * glare).clamp(max=1)
    level = uniform(n, 0.3, 0.9, generator)
    fogged = seen * (1 - 0.85 * where) + 0.85 * where * level
    drawn = uniform(n, 0, 1, generator)
    in_dark, in_glare, in_fog = drawn < 0.4, (drawn >= 0.4) & (drawn < 0.55), (drawn >= 0.55) & (drawn < 0.7)
    night = (drawn > 0.9) * (1 - uniform(n, 0.15, 0.7, generator))
    visible = torch.where(
        in_dark, dark, torch.where(in_glare, glared, torch.where(in_fog, fogged, seen * (1 - night)))
    )
    share = where * (stops / 4).clamp(max=0.9)
    lost = torch.where(
        in_dark, share, torch.where(in_glare, (2 * glare).clamp(0, 1), torch.where(in_fog, 0.7 * where, 0 * where))
    )
    return visible, lost
