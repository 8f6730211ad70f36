"""The pictures of a report, embedded in the page as WebP in base64, within a budget of bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.evaluation.results import EvaluationScene, Outcome, Results
from defusion.imaging import read, to_array
from defusion.system.machine import cores

Pixels = NDArray[np.uint8]

#: Most bytes of base64 for all pictures of a page.
BUDGET_BYTES = 38_000_000

#: Pictures with a longer side than this are scaled down to it.
_WHOLE_PX = 2048

#: Longest side of a picture that is scaled down to keep the budget: usually, and at least, if there are many.
_SMALL_PX = 320
_LEAST_PX = 96

#: Share of the budget for small pictures of all scenes. The rest is for some scenes at full size.
_SMALL_SHARE = 0.5

#: Number of scenes from which the size of small pictures is estimated.
_SAMPLE = 12

_QUALITY = 85

#: Effort of the WebP encoder: files are as small as with its default of 4, in less than half the time.
_EFFORT = 2

#: Percentile of absolute errors that the gain of an error map keeps below white.
_BELOW_WHITE = 99.5

_GREATEST_GAIN = 32


@dataclass(frozen=True)
class Panel:
    """A picture of a scene, or why there is none."""

    label: str
    kind: str
    """`source`, `truth` or `method`."""
    data: str | None
    """WebP in base64."""
    error: str | None = None
    """Map of the errors against the ground truth."""
    absent: str | None = None
    """Why there is no picture."""


@dataclass(frozen=True)
class DrawnScene:
    """All pictures of a scene."""

    width: int
    height: int
    """Size of the scene in pixels."""
    drawn_width: int
    """Width of the pictures here."""
    gain: int | None
    """Factor by which errors were multiplied for drawing; None without ground truth."""
    panels: tuple[Panel, ...]

    @property
    def whole(self) -> bool:
        """Drawn at its own size."""
        return self.drawn_width == self.width

    @property
    def bytes(self) -> int:
        """Bytes of the pictures in the page."""
        return sum(len(panel.data or "") + len(panel.error or "") for panel in self.panels)


@dataclass
class Album:
    """The pictures of all scenes, as far as they fit."""

    scenes: dict[tuple[str, str], DrawnScene] = field(default_factory=dict)
    """By data set and scene; scenes without pictures are missing."""
    total: int = 0
    """Number of all scenes."""
    small_px: int = _SMALL_PX
    """Longest side of pictures that were scaled down to save room."""

    def note(self) -> str:
        """Says in one sentence what was scaled down or left out."""
        small = sum(not drawn.whole for drawn in self.scenes.values())
        left_out = self.total - len(self.scenes)
        if not small and not left_out:
            return f"Pictures of all {self.total} scenes are included at full size (WebP of quality {_QUALITY})."
        parts = [f"Pictures of {len(self.scenes) - small} of {self.total} scenes are included at full size"]
        if small:
            parts.append(f"{small} are scaled down to {self.small_px} pixels, or to {_WHOLE_PX} if they are larger")
        if left_out:
            parts.append(f"{left_out} are left out, because there is no room or because they could not be read")
        return f"{', '.join(parts)} (WebP of quality {_QUALITY}, at most {BUDGET_BYTES / 1e6:.0f} MB in all)."


def draw(results: Results, budget: int = BUDGET_BYTES) -> Album:
    """Draws the scenes of an evaluation, within a budget.

    Each scene is drawn small first. Then scenes are drawn at full size, one of each data set in turn, while there is
    room.

    Args:
        results: All outcomes.
        budget: Most bytes of base64 for the pictures.
    """
    outcomes = _by_scene(results)
    order = list(_by_turns(outcomes))
    album = Album(total=len(order), small_px=_small_px([outcomes[key] for key in order], budget))
    used = 0
    for key, drawn in _drawn(outcomes, order, album.small_px):
        if drawn is not None and used + drawn.bytes <= budget:
            album.scenes[key] = drawn
            used += drawn.bytes
    to_enlarge = [key for key, small in album.scenes.items() if not small.whole]
    for key, large in _drawn(outcomes, to_enlarge, _WHOLE_PX):
        if large is None:
            continue
        more = large.bytes - album.scenes[key].bytes
        if used + more > budget:
            break
        album.scenes[key] = large
        used += more
    return album


def _drawn(
    outcomes: dict[tuple[str, str], list[Outcome]], keys: Sequence[tuple[str, str]], longest_px: int
) -> Iterator[tuple[tuple[str, str], DrawnScene | None]]:
    """Draws scenes in parallel, at most as many ahead as there are cores."""
    step = cores()
    with ThreadPoolExecutor(step) as pool:
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            yield from zip(some, pool.map(lambda key: draw_scene(outcomes[key], longest_px), some), strict=True)


def _small_px(scenes: list[list[Outcome]], budget: int) -> int:
    """Returns the longest side at which small pictures of all scenes use their share of the budget, estimated from
    some.
    """
    sample = [draw_scene(outcomes, _SMALL_PX) for outcomes in scenes[:: -(-len(scenes) // _SAMPLE)]]
    sizes = [drawn.bytes for drawn in sample if drawn is not None]
    needed = max(1.0, float(np.mean(sizes or [0])) * len(scenes))
    return max(_LEAST_PX, int(_SMALL_PX * min(1.0, math.sqrt(_SMALL_SHARE * budget / needed))))


def draw_scene(outcomes: list[Outcome], longest_px: int) -> DrawnScene | None:
    """Draws the sources of a scene, its ground truth and all methods' pictures.

    Args:
        outcomes: All outcomes of one scene.
        longest_px: Longest side of a picture; larger ones are scaled down.

    Returns:
        None if no source can be read.
    """
    scene = outcomes[0].scene
    files = _files(scene, outcomes)
    found = [opened(path) for _, _, path in files]
    sizes = [pixels.shape[:2] for pixels in found if not isinstance(pixels, str)]
    if not sizes:
        return None
    height, width = sizes[0]
    scale = min(1.0, longest_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    failures = {("method", outcome.method): outcome.failure for outcome in outcomes}
    truth = next((pixels for (_, kind, _), pixels in zip(files, found, strict=True) if kind == "truth"), None)
    errors = {}
    if isinstance(truth, np.ndarray):
        for (label, kind, _), pixels in zip(files, found, strict=True):
            if kind == "method" and isinstance(pixels, np.ndarray) and pixels.shape == truth.shape:
                errors[label] = np.abs(pixels.astype(np.int16) - truth).mean(axis=2)
    gain = _gain(list(errors.values())) if errors else None
    panels = []
    for (label, kind, _), pixels in zip(files, found, strict=True):
        if isinstance(pixels, str):
            panels.append(Panel(label, kind, None, absent=failures.get((kind, label)) or pixels))
            continue
        error = None
        if gain is not None and kind == "method" and label in errors:
            error = encoded(np.minimum(errors[label] * gain, 255).astype(np.uint8), size)
        panels.append(Panel(label, kind, encoded(pixels, size), error))
    return DrawnScene(width, height, size[0], gain, tuple(panels))


def _files(scene: EvaluationScene, outcomes: list[Outcome]) -> list[tuple[str, str, Path | None]]:
    """Returns label, kind and file of everything that belongs to a scene."""
    files: list[tuple[str, str, Path | None]] = [
        (label, "source", path) for label, path in zip(scene.labels, scene.sources, strict=True)
    ]
    if scene.truth is not None:
        files.append(("truth", "truth", scene.truth))
    return files + [(outcome.method, "method", outcome.picture) for outcome in outcomes]


def opened(path: Path | None) -> Pixels | str:
    """Returns 8-bit RGB pixels of a file, or why there are none."""
    if path is None:
        return "the method made no picture"
    try:
        return to_array(read(path), like=np.empty((1, 1, 3), np.uint8))
    except ImageError as error:
        return str(error)


def _gain(errors: list[NDArray[np.float64]]) -> int:
    largest = max(float(np.percentile(error, _BELOW_WHITE)) for error in errors)
    return int(np.clip(255 / max(largest, 1e-9), 1, _GREATEST_GAIN))


def encoded(pixels: Pixels, size: tuple[int, int]) -> str:
    """Encodes pixels [H, W, 3] or [H, W], scaled to a width and height, as WebP in base64."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WebP", quality=_QUALITY, method=_EFFORT)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _by_scene(results: Results) -> dict[tuple[str, str], list[Outcome]]:
    scenes: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in results.outcomes:
        scenes.setdefault((outcome.scene.data_set, outcome.scene.name), []).append(outcome)
    return scenes


def _by_turns(scenes: dict[tuple[str, str], list[Outcome]]) -> Iterator[tuple[str, str]]:
    """Yields the first scene of each data set, then the second of each, and so on."""
    sets: dict[str, list[tuple[str, str]]] = {}
    for key in scenes:
        sets.setdefault(key[0], []).append(key)
    for turn in zip_longest(*sets.values()):
        yield from (key for key in turn if key is not None)
