"""Where the embeddings of the paper's network are active for two sources, and which pictures they give (Fig. 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from defusion.api.fuser import Fuser
from defusion.errors import EvaluationError
from defusion.evaluation.baselines import DETAIL_FLOOR, detail_energy
from defusion.evaluation.explain.cases import Mask, Pixels
from defusion.model.config import NetworkConfig
from defusion.runtime import Planes
from defusion.scene.frame import Frame
from defusion.scene.scene import Scene

#: Larger pictures are scaled down to this many pixels, since a figure shows no more.
LARGEST_PX = 10**6


#: A source is in focus where its energy of fine detail is this many times that of the other.
AHEAD = 2.0

#: Maps are drawn white above the value that this share of all three maps stays below.
WHITE_QUANTILE = 0.995


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


def pair(paper: Fuser, frames: Sequence[Frame]) -> Pair:
    """Maps where the embeddings of two sources are active and which pictures they give, and measures both.

    If one source alone has colour, its luminance is used, as in fusing.

    Raises:
        EvaluationError: The network has no embeddings.
        ImageError: A frame cannot be read, or the frames differ in size.
    """
    check_embeddings(paper)
    scene = Scene(frames)
    whole = slice(None)
    a, b = (shrunk(view(whole, whole)[0].transpose(1, 2, 0)) for view in scene.views())
    detail_a, detail_b = (detail_energy(source) + DETAIL_FLOOR for source in (a, b))
    focus = detail_a > AHEAD * detail_b, detail_b > AHEAD * detail_a
    embeddings = activation(paper, a, b)
    parts = paper.engine.decompose(planes_of(a), planes_of(b))
    common, unique_a, unique_b = pixels_of(parts.common), pixels_of(parts.unique_a), pixels_of(parts.unique_b)
    levels = ActivationMaps(*(255 * each.mean(2) for each in (common, unique_a, unique_b)))
    statistics = PairStatistics(
        embeddings=map_statistics(embeddings, *focus),
        pictures=map_statistics(levels, *focus),
    )
    notes = (*scene.notes, *scaling_note(scene.form.size, a.shape))
    return Pair(a, b, embeddings, common, unique_a, unique_b, statistics, notes)


def activation(paper: Fuser, a: Pixels, b: Pixels) -> ActivationMaps:
    """Maps the mean absolute value of the embeddings of two sources [H, W, 3] over their channels."""
    return ActivationMaps(*(np.abs(each[0]).mean(0) for each in paper.engine.embed(planes_of(a), planes_of(b))))


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


def check_embeddings(paper: Fuser) -> None:
    """Raises `EvaluationError` if a network has no embeddings."""
    if not isinstance(paper.weights.config, NetworkConfig):
        raise EvaluationError(
            f"{paper.weights.path.name} came, which has no embeddings; expected weights of the paper's network, "
            "such as 'paper'"
        )


def _focus_statistics(region: Mask, unique: Pixels, unique_of_other: Pixels, common: Pixels) -> FocusStatistics:
    part = float(region.mean())
    if part == 0:
        return FocusStatistics(part, None, None, None, None, None)
    own, other, shared = (float(each[region].mean()) for each in (unique, unique_of_other, common))
    ratio = own / shared if shared > 0 else None
    return FocusStatistics(part, own, other, shared, ratio, float((unique > common)[region].mean()))


def scaling_note(given: Sequence[int], shown: Sequence[int]) -> tuple[str, ...]:
    """Returns a note if a picture was scaled. Sizes are heights and widths."""
    (height, width), (high, wide) = given[:2], shown[:2]
    return () if (height, width) == (high, wide) else (f"scaled down from {width}x{height} to {wide}x{high} pixels",)


def planes_of(pixels: Pixels) -> Planes:
    """Returns pixels [H, W, C] as planes [1, C, H, W]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def pixels_of(planes: Planes) -> Pixels:
    """Returns planes [1, C, H, W] as pixels [H, W, C], clipped to [0, 1]."""
    pixels: Pixels = np.clip(planes[0].transpose(1, 2, 0), 0, 1)
    return pixels


def _focus_line(source: str, of_embedding: FocusStatistics, of_picture: FocusStatistics) -> str:
    if of_embedding.unique_above_common is None or of_picture.unique_above_common is None:
        return f"{source} has twice the fine detail of the other nowhere"
    return (
        f"where {source} has twice the fine detail ({of_embedding.part:.0%} of the picture), its unique embedding "
        f"exceeds the common one on {of_embedding.unique_above_common:.0%} of the pixels, its unique picture on "
        f"{of_picture.unique_above_common:.0%}"
    )
