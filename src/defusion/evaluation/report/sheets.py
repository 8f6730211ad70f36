"""Parts of pictures at 100 %, side by side: typical scenes of each data set, and where its first method fails.

The report is about the first method. It is compared with the two others of the best mean rank. A rule chooses scenes
and parts, so that nobody can pick favourable ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.report.pictures import Pixels, encoded, opened
from defusion.evaluation.report.tables import SetTable, shown
from defusion.evaluation.results import Outcome, Results
from defusion.system.machine import cores

#: Sides of a part.
PART_PX = 240

#: Number of typical scenes of a data set, and most scenes where the first method fails.
SCENES = 6
FAILURES = 5

#: Number of other methods that are shown.
PEERS = 2

#: Number of metrics that are named for a failure.
_TOLD = 3

#: Sigma of the Gaussian window, in pixels, in which the standard deviation is measured. Texture, edges and warm spots
#: all count.
_WINDOW_PX = 8.0

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Strip:
    """The same part of several pictures of a scene."""

    scene: str
    about: str
    left: int
    top: int
    parts: tuple[tuple[str, str], ...]
    """Label and WebP in base64."""


@dataclass(frozen=True)
class Sheet:
    """The strips of a data set."""

    data_set: str
    method: str
    """The first method."""
    looks: tuple[Strip, ...] = ()
    failures: tuple[Strip, ...] = ()
    rule: str = ""
    """The rule by which the failures were chosen."""

    @property
    def bytes(self) -> int:
        """Bytes of the parts in the page."""
        return sum(len(data) for strip in (*self.looks, *self.failures) for _, data in strip.parts)

    def html(self) -> str:
        """Returns HTML for the data set's section; empty without strips."""
        looks = "".join(map(_row, self.looks))
        failures = "".join(map(_row, self.failures))
        parts = []
        if looks:
            parts.append(
                "<details><summary>Parts at 100 %</summary>"
                f'<p class="soft">Scenes evenly spread by name. Of each, the {PART_PX} pixels where the local '
                f"deviations of the sources differ most.</p>{looks}</details>"
            )
        if failures:
            parts.append(
                f"<details><summary>Where {escape(self.method)} fails most</summary>"
                f'<p class="soft">{escape(self.rule)}</p>{failures}</details>'
            )
        return "".join(parts)


@dataclass(frozen=True)
class _Failure:
    scene: str
    about: str
    beside: str | None
    """The method that is better here; None for the ground truth."""


def draw_sheets(results: Results, tables: Sequence[SetTable]) -> dict[str, Sheet]:
    """Draws the parts of all data sets.

    Args:
        results: All outcomes; scenes whose sources or pictures cannot be read are skipped.
        tables: The table of each data set.

    Returns:
        Sheets by data set.
    """
    return {table.block.data_set: _sheet(results, table) for table in tables}


def _sheet(results: Results, table: SetTable) -> Sheet:
    block = table.block
    outcomes: dict[str, dict[str, Outcome]] = {name: {} for name in block.scenes}
    for outcome in results.outcomes:
        if outcome.scene.data_set == block.data_set:
            outcomes[outcome.scene.name][outcome.method] = outcome
    methods = (block.methods[0], *peers(table))
    spread = np.linspace(0, len(block.scenes) - 1, min(SCENES, len(block.scenes))).astype(int)
    rule, failures = failures_of(table)
    with ThreadPoolExecutor(cores()) as pool:
        looks = pool.map(lambda index: _look(outcomes[block.scenes[index]], methods), spread)
        failed = pool.map(lambda each: _failed(outcomes[each.scene], each, methods), failures)
        strips = tuple(filter(None, looks)), tuple(filter(None, failed))
    return Sheet(block.data_set, methods[0], *strips, rule)


def peers(table: SetTable) -> list[str]:
    """Returns the best methods by mean rank, except the first one."""
    ranks = table.summary.mean_rank
    others = [row for row in np.argsort(ranks, kind="stable") if row != 0 and np.isfinite(ranks[row])]
    return [table.block.methods[row] for row in others[:PEERS]]


def failures_of(table: SetTable) -> tuple[str, list[_Failure]]:
    """Chooses the scenes where the first method fails most, the worst first, and states the rule.

    With ground truth, these are the scenes with the lowest PSNR. Otherwise they are those where the method is
    farthest behind one of its peers: the difference is measured in standard deviations of each metric over all scenes
    and methods, and averaged over all ranked metrics.
    """
    block = table.block
    if "psnr_truth" in block.metrics:
        column = block.metrics.index("psnr_truth")
        values = block.values[:, 0, column]
        order = [index for index in np.argsort(values, kind="stable") if np.isfinite(values[index])]
        decimals = table.decimals[column]
        return (
            f"The scenes with the lowest PSNR to the truth; of each, the {PART_PX} pixels that are farthest from it.",
            [
                _Failure(block.scenes[index], f"psnr_truth {shown(values[index], decimals)} dB", None)
                for index in order[:FAILURES]
            ],
        )
    signs = np.array([{"higher": 1.0, "lower": -1.0, "neither": np.nan}[each.better] for each in table.metrics])
    spread = np.array([_deviation(block.values[..., column]) for column in range(len(block.metrics))])
    found: list[tuple[float, _Failure]] = []
    for index, scene in enumerate(block.scenes):
        behind = []
        for peer in peers(table):
            row = block.methods.index(peer)
            gaps = signs * (block.values[index, row] - block.values[index, 0]) / spread
            if np.isfinite(gaps).any():
                behind.append((float(np.nanmean(gaps)), peer, gaps))
        if behind and (worst := max(behind))[0] > 0:
            found.append((worst[0], _Failure(scene, _told(table, index, *worst), worst[1])))
    found.sort(key=lambda each: -each[0])
    rule = (
        "The scenes where it is farthest behind one of the two others shown. The difference is measured in standard "
        "deviations of each metric over all scenes and methods, and averaged over all metrics. Of each scene, the "
        f"{PART_PX} pixels where the two pictures differ most."
    )
    return rule, [failure for _, failure in found[:FAILURES]]


def _told(table: SetTable, scene: int, mean: float, peer: str, gaps: NDArray[np.float64]) -> str:
    """Says how far a method is behind a peer, and by which metrics most."""
    block = table.block
    row = block.methods.index(peer)
    most = [column for column in np.argsort(np.nan_to_num(-gaps, nan=np.inf)) if gaps[column] > 0][:_TOLD]
    figures = ", ".join(
        f"{block.metrics[column]} {shown(block.values[scene, 0, column], table.decimals[column])} against "
        f"{shown(block.values[scene, row, column], table.decimals[column])}"
        for column in most
    )
    return f"{mean:.2f} deviations behind {peer}: {figures}"


def _deviation(values: NDArray[np.float64]) -> float:
    """Returns the standard deviation of the finite values; NaN if there are none or they are equal."""
    finite = values[np.isfinite(values)]
    return float(finite.std()) or np.nan if len(finite) else np.nan


def _look(outcomes: dict[str, Outcome], methods: Sequence[str]) -> Strip | None:
    pictures = dict(_pictures(outcomes, methods))
    if len(pictures) < 3:
        return None
    a, b = list(pictures.values())[:2]
    difference = np.abs(_energy(a) - _energy(b))
    return _strip(outcomes, pictures, difference, "")


def _failed(outcomes: dict[str, Outcome], failure: _Failure, methods: Sequence[str]) -> Strip | None:
    pictures = dict(_pictures(outcomes, methods))
    ours, other = pictures.get(methods[0]), pictures.get(failure.beside or "truth")
    if ours is None or other is None:
        return None
    difference = np.abs(ours.astype(np.float32) - other).mean(axis=2)
    return _strip(outcomes, pictures, difference, failure.about)


def _pictures(outcomes: dict[str, Outcome], methods: Sequence[str]) -> Iterator[tuple[str, Pixels]]:
    """Yields sources, ground truth and methods' pictures of a scene by label, if they can be read and
    have one size.
    """
    scene = next(iter(outcomes.values())).scene
    files: list[tuple[str, Path | None]] = list(zip(scene.labels, scene.sources, strict=True))
    files += [("truth", scene.truth)] if scene.truth else []
    files += [(name, outcomes[name].picture) for name in methods if name in outcomes]
    size = None
    for label, path in files:
        pixels = opened(path)
        if isinstance(pixels, str) or (size or pixels.shape) != pixels.shape:
            continue
        size = pixels.shape
        yield label, pixels


def _strip(outcomes: dict[str, Outcome], pictures: dict[str, Pixels], worth: Plane, about: str) -> Strip:
    """Cuts one part out of all pictures, where the sum of `worth` is largest."""
    height, width = worth.shape
    high, wide = min(PART_PX, height), min(PART_PX, width)
    top, left = place_of_most(worth, high, wide)
    parts = tuple(
        (label, encoded(pixels[top : top + high, left : left + wide], (wide, high)))
        for label, pixels in pictures.items()
    )
    return Strip(next(iter(outcomes.values())).scene.name, about, left, top, parts)


def place_of_most(worth: Plane, high: int, wide: int) -> tuple[int, int]:
    """Returns top and left of the part of a plane [H, W] with the largest sum."""
    sums = cv2.integral(worth, sdepth=cv2.CV_64F)
    parts = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    top, left = np.unravel_index(int(np.argmax(parts)), parts.shape)
    return int(top), int(left)


def _energy(pixels: Pixels) -> Plane:
    """Returns the local standard deviation of the grey levels around each pixel: [H, W]."""
    grey = pixels.mean(axis=2, dtype=np.float32)
    mean, square = (cv2.GaussianBlur(each, (0, 0), _WINDOW_PX) for each in (grey, grey * grey))
    deviation: Plane = np.sqrt(np.maximum(square - mean * mean, 0))
    return deviation


def _row(strip: Strip) -> str:
    about = f"{strip.about}; " if strip.about else ""
    panels = "".join(
        f'<figure><img alt="{escape(label)}, {escape(strip.scene)}" loading="lazy" decoding="async" '
        f'src="data:image/webp;base64,{data}"><figcaption>{escape(label)}</figcaption></figure>'
        for label, data in strip.parts
    )
    return (
        f'<p class="strip-about"><b>{escape(strip.scene)}</b> {escape(about)}from {strip.left}, {strip.top}</p>'
        f'<div class="strip">{panels}</div>'
    )
