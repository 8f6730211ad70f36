"""What the networks see, as in section 4.2 of the paper: toy cases (Fig. 7) and embeddings (Fig. 8).

Embeddings are those of the paper's network. Toy cases are decomposed by that network and by the pyramid network. This
file computes arrays and numbers; `toy_cases.py` makes the cases, and `explain_figures.py` draws the figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from defusion.api.fuser import Fuser
from defusion.errors import EvaluationError
from defusion.evaluation.baselines import DETAIL_FLOOR, detail_energy
from defusion.evaluation.toy_cases import NOISE, Case, Mask, Pixels, toy_cases
from defusion.imaging import Picture
from defusion.model.config import NetworkConfig
from defusion.runtime import Planes
from defusion.scene.frame import Frame
from defusion.scene.scene import Scene

#: Larger pictures are scaled down to this many pixels, since a figure shows no more.
LARGEST_PX = 10**6


#: Share of a scene's pixels that count as flat: those with least fine detail, among pixels where noise cannot clip.
FLAT_PART = 0.25

#: A source is in focus where its energy of fine detail is this many times that of the other.
AHEAD = 2.0

#: Maps are drawn white above the value that this share of all three maps stays below.
WHITE_QUANTILE = 0.995

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


class ActivationMaps(NamedTuple):
    """What two sources share and what each has alone, for each pixel: [H, W], never negative."""

    common: Pixels
    unique_a: Pixels
    unique_b: Pixels

    def normalised(self) -> ActivationMaps:
        """Divides all three by one number, so that they are in [0, 1] and can be compared."""
        white = max(float(np.quantile(np.stack(self), WHITE_QUANTILE)), float(np.finfo(np.float32).tiny))
        return ActivationMaps(*(np.clip(each / np.float32(white), 0, 1) for each in self))


@dataclass(frozen=True)
class FocusStatistics:
    """Means of maps where a source has at least twice the other's fine detail; None if it has that nowhere."""

    part: float
    """Share of the picture."""
    unique: float | None
    """Mean of the source's own unique map."""
    unique_of_other: float | None
    common: float | None
    unique_over_common: float | None
    """Ratio of the means; None if the common map is black."""
    unique_above_common: float | None
    """Share of these pixels where the source's unique map exceeds the common one."""


@dataclass(frozen=True)
class MapStatistics:
    """The figures that the text about Fig. 8 discusses."""

    common: float
    """Mean of the common map; the next two are means, too."""
    unique_a: float
    unique_b: float
    unique_above_common: float
    """Share of all pixels where a unique map exceeds the common one."""
    focus_a: FocusStatistics
    focus_b: FocusStatistics


@dataclass(frozen=True)
class PairStatistics:
    """The figures for both kinds of maps."""

    embeddings: MapStatistics
    """Figures for the mean absolute value over the channels."""
    pictures: MapStatistics
    """Figures for the mean over the colours, in 8-bit levels."""

    def lines(self) -> list[str]:
        """Returns the main figures, one line for each source."""
        return [
            _focus_line("source a", self.embeddings.focus_a, self.pictures.focus_a),
            _focus_line("source b", self.embeddings.focus_b, self.pictures.focus_b),
        ]


class Pair(NamedTuple):
    """Fig. 8 for one pair of sources."""

    a: Pixels
    """The first source as the network sees it: [H, W, 3] in [0, 1], scaled down if it was large."""
    b: Pixels
    activation: ActivationMaps
    """Mean absolute value of the embeddings over their channels."""
    common: Pixels
    """The pictures made from the embeddings: [H, W, 3] in [0, 1]."""
    unique_a: Pixels
    unique_b: Pixels
    statistics: PairStatistics
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
    _check_embeddings(paper)
    given, scene = scene, shrunk(np.repeat(scene, 3, axis=2) if scene.shape[2] == 1 else scene)
    flat = flat_pixels(scene)
    networks = {"paper": partial(_by_paper, paper), "pyramid": partial(_by_pyramid, pyramid)}
    remade = {name: network(scene, scene).fused for name, network in networks.items()}
    rows = []
    for case in toy_cases(scene, seed):
        made = {name: network(case.a, case.b) for name, network in networks.items()}
        maps = activation(paper, case.a, case.b)
        rows.append(ToyRow(case, made, _case_statistics(case, scene, flat, made, remade, maps)))
    return Toy(scene, tuple(rows), _scaling(given.shape, scene.shape))


def pair(paper: Fuser, frames: Sequence[Frame]) -> Pair:
    """Maps where the embeddings of two sources are active and which pictures they give, and measures both.

    If one source alone has colour, its luminance is used, as in fusing.

    Raises:
        EvaluationError: The network has no embeddings.
        ImageError: A frame cannot be read, or the frames differ in size.
    """
    _check_embeddings(paper)
    scene = Scene(frames)
    whole = slice(None)
    a, b = (shrunk(view(whole, whole)[0].transpose(1, 2, 0)) for view in scene.views())
    detail_a, detail_b = (detail_energy(source) + DETAIL_FLOOR for source in (a, b))
    focus = detail_a > AHEAD * detail_b, detail_b > AHEAD * detail_a
    embeddings = activation(paper, a, b)
    parts = paper.engine.decompose(_planes(a), _planes(b))
    common, unique_a, unique_b = _pixels(parts.common), _pixels(parts.unique_a), _pixels(parts.unique_b)
    levels = ActivationMaps(*(255 * each.mean(2) for each in (common, unique_a, unique_b)))
    statistics = PairStatistics(
        embeddings=map_statistics(embeddings, *focus),
        pictures=map_statistics(levels, *focus),
    )
    notes = (*scene.notes, *_scaling(scene.form.size, a.shape))
    return Pair(a, b, embeddings, common, unique_a, unique_b, statistics, notes)


def flat_pixels(scene: Pixels) -> Mask:
    """Finds pixels where noise can be measured: little detail, and three deviations away from clipping."""
    detail = detail_energy(scene)
    midtones: Mask = np.all((scene > 3 * NOISE) & (scene < 1 - 3 * NOISE), axis=2)
    if not midtones.any():
        return midtones
    flat: Mask = midtones & (detail <= np.quantile(detail[midtones], FLAT_PART))
    return flat


def activation(paper: Fuser, a: Pixels, b: Pixels) -> ActivationMaps:
    """Maps the mean absolute value of the embeddings of two sources [H, W, 3] over their channels."""
    return ActivationMaps(*(np.abs(each[0]).mean(0) for each in paper.engine.embed(_planes(a), _planes(b))))


def map_statistics(maps: ActivationMaps, focus_a: Mask, focus_b: Mask) -> MapStatistics:
    """Measures maps [H, W], everywhere and where a source is in focus."""
    common, unique_a, unique_b = maps
    return MapStatistics(
        common=float(common.mean()),
        unique_a=float(unique_a.mean()),
        unique_b=float(unique_b.mean()),
        unique_above_common=float((np.maximum(unique_a, unique_b) > common).mean()),
        focus_a=_focus_statistics(focus_a, unique_a, unique_b, common),
        focus_b=_focus_statistics(focus_b, unique_b, unique_a, common),
    )


def psnr(found: Pixels, expected: Pixels) -> float:
    """Returns the PSNR of pixels in [0, 1], in dB, at most `EQUAL_PSNR`."""
    error = float(np.square(found.astype(np.float64) - expected).mean())
    return min(EQUAL_PSNR, -10 * math.log10(max(error, np.finfo(np.float64).tiny)))


def shrunk(pixels: Pixels) -> Pixels:
    """Scales a picture [H, W, 3] down to at most `LARGEST_PX` pixels. A smaller one stays as it is."""
    height, width = pixels.shape[:2]
    scale = math.sqrt(LARGEST_PX / (height * width))
    if scale >= 1:
        return pixels
    size = max(1, int(width * scale)), max(1, int(height * scale))
    planes = [
        Image.fromarray(np.ascontiguousarray(pixels[..., channel])).resize(size, Image.Resampling.LANCZOS)
        for channel in range(pixels.shape[2])
    ]
    scaled: Pixels = np.clip(np.stack([np.asarray(plane) for plane in planes], axis=2), 0, 1)
    return scaled


def _check_embeddings(paper: Fuser) -> None:
    if not isinstance(paper.weights.config, NetworkConfig):
        raise EvaluationError(
            f"{paper.weights.path.name} came, which has no embeddings; expected weights of the paper's network, "
            "such as 'paper'"
        )


def _by_paper(paper: Fuser, a: Pixels, b: Pixels) -> ToyParts:
    """Decomposes two sources by the paper's network, in the order given."""
    planes = _planes(a), _planes(b)
    return ToyParts(*(_pixels(each) for each in (*paper.engine.decompose(*planes), paper.engine.fuse(*planes))))


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


def _focus_statistics(region: Mask, unique: Pixels, unique_of_other: Pixels, common: Pixels) -> FocusStatistics:
    part = float(region.mean())
    if part == 0:
        return FocusStatistics(part, None, None, None, None, None)
    own, other, shared = (float(each[region].mean()) for each in (unique, unique_of_other, common))
    ratio = own / shared if shared > 0 else None
    return FocusStatistics(part, own, other, shared, ratio, float((unique > common)[region].mean()))


def _scaling(given: Sequence[int], shown: Sequence[int]) -> tuple[str, ...]:
    """Returns a note if a picture was scaled. Sizes are heights and widths."""
    (height, width), (high, wide) = given[:2], shown[:2]
    return () if (height, width) == (high, wide) else (f"scaled down from {width}x{height} to {wide}x{high} pixels",)


def _planes(pixels: Pixels) -> Planes:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _pixels(planes: Planes) -> Pixels:
    pixels: Pixels = np.clip(planes[0].transpose(1, 2, 0), 0, 1)
    return pixels


def _spread(difference: Pixels) -> float:
    """Returns the standard deviation of a difference, in units of 255."""
    return 255 * float(difference.std(dtype=np.float64))


def _deviation(picture: Pixels, scene: Pixels, region: Mask) -> float | None:
    return _spread((picture - scene)[region]) if region.any() else None


def _focus_line(source: str, of_embedding: FocusStatistics, of_picture: FocusStatistics) -> str:
    if of_embedding.unique_above_common is None or of_picture.unique_above_common is None:
        return f"{source} has twice the fine detail of the other nowhere"
    return (
        f"where {source} has twice the fine detail ({of_embedding.part:.0%} of the picture), its unique embedding "
        f"exceeds the common one on {of_embedding.unique_above_common:.0%} of the pixels, its unique picture on "
        f"{of_picture.unique_above_common:.0%}"
    )
