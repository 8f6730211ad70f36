"""The distortions T of section 3.1: what a source shows where its mask does not keep the scene.

Noise is the paper's choice (eq. 1). The others are ways in which real sources fall short of their
scene: out of focus, badly exposed, empty. Each takes scenes [N, 3, H, W] in [0, 1] and gives as many
distorted ones, drawn anew for each call, so that sources of one scene are distorted independently.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

#: Strongest defocus, as a disk's radius in pixels; also how far a blur sees.
DEFOCUS_PX = 9

#: Largest linear light that a camera's tone curve shows as black.
CRUSHED = 0.02

#: Strongest grain, as a share of the full range.
GRAIN = 0.08

#: Largest difference between the light of a bracketed scene and that of its photograph, in stops.
LIGHT_STOPS = 3.0

Distortion = Callable[[Tensor, Generator], Tensor]


def noise(scenes: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise in the pixels' range: half-normal of unit spread, clipped to [0, 1]."""
    return _normal(scenes.shape, generator).abs().clamp(max=1)


def faint_noise(scenes: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise of random mean and spread, grey or coloured, clipped to [0, 1]."""
    n, _, height, width = scenes.shape
    mean, spread = _rand((n, 1, 1, 1), generator), 0.03 + 0.5 * _rand((n, 1, 1, 1), generator)
    grain = _normal((n, 3, height, width), generator)
    grey = _rand((n, 1, 1, 1), generator) < 0.5
    return (mean + spread * torch.where(grey, grain[:, :1], grain)).clamp(0, 1)


def defocus(scenes: Tensor, generator: Generator) -> Tensor:
    """The scene out of focus, by a disk or a Gaussian of random size up to `DEFOCUS_PX`."""
    radius_px = 0.8 + (DEFOCUS_PX - 0.8) * _rand((len(scenes),), generator) ** 2
    soft = _rand((len(scenes),), generator) < 0.5
    return blur(scenes, radius_px, soft)


def blur(planes: Tensor, radius_px: Tensor, soft: Tensor) -> Tensor:
    """Blurs planes [N, C, H, W] in [0, 1] by radii [N] up to `DEFOCUS_PX`: with Gaussians where `soft`, else with
    disks.
    """
    n, channels, _, _ = planes.shape
    radius_px, soft = radius_px.view(n, 1, 1), soft.view(n, 1, 1)
    reach_px = min(DEFOCUS_PX, math.ceil(2 * float(radius_px.max())))
    offsets = torch.arange(-reach_px, reach_px + 1, device=planes.device).float()
    distance = (offsets[:, None] ** 2 + offsets[None, :] ** 2).sqrt()
    disk = (radius_px + 0.5 - distance).clamp(0, 1)
    gauss = torch.exp(-0.5 * (distance / (0.6 * radius_px)) ** 2)
    kernels = torch.where(soft, gauss, disk)
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    padded = F.pad(planes, (reach_px,) * 4, mode="reflect")
    # One kernel for each scene: a grouped convolution, with a group for each plane.
    padded = padded.reshape(1, channels * n, *padded.shape[2:])
    weights = kernels.repeat_interleave(channels, 0)[:, None]
    # Kernels sum to one only to rounding, so a white scene would come out a little whiter.
    return F.conv2d(padded, weights, groups=channels * n).reshape(planes.shape).clamp(0, 1)


def underexpose(scenes: Tensor, generator: Generator) -> Tensor:
    """The scene too dark: gain down to 1/30, and the shadows' noise with it."""
    gain = 0.03 + 0.4 * _rand((len(scenes), 1, 1, 1), generator)
    return _expose(scenes, gain, generator)


def overexpose(scenes: Tensor, generator: Generator) -> Tensor:
    """The scene too bright: gain up to 8, clipped."""
    gain = 1.8 + 6.2 * _rand((len(scenes), 1, 1, 1), generator) ** 2
    return _expose(scenes, gain, generator)


def fog(scenes: Tensor, generator: Generator) -> Tensor:
    """The scene with little contrast left, drawn to one random level."""
    n = len(scenes)
    contrast = 0.5 * _rand((n, 1, 1, 1), generator)
    return contrast * scenes + (1 - contrast) * _rand((n, 1, 1, 1), generator)


def zeros(scenes: Tensor, generator: Generator) -> Tensor:
    """Nothing: black."""
    return torch.zeros_like(scenes)


DISTORTIONS: dict[str, Distortion] = {
    "noise": noise,
    "faint_noise": faint_noise,
    "defocus": defocus,
    "underexpose": underexpose,
    "overexpose": overexpose,
    "fog": fog,
    "zeros": zeros,
}


def bracket(scenes: Tensor, sources: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Takes a bracketed series of each scene: every source shows the whole of it, at another exposure.

    Scenes are bracketed because their light is uneven, as by a window. So some of a scene is lit stronger and some
    weaker than in the photograph, and each place is exposed well in another source.

    Returns:
        The sources [S, N, 3, H, W], in random order of exposure, and masks [S, N, 1, H, W] that are one where
        a source is well exposed, or better than the others.
    """
    n = len(scenes)
    darkest = -(1 + 5 * _rand((n,), generator))  # in stops
    brightest = 0.8 + 3.2 * _rand((n,), generator)
    place = torch.linspace(0, 1, sources, device=scenes.device)[:, None]
    gains = 2.0 ** torch.lerp(darkest, brightest, place)  # [S, N]
    order = _rand((sources, n), generator).argsort(0)
    gains = gains.gather(0, order)[:, :, None, None, None]
    light = uneven_light((n, *scenes.shape[2:]), generator)
    views = torch.stack([_expose(scenes, gain * light, generator) for gain in gains])
    badness = (views.mean(2, keepdim=True) - 0.5).abs()
    well_exposed = (badness < 0.4) & (views.amax(2, keepdim=True) < 0.98)
    best = torch.zeros_like(badness).scatter_(0, badness.argmin(0, keepdim=True), 1)
    return views, torch.maximum(best, well_exposed.float())


def jitter(scenes: Tensor, bounds: tuple[float, float], generator: Generator) -> Tensor:
    """Lowers brightness, contrast and then saturation of scenes, each by a random factor for each scene.

    Args:
        scenes: [N, 3, H, W] in [0, 1].
        bounds: Of the factors, in [0, 1]; with a factor of one a scene stays as it is.
        generator: Source of all randomness.
    """
    low, high = bounds
    bright, contrast, colour = low + (high - low) * _rand((3, len(scenes), 1, 1, 1), generator)
    scenes = bright * scenes
    scenes = torch.lerp(scenes.mean((1, 2, 3), keepdim=True), scenes, contrast)
    return torch.lerp(scenes.mean(1, keepdim=True), scenes, colour)


def uneven_light(shape: tuple[int, int, int], generator: Generator) -> Tensor:
    """Makes light of up to `LIGHT_STOPS` stronger or weaker, [N, 1, H, W]; its borders are soft or hard."""
    n, height, width = shape
    cells = int(torch.randint(2, 7, (1,), generator=generator, device=generator.device))
    bumps = F.interpolate(_normal((n, 1, cells, cells), generator), size=(height, width), mode="bicubic")
    hardness = 1 + 12 * _rand((n, 1, 1, 1), generator) ** 2
    stops = LIGHT_STOPS * _rand((n, 1, 1, 1), generator)
    light: Tensor = 2 ** (stops * (hardness * bumps).tanh())
    return light


def cross_sensors(scenes: Tensor, sources: int, generator: Generator) -> Tensor:
    """Shows each scene to sensors that disagree about its tones, as infrared and visible light do.

    Each source adds its share of one smooth field to the scene, and the shares sum to zero, so that the scene is
    still what the sources have in common: their mean. The field mixes the tones of another scene of the batch, of
    the scene itself (which reverses its contrast), and random bumps.

    Returns:
        The sources [S, N, 3, H, W].
    """
    n, _, height, width = scenes.shape
    luminance = scenes.mean(1, keepdim=True)
    tones = torch.cat([luminance.roll(1, 0), luminance, _rand((n, 1, height, width), generator)], 1)
    cell_px = 2 ** int(torch.randint(1, 6, (1,), generator=generator, device=generator.device))
    coarse = F.adaptive_avg_pool2d(tones, (max(2, height // cell_px), max(2, width // cell_px)))
    coarse = (coarse - coarse.mean((2, 3), keepdim=True)) / (coarse.std((2, 3), keepdim=True) + 1e-3)
    signed = _normal((n, 3, 1, 1), generator)
    field = F.interpolate((coarse * signed).sum(1, keepdim=True), size=(height, width), mode="bilinear")
    strength = 0.05 + 0.25 * _rand((n, 1, 1, 1), generator)
    field = strength * field / (field.std((2, 3), keepdim=True) + 1e-3)
    shares = torch.linspace(-1, 1, sources, device=scenes.device)
    return (scenes + shares[:, None, None, None, None] * field).clamp(0, 1)


def grain(scenes: Tensor, sources: int, generator: Generator) -> Tensor:
    """Shows each scene under Gaussian grain, of each source's own or, every other time, the same for all.

    What sources have in common is the scene, and none has anything of its own (paper, section 4.2).

    Returns:
        The sources [S, N, 3, H, W].
    """
    n = len(scenes)
    spread = GRAIN * _rand((n, 1, 1, 1), generator)
    same = _rand((n, 1, 1, 1), generator) < 0.5
    own = _normal((sources, *scenes.shape), generator)
    return (scenes + spread * torch.where(same, own[:1], own)).clamp(0, 1)


def _expose(scenes: Tensor, gain: Tensor, generator: Generator) -> Tensor:
    """Multiplies linear light (gamma 2.2) by a gain, as a camera does that writes 8 bits.

    Its tone curve drops the deepest shadows, up to `CRUSHED` of full light, and its sensor has noise of up to 1 % of
    the range. So raising the brightness does not bring back what a dark source has lost.
    """
    crushed = CRUSHED * _rand((len(scenes), 1, 1, 1), generator) ** 2
    light = (scenes.clamp(min=1e-6) ** 2.2 * gain - crushed) / (1 - crushed)
    spread = 0.01 * _rand((len(scenes), 1, 1, 1), generator)
    exposed = light.clamp(0, 1) ** (1 / 2.2) + spread * _normal(scenes.shape, generator)
    return (exposed.clamp(0, 1) * 255).round() / 255


def _rand(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
