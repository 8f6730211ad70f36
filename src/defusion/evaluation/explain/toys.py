"""What both networks make of toy cases, with figures (Fig. 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from defusion.api.fuser import Fuser
from defusion.evaluation.baselines import detail_energy
from defusion.evaluation.explain.cases import NOISE, Case, Mask, Pixels, toy_cases
from defusion.evaluation.explain.embeddings import (
    ActivationMaps,
    activation,
    check_embeddings,
    pixels_of,
    planes_of,
    scaling_note,
    shrunk,
)
from defusion.imaging import Picture

#: Share of a scene's pixels that count as flat: those with least fine detail, among pixels where noise cannot clip.
FLAT_PART = 0.25

#: PSNR in dB at which two pictures count as equal.
EQUAL_PSNR = 100.0


class ToyParts(NamedTuple):
    """What a network makes of two sources, each [H, W, 3] in [0, 1]."""

    common: Pixels
    unique_a: Pixels
    unique_b: Pixels
    fused: Pixels


@dataclass(frozen=True)
class PartStatistics:
    """Compares what a network made of a case with the scene and with the targets x_c, x_u^1 and x_u^2 (section 3.2).

    If noise is added to the whole scene, x_c is the scene and the other targets are black. PSNR is in dB, at most
    100. Levels are means and deviations are standard deviations, in units of 255.
    """

    psnr_common: float
    psnr_unique_a: float
    psnr_unique_b: float
    psnr_common_to_scene: float
    level_common: float
    level_unique_a: float
    level_unique_b: float
    psnr: float
    """PSNR of the fused picture against the scene, as all that follows."""
    psnr_kept: float
    """The same over the pixels that at least one source keeps."""
    noise_flat: float | None
    """Deviation of fused minus scene on flat pixels; None if the scene has none."""
    noise_all: float
    """The same on all pixels, where lost fine detail counts, too."""
    faults_left: float
    """Deviation from what the network makes of the scene itself, given twice: the remaining faults of the sources."""


@dataclass(frozen=True)
class CaseStatistics:
    """Figures of a case."""

    case: str
    kept_by_none: float
    """Share of the scene that both sources lack."""
    source_noise_flat: float | None
    """Deviation of source a minus scene, as in `PartStatistics`."""
    source_noise_all: float
    activation_common: float
    """Mean of the absolute embedding f_c."""
    activation_unique_a: float
    activation_unique_b: float
    networks: dict[str, PartStatistics]
    """Figures by network, `paper` and `pyramid`."""

    def line(self) -> str:
        """Returns the main figures in a line."""
        said = "; ".join(
            f"{network}: common {found.psnr_common:.1f} dB, fused {found.psnr:.1f} dB, "
            f"faults left {found.faults_left:.1f} of 255"
            for network, found in self.networks.items()
        )
        return f"{self.case}: {said}"


@dataclass(frozen=True, eq=False)
class ToyRow:
    """A row of Fig. 7: a case, and what each network made of it."""

    case: Case
    made: dict[str, ToyParts]
    statistics: CaseStatistics


class Toy(NamedTuple):
    """Fig. 7 for one scene."""

    scene: Pixels
    """[H, W, 3] in [0, 1], scaled down if it was large."""
    rows: tuple[ToyRow, ...]
    notes: tuple[str, ...]
    """What was changed on the way in, one short sentence each."""


def toy(paper: Fuser, pyramid: Fuser, scene: Pixels, *, seed: int = 0) -> Toy:
    """Makes the five toy cases of a scene. Both networks decompose and fuse them.

    Args:
        paper: The paper's network.
        pyramid: The pyramid network.
        scene: [H, W, 1 or 3] in [0, 1].
        seed: Seed of masks and noise.

    Raises:
        EvaluationError: The first network has no embeddings.
    """
    check_embeddings(paper)
    given, scene = scene, shrunk(np.repeat(scene, 3, axis=2) if scene.shape[2] == 1 else scene)
    flat = flat_pixels(scene)
    networks = {"paper": partial(_by_paper, paper), "pyramid": partial(_by_pyramid, pyramid)}
    remade = {name: network(scene, scene).fused for name, network in networks.items()}
    rows = []
    for case in toy_cases(scene, seed):
        made = {name: network(case.a, case.b) for name, network in networks.items()}
        maps = activation(paper, case.a, case.b)
        rows.append(ToyRow(case, made, _case_statistics(case, scene, flat, made, remade, maps)))
    return Toy(scene, tuple(rows), scaling_note(given.shape, scene.shape))


def flat_pixels(scene: Pixels) -> Mask:
    """Finds pixels where noise can be measured: little detail, and three deviations away from clipping."""
    detail = detail_energy(scene)
    midtones: Mask = np.all((scene > 3 * NOISE) & (scene < 1 - 3 * NOISE), axis=2)
    if not midtones.any():
        return midtones
    flat: Mask = midtones & (detail <= np.quantile(detail[midtones], FLAT_PART))
    return flat


def psnr(found: Pixels, expected: Pixels) -> float:
    """Returns the PSNR of pixels in [0, 1], in dB, at most `EQUAL_PSNR`."""
    error = float(np.square(found.astype(np.float64) - expected).mean())
    return min(EQUAL_PSNR, -10 * math.log10(max(error, np.finfo(np.float64).tiny)))


def _by_paper(paper: Fuser, a: Pixels, b: Pixels) -> ToyParts:
    """Decomposes two sources by the paper's network, in the order given."""
    planes = planes_of(a), planes_of(b)
    return ToyParts(*(pixels_of(each) for each in (*paper.engine.decompose(*planes), paper.engine.fuse(*planes))))


def _by_pyramid(pyramid: Fuser, a: Pixels, b: Pixels) -> ToyParts:
    return ToyParts(*(part.pixels for part in pyramid.decompose(Picture(a), Picture(b))))


def _case_statistics(
    case: Case,
    scene: Pixels,
    flat: Mask,
    made: Mapping[str, ToyParts],
    remade: Mapping[str, Pixels],
    maps: ActivationMaps,
) -> CaseStatistics:
    """Measures what networks made of a case; `remade` is what each makes of the scene given twice."""
    kept = case.kept_a | case.kept_b
    return CaseStatistics(
        case=case.name,
        kept_by_none=float(1 - kept.mean()),
        source_noise_flat=_deviation(case.a, scene, flat),
        source_noise_all=_spread(case.a - scene),
        activation_common=float(maps.common.mean()),
        activation_unique_a=float(maps.unique_a.mean()),
        activation_unique_b=float(maps.unique_b.mean()),
        networks={
            name: PartStatistics(
                psnr_common=psnr(parts.common, scene * (case.kept_a & case.kept_b)[..., None]),
                psnr_unique_a=psnr(parts.unique_a, scene * (case.kept_a & ~case.kept_b)[..., None]),
                psnr_unique_b=psnr(parts.unique_b, scene * (case.kept_b & ~case.kept_a)[..., None]),
                psnr_common_to_scene=psnr(parts.common, scene),
                level_common=255 * float(parts.common.mean()),
                level_unique_a=255 * float(parts.unique_a.mean()),
                level_unique_b=255 * float(parts.unique_b.mean()),
                psnr=psnr(parts.fused, scene),
                psnr_kept=psnr(parts.fused[kept], scene[kept]),
                noise_flat=_deviation(parts.fused, scene, flat),
                noise_all=_spread(parts.fused - scene),
                faults_left=_spread(parts.fused - remade[name]),
            )
            for name, parts in made.items()
        },
    )


def _spread(difference: Pixels) -> float:
    """Returns the standard deviation of a difference, in units of 255."""
    return 255 * float(difference.std(dtype=np.float64))


def _deviation(picture: Pixels, scene: Pixels, region: Mask) -> float | None:
    return _spread((picture - scene)[region]) if region.any() else None
