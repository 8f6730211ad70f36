"""What the pyramid network is trained by: how far its picture and its parts are from the scene."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defusion.model.pyramid import Made, levels_of
from defusion.model.torch_ops import TorchPyramid
from defusion.pretext.views import Views

#: Differences of sources below this count as this: two levels of 255 at most.
LEAST_DIFFERENCE = 2e-3
#: What keeps structure of rounding from counting as structure, as in SSIM.
STRUCTURE_FLOOR = 0.03**2
#: Power of contrast by which structures that are each other's reverse are weighed.
OF_REVERSED = 4.0
STRUCTURE_SHARES = (0.15, 0.3, 0.35, 0.2)
"""Of each scale, the finest first."""


#: How much each error counts, by the kind of a scene. What is asked for is known, but for the tone of brackets and of
#: sensors; there structure counts. The figures were chosen by the scenes of the bench that steer.
WEIGHTS: dict[str, dict[str, float]] = {
    "focus": {
        "levels": 1.5,
        "light": 0.5,
        "beyond": 0.5,
        "parts": 0.2,
        "mask": 1,
        "confidence": 1.5,
        "one_light": 0.6,
    },
    "exposures": {
        **{"levels": 0.3, "structure": 3.5, "light": 2.5, "beyond": 1},
        **{"parts": 0.1, "confidence": 1, "one_light": 0.6},
    },
    "sensors": {
        **{"levels": 0.6, "structure": 0.9, "light": 4, "beyond": 1},
        **{"parts": 0.2, "confidence": 1, "one_light": 0.6},
    },
    "absent": {
        **{"levels": 0.7, "light": 0.5, "beyond": 0.2, "parts": 1},
        **{"mask": 0.7, "confidence": 0.7, "one_light": 0.6},
    },
    "grainy": {"levels": 1, "light": 0.5, "beyond": 0.2, "parts": 0.1, "confidence": 0.1},
}

#: Parts are made in one step of so many, and count as many times: they take a third of a step's time.
PARTS_EVERY = 3


class PyramidObjective(nn.Module):
    """A network and its errors on views; one module, so that engines can wrap it."""

    def __init__(self, network: TorchPyramid) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: Views, *, parts: bool = True) -> dict[str, Tensor]:
        """Returns errors by name, each a number a scene, [N].

        Args:
            views: Of scenes.
            parts: Also of the common part and of the unique ones.
        """
        count = levels_of(*views.scene.shape[2:])
        made = self.network(views.sources, count=count, parts=parts)
        if parts:
            common, uniques = made.made
            uniques = uniques.unflatten(0, (len(views.sources), -1))
            fused = common + uniques.sum(0)
        else:
            (fused,) = made.made
        apart = (views.sources - views.sources.mean(0)).abs().mean(0)
        errors = {
            "levels": level_error(fused, views.scene, apart, views.counts, count).minimum(
                level_error(fused, views.otherwise, apart, views.counts, count)
            ),
            "structure": structure_error(fused, views.sources, views.moved),
            "light": (pooled(fused, count) - pooled(views.scene, count)).abs().mean((1, 2, 3)),
            "beyond": (F.relu(fused - 1) + F.relu(-fused)).mean((1, 2, 3)),
        }
        if parts:
            errors["parts"] = parts_error(common, uniques, views)
        return errors | self._close_errors(made, views, apart)

    def _close_errors(self, made: Made, views: Views, apart: Tensor) -> dict[str, Tensor]:
        """Of the close look: the picture that its mask alone makes, and what it trusts."""
        sources, n = views.sources.shape[:2]
        mask = made.closely.mask.unflatten(0, (sources, n))
        by_mask = (mask * views.sources).sum(0)
        off = (by_mask - views.scene).abs().mean((1, 2, 3)).minimum((by_mask - views.otherwise).abs().mean((1, 2, 3)))
        relative = off / (apart.mean((1, 2, 3)) + LEAST_DIFFERENCE)
        confidence = made.closely.confidence.unflatten(0, (sources, n)).clamp(1e-4, 1 - 1e-4)
        wanted = torch.where(views.absent.view(n, 1, 1, 1) > 0, views.masks, torch.ones_like(views.masks))
        crossed = -(wanted * confidence.log() + (1 - wanted) * (1 - confidence).log())
        return {
            "mask": views.one_light * (relative + 0.02 * (off + 1e-3).log()),
            "confidence": crossed.mean((0, 2, 3, 4)),
            "one_light": one_light_error(made.votes[-1].by_mask, views.one_light),
        }


def one_light_error(by_mask: Tensor, one_light: Tensor) -> Tensor:
    """Returns the cross entropy of how far the mask decides and of whether light is the same in all sources."""
    wanted = one_light.view(-1, 1, 1, 1).expand_as(by_mask)
    return F.binary_cross_entropy(by_mask.clamp(1e-4, 1 - 1e-4), wanted, reduction="none").mean((1, 2, 3))


def level_error(fused: Tensor, scene: Tensor, apart: Tensor, counts: Tensor, count: int) -> Tensor:
    """Returns the mean absolute error at each level of detail, beside what the sources differ by there.

    Args:
        fused: [N, 3, H, W].
        scene: [N, 3, H, W].
        apart: By how much the sources differ, [N, 3, H, W].
        counts: How much each place counts, [N, 1, H, W].
        count: Number of levels.
    """
    error, difference = counts * (fused - scene), apart
    total = (error.abs().mean((1, 2, 3))) / (apart.mean((1, 2, 3)) + LEAST_DIFFERENCE)
    for _ in range(count):
        coarse = F.avg_pool2d(error, 2)
        detail = error - F.interpolate(coarse, scale_factor=2, mode="bilinear")
        total = total + detail.abs().mean((1, 2, 3)) / (0.5 * difference.mean((1, 2, 3)) + LEAST_DIFFERENCE) / count
        error, difference = coarse, F.avg_pool2d(difference, 2)
    return total


def structure_error(fused: Tensor, sources: Tensor, moved: Tensor) -> Tensor:
    """Returns how much local structure of the sources is lost, at several scales.

    About each place, what is wanted is the direction that the sources' structures share, weighed by their contrast,
    at the contrast of the strongest (Ma, Zeng and Wang, 2015). Light does not count, so no tone is asked for.

    Args:
        fused: [N, 3, H, W].
        sources: [S, N, 3, H, W].
        moved: Places that do not count, [N, 1, H, W].
    """
    made, views = fused.mean(1, keepdim=True), list(sources.mean(2, keepdim=True))
    total = torch.zeros(len(made), device=made.device)
    for scale, share in enumerate(STRUCTURE_SHARES):
        mean, means = window(made), [window(view) for view in views]
        spread = (window(made * made) - mean**2).clamp(min=0)
        of_sources = [
            [window(a * b) - mean_a * mean_b for b, mean_b in zip(views, means, strict=True)]
            for a, mean_a in zip(views, means, strict=True)
        ]
        contrasts = torch.stack([of_sources[k][k].clamp(min=1e-9).sqrt() + 1e-5 for k in range(len(views))])
        whole = torch.stack([each for row in of_sources for each in row]).sum(0)
        alike = whole.clamp(min=0).sqrt() / contrasts.sum(0)
        power = torch.tan(torch.pi / 2 * alike.clamp(0, 1 - 1e-3)).clamp(max=10)
        # Structures that are each other's reverse would cancel: there the stronger counts.
        reversed_ = 1 - whole / sum(contrast**2 for contrast in contrasts)
        power = power.maximum(OF_REVERSED * reversed_)
        odds = (contrasts / contrasts.amax(0)) ** power
        weights = odds / odds.sum(0) / contrasts
        pairs = [weights[a] * weights[b] * of_sources[a][b] for a in range(len(views)) for b in range(len(views))]
        norm = torch.stack(pairs).sum(0)
        weights = (weights * contrasts.amax(0) / norm.clamp(min=1e-6).sqrt()).detach()
        both = sum(
            weight * (window(view * made) - of_view * mean)
            for weight, view, of_view in zip(weights, views, means, strict=True)
        )
        likeness = (2 * both + STRUCTURE_FLOOR) / (contrasts.amax(0) ** 2 + spread + STRUCTURE_FLOOR)
        rest = (1 - window(moved)).clamp(min=0)
        total = total + share * ((1 - likeness) * rest).mean((1, 2, 3))
        if scale < len(STRUCTURE_SHARES) - 1:
            made, moved, *views = (F.avg_pool2d(each, 2) for each in (made, moved, *views))
    return total


def parts_error(common: Tensor, uniques: Tensor, views: Views) -> Tensor:
    """Returns how far the parts are from those of the pretext (paper, eq. 1): common and unique places."""
    of_all = views.masks.sum(0)
    shared = (of_all > 1.5).float()
    wanted_common = shared * views.scene
    wanted_uniques = views.masks * (1 - shared) / of_all.clamp(min=1) * views.scene
    return (common - wanted_common).abs().mean((1, 2, 3)) + (uniques - wanted_uniques).abs().mean((0, 2, 3, 4))


def pooled(x: Tensor, count: int) -> Tensor:
    """Returns what is coarser than all levels but the last."""
    return F.avg_pool2d(x, 2 ** (count - 1))


def window(x: Tensor) -> Tensor:
    """Returns means over 8x8 pixels, one each four pixels down and across."""
    return F.avg_pool2d(F.avg_pool2d(x, 4), 2, 1)
