"""Scenes with depth, as a camera sees them that focuses on one distance after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from defusion.pretext.distortions import DEFOCUS_PX, blur
from defusion.pretext.masks import freeform_masks

#: A place out of focus still counts as shown if it differs from the scene by no more than this, on average over a
#: window.
STILL_SHOWN = 0.015
WINDOW_PX = 7


def layers(scenes: Tensor, sources: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Puts each scene of a batch behind pieces of others, and focuses each source on another distance.

    Masks cut a scene where nothing in it ends. Here focus changes at the borders of things, and a near thing that is
    out of focus spreads over what is behind it, as in real focus stacks. So each layer and its matte are blurred
    before they cover the layers behind.

    Args:
        scenes: [N, 3, H, W]; the batch is also what the nearer layers are made of.
        sources: Number of sources S, and of layers.
        generator: Source of all randomness.

    Returns:
        The sources [S, N, 3, H, W], in random order of distance; masks [S, N, 1, H, W] that are one where no source
        shows the scene better, or where the source nearly equals it, since flat places look the same in and out of
        focus; and the scenes, [N, 3, H, W], all in focus.
    """
    n, _, height, width = scenes.shape
    mattes = freeform_masks((n, height, width), sources, generator=generator)
    mattes = F.avg_pool2d(F.pad(mattes.flatten(0, 1), (1,) * 4, mode="replicate"), 3, 1).view_as(mattes)
    mattes[0] = 1  # nothing is behind the farthest
    drawn, kind = torch.rand(2, n, generator=generator, device=scenes.device)
    step_px, soft = 0.8 + (DEFOCUS_PX / (sources - 1) - 0.8) * drawn**2, kind < 0.5
    order = torch.stack([torch.randperm(sources, generator=generator, device=scenes.device) for _ in range(n)], 1)

    def seen(focus: Tensor | None) -> Tensor:
        """Paints from the farthest layer to the nearest. `focus` is the layer in focus of each scene; None has all in
        focus.
        """
        picture = torch.zeros_like(scenes)
        for layer, matte in enumerate(mattes):
            covering = torch.cat([scenes.roll(layer, 0) * matte, matte], 1)
            if focus is not None:
                radius_px = step_px * (focus - layer).abs()
                covering = torch.where((radius_px > 0).view(n, 1, 1, 1), blur(covering, radius_px, soft), covering)
            picture = covering[:, :3] + (1 - covering[:, 3:]) * picture
        return picture.clamp(0, 1)

    views, scene = torch.stack([seen(focus) for focus in order]), seen(None)
    off = (views - scene).abs().mean(2)
    off = F.avg_pool2d(off, WINDOW_PX, 1, WINDOW_PX // 2, count_include_pad=False)[:, :, None]
    masks = (off <= off.amin(0).clamp(min=STILL_SHOWN)).float()
    return views, masks, scene
