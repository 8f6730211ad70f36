"""Focus stacks: views of a scene that are in focus in different places, and may not quite line up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from defusion.pretext.absent import EQUALLY_NOISY
from defusion.pretext.depth import STILL_SHOWN, WINDOW_PX, layers
from defusion.pretext.distortions import blur
from defusion.pretext.edges import edge_masks, field
from defusion.pretext.views import Views, as_camera, at_rest, chance, one_of, strengths, uniform

#: Radius of the blur of a place that is out of focus, in pixels: least and most.
RADIUS_PX = (0.7, 5.0)

#: How far views may be out of line, at most: shift in pixels, and breathing of the lens as a share of the size.
SHIFT_PX = 5.0
BREATHING = 0.06

#: Share of scenes whose views are out of line.
OFF = 0.35

GAMMA = 2.2


def focus(photos: Tensor, sources: int, generator: Generator) -> Views:
    """Makes views of scenes [N, 3, H, W], each in focus where the others are not.

    In most scenes focus changes at the borders of things: one photograph is cut along its edges, or a thing stands in
    front of another photograph and its blurred border spreads over it, or the scene has layers of depth. In some,
    focus changes gradually.
    """
    n = len(photos)
    kind = float(torch.rand(1, generator=generator, device=generator.device))
    if kind < 0.3:
        views, masks, scene = layers(photos, sources, generator)
    elif kind < 0.55 and sources == 2:
        views, scene = _thing_in_front(photos, generator)
        masks = shown(views, scene)
    else:
        scene = photos
        divide = edge_masks if kind < 0.85 else _gradual
        in_focus = divide(photos, sources, generator)
        views = torch.stack([sharp * scene + (1 - sharp) * _out_of_focus(scene, generator) for sharp in in_focus])
        masks = shown(views, scene)
    scenes = scene.expand(sources, *scene.shape)
    if float(torch.rand(1, generator=generator, device=generator.device)) < OFF:
        views, scenes, masks = _hardly_lined_up(views, scenes, masks, generator)
    noise = one_of((0.0, 0.0, 0.004, 0.01, 0.02), generator) * strengths(sources, n, EQUALLY_NOISY, generator)
    ones = torch.ones(n, device=photos.device)
    made = at_rest(as_camera(views, noise, generator), _first_in_focus(scenes, masks), masks, ones, 0 * ones)
    return made._replace(other_target=_first_in_focus(scenes.flip(0), masks.flip(0)))


def shown(views: Tensor, scene: Tensor) -> Tensor:
    """Returns masks that are one where a view is nearly the scene, or is the nearest of all views."""
    off = (views - scene).abs().mean(2)
    off = F.avg_pool2d(off, WINDOW_PX, 1, WINDOW_PX // 2, count_include_pad=False)[:, :, None]
    return (off <= off.amin(0).clamp(min=STILL_SHOWN)).float()


def _out_of_focus(planes: Tensor, generator: Generator) -> Tensor:
    """Blurs planes. About half of the scenes are blurred in linear light, as a lens does."""
    n = len(planes)
    radius_px = (RADIUS_PX[0] + (RADIUS_PX[1] - RADIUS_PX[0]) * uniform(n, 0, 1, generator) ** 1.5).flatten()
    soft = chance(n, 0.6, generator).flatten()
    gamma = torch.where(chance(n, 0.5, generator), GAMMA, 1.0)
    return blur(planes.clamp(1e-4, 1) ** gamma, radius_px, soft).clamp(1e-6, 1) ** (1 / gamma)


def _thing_in_front(photos: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Puts a thing from another photograph in front. One view is focused on the thing, the other behind it."""
    n = len(photos)
    near, far = photos.roll(1, 0), photos
    matte = edge_masks(near, 2, generator)[0]
    matte = blur(matte, torch.full((n,), 0.9, device=photos.device), torch.ones(n, dtype=torch.bool))
    gamma = torch.where(chance(n, 0.5, generator), GAMMA, 1.0)
    near, far = near.clamp(1e-4, 1) ** gamma, far.clamp(1e-4, 1) ** gamma
    radii = RADIUS_PX[0] + (RADIUS_PX[1] - RADIUS_PX[0]) * uniform(2 * n, 0, 1, generator).flatten() ** 1.5
    soft = chance(n, 0.6, generator).flatten()
    far_off = blur(far, radii[:n], soft)
    near_off = blur(torch.cat([near * matte, matte], 1), radii[n:], soft)
    scene = matte * near + (1 - matte) * far
    on_near = matte * near + (1 - matte) * far_off
    on_far = near_off[:, :3] + (1 - near_off[:, 3:]) * far
    views = torch.stack([on_near, on_far]).clamp(1e-6, 1) ** (1 / gamma)
    return views, scene.clamp(1e-6, 1) ** (1 / gamma)


def _gradual(photos: Tensor, sources: int, generator: Generator) -> Tensor:
    """Makes focus that changes gradually over a surface: shares of the sharp picture, [S, N, 1, H, W]."""
    n, _, height, width = photos.shape
    depth = field((n, height, width), 50.0, generator)
    at = torch.linspace(-1.2, 1.2, sources, device=photos.device)
    away = torch.stack([(depth - each).abs() for each in at])
    return (1.5 - 1.5 * (away - away.amin(0))).clamp(0, 1)


def _hardly_lined_up(
    views: Tensor, scenes: Tensor, masks: Tensor, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Shifts and scales all views but the first a little, with the sharp scene that each sees and its mask."""
    n = views.shape[1]
    height, width = views.shape[3:]
    moved = [torch.cat([views[0], scenes[0], masks[0]], 1)]
    for each in zip(views[1:], scenes[1:], masks[1:], strict=True):
        planes = torch.cat(each, 1)
        off = uniform(n, 0, 1, generator).view(n) ** 2  # most are nearly in line
        scale = 1 + BREATHING * off * uniform(n, -1, 1, generator).view(n)
        shift = SHIFT_PX * torch.stack(
            [off * uniform(n, -1, 1, generator).view(n) * 2 / side for side in (width, height)], 1
        )
        theta = torch.zeros(n, 2, 3, device=views.device)
        theta[:, 0, 0] = theta[:, 1, 1] = scale
        theta[:, :, 2] = shift
        grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
        moved.append(F.grid_sample(planes, grid, "bicubic", "border", align_corners=False).clamp(0, 1))
    planes = torch.stack(moved)
    masks = (planes[:, :, 6:] > 0.5).float()
    masks[0] = torch.maximum(masks[0], 1 - masks.amax(0))
    return planes[:, :, :3], planes[:, :, 3:6], masks


def _first_in_focus(scenes: Tensor, masks: Tensor) -> Tensor:
    """Takes each place from the first source that has it in focus."""
    made = scenes[0]
    for scene, mask in zip(scenes.flip(0), masks.flip(0), strict=True):
        made = torch.lerp(made, scene, mask)
    return made
