"""The loss of the pyramid network: how far its picture and its parts are from those of the pretext."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defusion.model.decisions import Closely
from defusion.model.pyramid import levels_of
from defusion.model.torch_ops import TorchPyramid
from defusion.pretext.views import Views

#: Errors are measured beside the difference of the sources, but never beside less than this: half a level of 255.
LEAST_DIFFERENCE = 2e-3
#: Keeps rounding from counting as structure, as in SSIM.
STRUCTURE_FLOOR = 0.03**2
#: Where the sources' structures are each other's reverse, they are weighted by this power of their contrast, so that
#: they do not cancel.
OF_REVERSED = 4.0
STRUCTURE_SHARES = (0.45, 0.25, 0.2, 0.1)
"""How much each scale counts, the finest first. With .15 for the finest, sources were mixed where one has the detail:
when the logits of the fine levels were doubled, Qabf on the tuning scenes was .630 in place of .609 (RoadScene) and
.599 of .572 (TNO), and MEF-SSIM .984 of .983 (MEFB)."""

#: Light is compared over squares as large as a pixel of the base, and over squares that are wider by this power of
#: two. The target's light of a bracket is a mixture of the views' light over squares of some 60 pixels only
#: (`defusion.pretext.exposures`). When the base was made such a mixture, QCV on the tuning scenes (MEFB) was 171 in
#: place of 202.
WIDER = 2

#: How much each error counts, by the kind of scene. The right tones of brackets and of sensors are a matter of taste,
#: so there structure counts most. These figures were chosen on the tuning half of the benchmark scenes.
ERROR_WEIGHTS: dict[str, dict[str, float]] = {
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
        **{"levels": 0.3, "structure": 4.5, "light": 0.5, "wide_light": 12, "colour": 15, "beyond": 1},
        **{"parts": 0.1, "confidence": 1, "one_light": 0.6},
    },
    "sensors": {
        **{"levels": 0.5, "structure": 3.5, "light": 4, "beyond": 1},
        **{"parts": 0.2, "confidence": 1, "one_light": 0.6},
    },
    "absent": {
        **{"levels": 0.7, "light": 0.5, "beyond": 0.2, "parts": 1},
        **{"mask": 1, "confidence": 1, "one_light": 0.6},
    },
    "grainy": {"levels": 1, "light": 0.5, "beyond": 0.2, "parts": 0.1, "mask": 0.5, "confidence": 0.1},
}

#: Parts are made in every third step only, and count three times there: they take a third of a step's time.
PARTS_EVERY = 3


class PyramidObjective(nn.Module):
    """A network and its errors on views, as one module that Lightning can wrap."""

    def __init__(self, network: TorchPyramid) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: Views, *, parts: bool = True, only_close: bool = False) -> dict[str, Tensor]:
        """Returns the errors of each scene, [N], by name.

        Args:
            views: Of scenes.
            parts: Also measure the common and the unique parts.
            only_close: Measure nothing but the mask and the confidence of the close look.
        """
        apart = (views.sources - views.sources.mean(0)).abs().mean(0)
        if only_close:
            return self._close_errors(self.network.look_closely(views.sources), views, apart)
        count = levels_of(*views.target.shape[2:])
        made = self.network(views.sources, count=count, parts=parts)
        if parts:
            common, uniques = made.made
            uniques = uniques.unflatten(0, (len(views.sources), -1))
            fused = common + uniques.sum(0)
        else:
            (fused,) = made.made
        errors = {
            "levels": level_error(fused, views.target, apart, views.importance, count).minimum(
                level_error(fused, views.other_target, apart, views.importance, count)
            ),
            "structure": structure_error(fused, views.clean, views.moved),
            "light": light_error(fused, views.target, count),
            "wide_light": light_error(fused, views.target, count + WIDER),
            "colour": colour_error(fused, views.target, count),
            "beyond": (F.relu(fused - 1) + F.relu(-fused)).mean((1, 2, 3)),
            "one_light": one_light_error(made.weights[-1].by_mask, views.one_light),
        }
        if parts:
            errors["parts"] = parts_error(common, uniques, views)
        return errors | self._close_errors(made.closely, views, apart)

    def _close_errors(self, closely: Closely, views: Views, apart: Tensor) -> dict[str, Tensor]:
        """Returns the errors of the close look: of the picture that its mask alone makes, and of its confidence."""
        sources, n = views.sources.shape[:2]
        mask = closely.mask.unflatten(0, (sources, n))
        by_mask = (mask * views.sources).sum(0)
        either = [(by_mask - target).abs().mean((1, 2, 3)) for target in (views.target, views.other_target)]
        off = torch.minimum(*either)
        relative = off / (apart.mean((1, 2, 3)) + LEAST_DIFFERENCE)
        confidence = closely.confidence.unflatten(0, (sources, n)).clamp(1e-4, 1 - 1e-4)
        wanted = torch.where(views.absent.view(n, 1, 1, 1) > 0, views.masks, torch.ones_like(views.masks))
        crossed = -(wanted * confidence.log() + (1 - wanted) * (1 - confidence).log())
        return {
            "mask": views.one_light * (relative + 0.02 * (off + 1e-3).log()),
            "confidence": crossed.mean((0, 2, 3, 4)),
        }


def one_light_error(by_mask: Tensor, one_light: Tensor) -> Tensor:
    """Returns the cross entropy between how far the mask decides and whether all sources have the same light."""
    wanted = one_light.view(-1, 1, 1, 1).expand_as(by_mask)
    return F.binary_cross_entropy(by_mask.clamp(1e-4, 1 - 1e-4), wanted, reduction="none").mean((1, 2, 3))


def level_error(fused: Tensor, target: Tensor, apart: Tensor, importance: Tensor, count: int) -> Tensor:
    """Returns the mean absolute error of each level, divided by the difference of the sources there.

    Args:
        fused: [N, 3, H, W].
        target: [N, 3, H, W].
        apart: By how much the sources differ, [N, 3, H, W].
        importance: How much each place counts, [N, 1, H, W].
        count: Number of levels.
    """
    error, difference = importance * (fused - target), apart
    total = (error.abs().mean((1, 2, 3))) / (apart.mean((1, 2, 3)) + LEAST_DIFFERENCE)
    for _ in range(count):
        coarse = F.avg_pool2d(error, 2)
        detail = error - F.interpolate(coarse, scale_factor=2, mode="bilinear")
        total = total + detail.abs().mean((1, 2, 3)) / (0.5 * difference.mean((1, 2, 3)) + LEAST_DIFFERENCE) / count
        error, difference = coarse, F.avg_pool2d(difference, 2)
    return total


def structure_error(fused: Tensor, sources: Tensor, moved: Tensor) -> Tensor:
    """Returns how much local structure of the sources is lost, at several scales.

    The wanted structure of a window is the mean of the sources' structures, weighted by contrast and scaled to the
    contrast of the strongest (Ma, Zeng and Wang, 2015). Light does not count, so the tone is free. A scene counts by
    one channel, the next scene by the next. When the mean of the channels counted, fine colours were taken for noise:
    without the gain of colour, Qabf on the tuning scenes (MEFB) was .770 in place of .757.

    Args:
        fused: [N, 3, H, W].
        sources: [S, N, 3, H, W].
        moved: Places that do not count, [N, 1, H, W].
    """
    scenes = torch.arange(len(fused), device=fused.device)
    made, *views = (each[scenes, scenes % 3].unsqueeze(1) for each in (fused, *sources))
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
    """Returns the error of the common and the unique parts (paper, eq. 1)."""
    of_all = views.masks.sum(0)
    shared = (of_all > 1.5).float()
    wanted_common = shared * views.target
    wanted_uniques = views.masks * (1 - shared) / of_all.clamp(min=1) * views.target
    return (common - wanted_common).abs().mean((1, 2, 3)) + (uniques - wanted_uniques).abs().mean((0, 2, 3, 4))


def light_error(fused: Tensor, target: Tensor, count: int) -> Tensor:
    """Returns the mean absolute error of brightness, of [N, 3, H, W], over squares with a side of 2^count pixels."""
    return F.avg_pool2d((fused - target).mean(1), 2**count).abs().mean((1, 2))


def colour_error(fused: Tensor, target: Tensor, count: int) -> Tensor:
    """Returns the same error of colour, that is of the difference from grey."""
    error = fused - target
    return F.avg_pool2d(error - error.mean(1, keepdim=True), 2**count).abs().mean((1, 2, 3))


def window(x: Tensor) -> Tensor:
    """Averages over windows of 8x8 pixels, one every four pixels."""
    return F.avg_pool2d(F.avg_pool2d(x, 4), 2, 1)
