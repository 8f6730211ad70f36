"""A rig: a thermal and a visible camera that do not move against each other. It is calibrated once; after that,
frames are aligned without being looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import MODELS, Matrix, Model, Shape, mapped, scale_of, shifted
from defusion.alignment.look import Look
from defusion.alignment.together import lined_up_together
from defusion.alignment.warp import covered, warped_picture
from defusion.errors import ImageError
from defusion.imaging import Picture
from defusion.scene.frame import Frame
from defusion.system.files import write_json

#: A thermal picture that covers only part of the visible one fades out over this fraction of its shorter side.
_BORDER_PART = 0.16

#: Thermal pictures that are finer than visible ones by this factor are reduced first, to avoid aliasing.
_COARSER_FROM = 1.5

#: Value of "kind" in the file of a rig, to tell it from other JSON.
_KIND = "defusion rig"


@dataclass(frozen=True, eq=False)
class Rig:
    """How the pictures of a thermal camera lie in those of a visible camera."""

    thermal: Shape
    """Size of the thermal pictures."""
    visible: Shape
    """Size of the visible pictures, and of results."""
    matrix: Matrix
    """[3, 3], maps pixels of visible pictures to pixels of thermal ones, at the distance of the calibration."""
    model: Model
    residual_px: float
    """Error of the alignment in visible pixels: median over the blocks of all pairs."""
    off_px: float
    """Likely error of the corners of thermal pictures, in visible pixels, estimated from held-out pairs and blocks.
    """
    confidence: float
    """How likely the matrix is right and exact, in [0, 1]."""
    pairs: int
    """Number of pairs that were used."""
    agreeing: int
    """Number of pairs whose blocks agree with what the others say."""
    distance_m: float | None = None
    """Distance of the scenes of the calibration; None for far away."""
    parallax_px_m: tuple[float, float] | None = None
    """Shift in visible pixels, to the right and down, of a thing one metre away against things far away."""

    @classmethod
    def of(cls, matrix: Matrix, *, thermal: tuple[int, int], visible: tuple[int, int]) -> Rig:
        """Makes a rig from a matrix that is already known.

        Args:
            matrix: [3, 3], maps pixels of visible pictures to pixels of thermal ones.
            thermal: Height and width of the thermal pictures.
            visible: Height and width of the visible pictures.
        """
        return cls(Shape(*thermal), Shape(*visible), matrix, "homography", 0.0, 0.0, 1.0, 0, 0)

    def matrix_at(self, plane_m: float | None) -> Matrix:
        """Returns the matrix for things at this distance; None gives that of the calibration.

        Raises:
            ImageError: The rig does not know how far apart its cameras are.
        """
        if plane_m is None:
            return self.matrix
        if self.parallax_px_m is None:
            raise ImageError(
                f"a plane at {plane_m:g} m was asked for, but the rig does not know how far apart its cameras are; "
                "calibrate it with --baseline and --hfov, and with --distance if its scenes were near."
            )
        nearer = 1 / plane_m - (0 if self.distance_m is None else 1 / self.distance_m)
        right, down = self.parallax_px_m
        return self.matrix @ shifted(-right * nearer, -down * nearer)

    def aligned(self, thermal: Picture, visible: Picture, plane_m: float | None = None) -> Picture:
        """Warps a thermal picture onto a visible one. Its alpha fades out where it ends inside the visible picture.

        Args:
            thermal: A picture of the thermal camera.
            visible: A picture of the visible camera; only its size matters.
            plane_m: Distance at which the pictures are to line up.

        Raises:
            ImageError: The size of a picture differs from that of the calibration.
        """
        self.check(thermal, visible)
        matrix = self.matrix_at(plane_m)
        if isinstance(thermal.samples, np.ndarray) and scale_of(matrix, self.visible) < _COARSER_FROM:
            moved = replace(thermal, samples=_remapped(thermal.samples, matrix, self.visible))
        else:
            moved = warped_picture(thermal, matrix, self.visible)
        fading = _fading(matrix.tobytes(), self.thermal, self.visible)
        if thermal.alpha is not None:
            return moved
        return replace(moved, alpha=fading)

    def check(self, thermal: Picture, visible: Picture) -> None:
        """Raises `ImageError` if the size of a picture differs from that of the calibration."""
        for name, picture, shape in (("thermal", thermal, self.thermal), ("visible", visible, self.visible)):
            if (picture.height, picture.width) != shape:
                raise ImageError(
                    f"the {name} picture is {picture.size_text} pixels, the rig's are {shape.width}x{shape.height}; "
                    "give pictures as they were calibrated, the thermal one first, or calibrate anew."
                )

    def aligned_frames(self, frames: Sequence[Frame], plane_m: float | None = None) -> list[Frame]:
        """Warps the first of two frames, the thermal one, onto the second.

        Raises:
            ImageError: There are not two frames. Opening them raises as `aligned` does.
        """
        if len(frames) != 2:
            raise ImageError(f"{len(frames)} sources came, a rig takes two: the thermal picture and the visible one.")
        thermal, visible = frames[0], frames[1].kept()
        return [thermal._replace(open=lambda: self.aligned(thermal.open(), visible.open(), plane_m)).kept(), visible]

    def facts(self) -> dict[str, Any]:
        """Returns what `--json` and the rig's file say about the rig."""
        return {
            "kind": _KIND,
            "thermal": {"width": self.thermal.width, "height": self.thermal.height},
            "visible": {"width": self.visible.width, "height": self.visible.height},
            "matrix": [[float(value) for value in row] for row in self.matrix],
            "model": self.model,
            "residual_px": round(self.residual_px, 4),
            "off_px": round(self.off_px, 4),
            "confidence": round(self.confidence, 4),
            "pairs": self.pairs,
            "agreeing": self.agreeing,
            "distance_m": self.distance_m,
            "parallax_px_m": None if self.parallax_px_m is None else list(self.parallax_px_m),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the rig as JSON. The file appears complete or not at all.

        Raises:
            ImageError: The file cannot be written.
        """
        write_json(path, self.facts())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Rig:
        """Reads a rig that `save` wrote.

        Raises:
            ImageError: The file does not exist or does not hold a rig.
        """
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
            if facts["kind"] != _KIND:
                raise ValueError(f"its kind is {facts['kind']!r}")
            matrix = np.array(facts["matrix"], float)
            if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
                raise ValueError("its matrix is not 3x3, or cannot be inverted")
            thermal, visible = (
                Shape(int(facts[name]["height"]), int(facts[name]["width"])) for name in ("thermal", "visible")
            )
            if min(*thermal, *visible) < 1:
                raise ValueError("a size is not above 0")
            parallax = facts["parallax_px_m"]
            return cls(
                thermal,
                visible,
                matrix,
                next(each for each in MODELS if each == facts["model"]),
                float(facts["residual_px"]),
                float(facts["off_px"]),
                float(facts["confidence"]),
                int(facts["pairs"]),
                int(facts["agreeing"]),
                None if facts["distance_m"] is None else float(facts["distance_m"]),
                None if parallax is None else (float(parallax[0]), float(parallax[1])),
            )
        except OSError as error:
            raise ImageError(
                f"{path} cannot be read ({error.strerror}); give a file of `defusion rig calibrate`."
            ) from error
        except (ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
            raise ImageError(
                f"{path} holds no rig ({type(error).__name__}: {error}); give a file of `defusion rig calibrate`."
            ) from error


def calibrated(
    pairs: Sequence[tuple[Frame, Frame]],
    *,
    model: str = "auto",
    distance_m: float | None = None,
    parallax_px_m: tuple[float, float] | None = None,
    done: Callable[[int], None] | None = None,
) -> Rig:
    """Aligns two fixed cameras by pairs of their pictures.

    Args:
        pairs: Thermal and visible frames, taken at the same moment. More pairs, of different scenes, give a better
            result.
        model: The most general motion allowed: "translation", "similarity", "affine" or "homography". "auto" allows a
            homography.
        distance_m: Distance of the scenes; None for far away.
        parallax_px_m: As in `Rig`.
        done: Called with the number of pairs that have been looked at.

    Raises:
        ImageError: There is no pair, sizes differ between pairs, or the pairs do not agree.
    """
    if not pairs:
        raise ImageError("no pair came; a rig is calibrated by at least one pair: a thermal and a visible picture.")
    looks: list[tuple[Look, Look]] = []
    for thermal, visible in pairs:
        seen = Look.of(visible.open(), 2), Look.of(thermal.open(), 2)
        for frame, look, first in zip((visible, thermal), seen, looks[0] if looks else seen, strict=True):
            if look.shape != first.shape:
                raise ImageError(
                    f"{frame.name} is {look.shape.width}x{look.shape.height} pixels, but those before are "
                    f"{first.shape.width}x{first.shape.height}; pictures of one camera need the same size."
                )
        looks.append(seen)
    levels = [(visible.levels, thermal.levels) for visible, thermal in looks]
    told = [pair for pair in levels if not any(each.textureless for each in pair)]
    if not told:
        raise ImageError("no pair has texture in both pictures; give pairs that show edges, such as of buildings.")
    freest: Model = next((each for each in MODELS if each == model), "homography")
    found = lined_up_together(told, freest=freest, done=done)
    visible_look, thermal_look = looks[0]
    if not found.good:
        how = f"confidence {found.verdict.confidence:.2f}, {found.agreeing} of {len(told)} agree"
        if np.isfinite(found.off_px) and found.agreeing:
            how += f", off by about {found.off_px * visible_look.shrink:.1f} px"
        raise ImageError(
            f"the pairs could not be lined up ({how}); give more pairs with edges that both cameras show, of one rig."
        )
    matrix = thermal_look.to_frame() @ found.matrix @ np.linalg.inv(visible_look.to_frame())
    return Rig(
        thermal_look.shape,
        visible_look.shape,
        matrix / matrix[2, 2],
        found.model,
        found.verdict.residual_px * visible_look.shrink,
        found.off_px * visible_look.shrink,
        found.verdict.confidence,
        len(told),
        found.agreeing,
        distance_m,
        parallax_px_m,
    )


def _remapped(samples: NDArray[Any], matrix: Matrix, visible: Shape) -> NDArray[Any]:
    """Warps the samples of a thermal picture. The coordinate maps are computed once for all frames."""
    import cv2

    maps = _maps(matrix.tobytes(), visible)
    moved = cv2.remap(samples, *maps, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    moved = np.asarray(moved).reshape(*visible, samples.shape[2])
    return np.clip(moved, samples.min(), samples.max()) if samples.dtype.kind == "f" else moved


@lru_cache(maxsize=2)
def _maps(matrix: bytes, visible: Shape) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns where each visible pixel lies in a thermal picture: x and y, each [H, W]."""
    x, y = np.meshgrid(np.arange(visible.width, dtype=float), np.arange(visible.height, dtype=float))
    moved = mapped(np.frombuffer(matrix).reshape(3, 3), np.stack([x.ravel(), y.ravel()], 1))
    across, down = (np.ascontiguousarray(each.reshape(visible), np.float32) for each in moved.T)
    return across, down


@lru_cache(maxsize=4)
def _fading(matrix: bytes, thermal: Shape, visible: Shape) -> NDArray[np.uint8] | None:
    """Returns the alpha [H, W, 1] of a thermal picture in a visible one; None if it covers all of it."""
    import cv2

    of = np.frombuffer(matrix).reshape(3, 3)
    inside = np.empty(visible, np.uint8)
    x = np.arange(visible.width, dtype=float)
    for row in range(visible.height):
        inside[row] = covered(of, visible, thermal, np.stack([x, np.full_like(x, row)], 1))
    if inside.all():
        return None
    border = max(2.0, _BORDER_PART * np.sqrt(inside.sum() * min(thermal) / max(thermal)))
    far = np.clip(cv2.distanceTransform(inside, cv2.DIST_L2, 5) / border, 0, 1)
    fading: NDArray[np.uint8] = np.rint(255 * far * far * (3 - 2 * far)).astype(np.uint8)[..., None]
    return fading
