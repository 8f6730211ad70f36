"""Maps that explain a result: which frame each place comes from and, for a focus stack, how deep the scene is there.

Both are computed from the weights that the network gives the sources. Maps are saved to a folder. They can be applied
to other frames of the same scene, such as another channel or a retouched stack.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.record import Alignment
from defusion.errors import ImageError
from defusion.imaging import Picture, check_folder, in_folder, luminance, read, write_together
from defusion.imaging.samples import LazySamples, Samples, scaled
from defusion.system.files import beside

Plane = NDArray[np.float32]

#: Files in a folder of maps.
FACTS, SOURCE, SOURCE_IN_COLOUR, DEPTH, MOVED = "maps.json", "source.tif", "source.png", "depth.png", "moved.png"
RESIDUAL = "residual.png"

#: Contrast of the result below which weights say nothing about depth, because noise has as much.
_NOISE = 3 / 255

#: Confidence below which a place takes most of its depth from its surroundings.
_TRUST = 0.02

#: Steps of depth within one frame, for storage.
_STEPS = 256

_MOST_FRAMES = 255

#: Alignment residual that is white, in pixels.
_WHITE_PX = 2.0


@dataclass(frozen=True, eq=False)
class Maps:
    """What explains a result, place by place."""

    names: tuple[str, ...]
    """Names of all frames that were given, in their order."""
    source: NDArray[np.uint8]
    """[H, W]: number, from 1, of the frame that gave a place most of its detail."""
    depth: Plane | None
    """[H, W], for a focus stack: the frame in which a place is in focus, from 1; fractions lie between two frames. It
    is smoothed where the frames say little. None for other scenes.
    """
    ghosts: Mapping[str, NDArray[np.uint8]]
    """Where something moved: a small mask [h, w], 255 there, by the name of the frame."""
    alignment: Alignment | None
    """How the frames lie in the result."""

    @property
    def residual(self) -> Plane | None:
        """Alignment error, in pixels, of the frame that gave each place its detail, [H, W].

        It is infinite where the frame could not be aligned, and None if no frame was.
        """
        if self.alignment is None or all(each.residual_px is None for each in self.alignment.frames):
            return None
        of_frame = [np.inf if each.residual_px is None else each.residual_px for each in self.alignment.frames]
        return np.array([0, *of_frame], np.float32)[self.source]

    @property
    def mask_files(self) -> dict[str, str]:
        """File names of the masks in `ghosts`, by the name of the frame."""
        return {name: f"{number}-{Path(name).stem}.ghosts.png" for number, name in enumerate(self.ghosts, 1)}

    def confidence_of(self, number: int, own: Samples | None) -> Samples:
        """Returns alpha [H, W, 1] that takes a frame, from 1, only where the map names it and `own` allows it."""
        return _Chosen(self.source, number, own)

    def save(
        self,
        folder: str | os.PathLike[str],
        step_um: float | None = None,
        sources: Sequence[str | os.PathLike[str]] = (),
    ) -> dict[str, str]:
        """Writes the maps to a folder, created if needed: pictures, and maps.json, which says what they show.

        Args:
            folder: Where to write.
            step_um: Micrometres between neighbouring frames of a focus stack; None gives depth in frames.
            sources: Files that must not be overwritten.

        Returns:
            The files by what they show.

        Raises:
            ImageError: A file cannot be written, or would overwrite a source.
        """
        pictures = {SOURCE: Picture(self.source[..., None]), SOURCE_IN_COLOUR: Picture(self._coloured)}
        if self.depth is not None:
            part = (self.depth - 1) / max(len(self.names) - 1, 1)
            pictures[DEPTH] = Picture(np.rint(part * 65535).clip(0, 65535).astype(np.uint16)[..., None])
        if self.residual is not None:
            part = np.minimum(self.residual / _WHITE_PX, 1)
            pictures[RESIDUAL] = Picture(np.rint(part * 65535).astype(np.uint16)[..., None])
        if self.ghosts:
            pictures[MOVED] = Picture(np.maximum.reduce(list(self.ghosts.values()))[..., None])
        masks = self.mask_files
        pictures |= {file: Picture(self.ghosts[name][..., None]) for name, file in masks.items()}
        check_folder(folder, [FACTS, *pictures], sources)
        with in_folder(folder), beside(Path(folder) / FACTS) as facts_file:
            facts_file.write_text(json.dumps(self._facts(masks, step_um), indent=2) + "\n", encoding="utf-8")
            write_together(folder, pictures)
        named = {
            "source": SOURCE,
            "source_in_colour": SOURCE_IN_COLOUR,
            "depth": DEPTH,
            "moved": MOVED,
            "residual": RESIDUAL,
        }
        files = {what: str(Path(folder) / file) for what, file in named.items() if file in pictures}
        return files | {"facts": str(Path(folder) / FACTS)}

    def _facts(self, masks: Mapping[str, str], step_um: float | None) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "frames": [
                {"file": name, "number": number, "colour": [int(value) for value in colour]}
                for number, (name, colour) in enumerate(zip(self.names, colours(len(self.names)), strict=True), 1)
            ],
            "source": {"file": SOURCE, "in_colour": SOURCE_IN_COLOUR},
            "ghosts": dict(masks),
            "alignment": None if self.alignment is None else self.alignment.facts(),
        }
        if self.residual is not None:
            facts["residual"] = {"file": RESIDUAL, "unit": "pixels", "at_0": 0.0, "at_65535": _WHITE_PX}
        if self.depth is not None:
            unit = 1.0 if step_um is None else step_um
            first = 1.0 if step_um is None else 0.0
            facts["depth"] = {
                "file": DEPTH,
                "unit": "frames" if step_um is None else "micrometres",
                "at_0": first,
                "at_65535": first + unit * (len(self.names) - 1),
            }
        return facts

    @property
    def _coloured(self) -> NDArray[np.uint8]:
        return np.concatenate([np.zeros((1, 3), np.uint8), colours(len(self.names))])[self.source]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Maps:
        """Reads from a folder what can be applied to other frames: the source map and the alignment.

        Raises:
            ImageError: The folder holds no maps, or they are damaged.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            names = tuple(str(each["file"]) for each in facts["frames"])
            alignment = None if facts["alignment"] is None else Alignment.of_facts(facts["alignment"])
        except OSError as error:
            raise ImageError(f"{folder} holds no maps ({error.strerror}); give a folder of --maps.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(
                f"{folder / FACTS} does not describe maps ({type(error).__name__}: {error}); give a folder of --maps."
            ) from error
        samples = np.asarray(read(folder / SOURCE).samples)
        if samples.dtype != np.uint8 or samples.shape[2] != 1 or samples.max() > len(names):
            raise ImageError(f"{folder / SOURCE} is not a map of {len(names)} frames; give a folder of --maps.")
        return cls(names, samples[..., 0], None, {}, alignment)


class Watch:
    """Collects maps while a result is made.

    Args:
        height: Height of the result.
        width: Width of the result.
        numbers: Number, from 1, of each source among the frames that were given.
        deep: Also collect depth.

    Raises:
        ImageError: There are too many frames for a map.
    """

    def __init__(self, height: int, width: int, numbers: Sequence[int], *, deep: bool) -> None:
        if max(numbers) > _MOST_FRAMES:
            raise ImageError(
                f"{max(numbers)} frames came, but maps hold {_MOST_FRAMES} at most; fuse without --maps."
            )
        self._numbers = np.array(numbers)
        self.source = np.full((height, width), numbers[0], np.uint8)
        self._place = np.zeros((height, width) if deep else (0, 0), np.uint16)
        self._sure = np.zeros(self._place.shape, np.float16)

    def saw(self, rows: slice, columns: slice, weight: Plane, picture: Plane) -> None:
        """Takes what was decided on a part of the result.

        Args:
            rows: Rows of the result.
            columns: Columns of the result.
            weight: Weights of the sources, [S, 1, h, w].
            picture: The fused pixels, [1, C, h, w].
        """
        weight = weight[:, 0]
        best = weight.argmax(0)
        self.source[rows, columns] = self._numbers[best]
        if not self._place.size:
            return
        # Depth between frames comes from the best frame and its two neighbours alone: where no frame is in focus, all
        # frames share the weight.
        near = np.abs(np.arange(len(weight))[:, None, None] - best) <= 1
        share = weight * near
        total = share.sum(0)
        place = (share * self._numbers[:, None, None]).sum(0) / np.maximum(total, 1e-6)
        self._place[rows, columns] = np.rint(place * _STEPS)
        rest = 1 / len(weight)
        sure = (weight.max(0) - rest) / max(1 - rest, rest)
        self._sure[rows, columns] = sure * sure * _contrast(picture)

    @cached_property
    def depth(self) -> Plane | None:
        """The depth, smoothed by confidence: [H, W], from 1 for the first frame."""
        if not self._place.size:
            return None
        return smoothed(self._place * np.float32(1 / _STEPS), self._sure.astype(np.float32))


def smoothed(values: Plane, confidence: Plane) -> Plane:
    """Fills places of little confidence from their surroundings, at each scale as far as needed.

    Args:
        values: [H, W].
        confidence: [H, W] in [0, 1].
    """
    import cv2

    sums, weights = [values * confidence], [confidence]
    while min(sums[-1].shape) > 2:
        sums.append(np.asarray(cv2.pyrDown(sums[-1]), np.float32))
        weights.append(np.asarray(cv2.pyrDown(weights[-1]), np.float32))
    usual = sums[0].sum(dtype=float) / max(confidence.sum(dtype=float), 1e-6)
    known = np.full(sums[-1].shape, usual, np.float32)
    for part, weight in zip(reversed(sums), reversed(weights), strict=True):
        height, width = part.shape
        known = np.asarray(cv2.resize(known, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        known = (part + _TRUST * known) / (weight + _TRUST)
    return known


def colours(count: int) -> NDArray[np.uint8]:
    """Returns one colour for each frame, [count, 3], from blue for the first to red for the last."""
    import cv2

    at = np.linspace(25, 230, count).round().astype(np.uint8)[:, None]
    return np.ascontiguousarray(np.asarray(cv2.applyColorMap(at, cv2.COLORMAP_TURBO), np.uint8)[:, 0, ::-1])


class _Chosen(LazySamples):
    """Alpha: the frame's own alpha, or 255, where the map has a number; 0 elsewhere."""

    def __init__(self, source: NDArray[np.uint8], number: int, own: Samples | None) -> None:
        self.shape, self.dtype = (*source.shape, 1), np.dtype(np.uint8)
        self._source, self._number, self._own = source, number, own

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes alpha at some rows and columns."""
        region = slice(rows.start, rows.stop, rows.step), slice(columns.start, columns.stop, columns.step)
        alpha = np.where(self._source[region] == self._number, np.uint8(255), np.uint8(0))[..., None]
        if self._own is not None:
            alpha = np.minimum(alpha, np.rint(255 * scaled(np.asarray(self._own[region]))).astype(np.uint8))
        return alpha


def _contrast(picture: Plane) -> Plane:
    """Returns how far local detail of [1, C, h, w] stands out of noise, [h, w] in [0, 1]."""
    import cv2

    light = picture[0, 0] if picture.shape[1] == 1 else luminance(picture[0].transpose(1, 2, 0))[..., 0]
    detail = light - cv2.GaussianBlur(light, (0, 0), 2.0)
    energy = np.asarray(cv2.GaussianBlur(detail * detail, (0, 0), 2.0), np.float32)
    return np.asarray((energy / (energy + _NOISE**2)) ** 2, np.float32)
