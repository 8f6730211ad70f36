"""The result of an alignment: reported in `--json`, saved to a file, and applied again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defusion.alignment.geometry import Matrix, Shape
from defusion.alignment.local import LocalWarp
from defusion.errors import ImageError
from defusion.system.files import write_json


@dataclass(frozen=True, eq=False)
class FrameAlignment:
    """How one frame lies in the result."""

    file: str
    """Name of the frame."""
    aligned: bool
    """It lines up, moved or not. Otherwise it stays as it was, or is left out of a stack."""
    model: str
    """"identity", "translation", "scale", "similarity", "affine" or "homography"; "resized" if only its size was
    changed.
    """
    matrix: Matrix
    """[3, 3], maps pixel coordinates of the result to those of the frame at its own size: x right, y down, the centre
    of the first pixel at 0, 0.
    """
    shape: Shape
    """Size of the frame."""
    residual_px: float | None
    """Median error of the frame's parts, in pixels of the result; None if there are too few to tell."""
    confidence: float
    """Probability that the frame lies where it should, in [0, 1]."""
    coverage: float
    """Fraction of the result that the frame covers, in [0, 1]."""
    left_out: bool = False
    """It is not part of the result."""
    local: LocalWarp | None = None
    """Moves places of the result before the matrix is applied; None if the frame is not bent."""

    def facts(self) -> dict[str, Any]:
        """Returns what `--json` says about the frame."""
        return {
            "file": self.file,
            "aligned": self.aligned,
            "model": self.model,
            "matrix": [[float(value) for value in row] for row in self.matrix],
            "residual_px": None if self.residual_px is None else round(self.residual_px, 4),
            "confidence": round(self.confidence, 4),
            "coverage": round(self.coverage, 4),
            "left_out": self.left_out,
            **({} if self.local is None else {"local": self.local.facts()}),
            "width": self.shape.width,
            "height": self.shape.height,
        }


@dataclass(frozen=True, eq=False)
class Alignment:
    """How the frames of a scene lie in one result."""

    reference: str
    """Name of the frame that the others are aligned to."""
    shape: Shape
    """Size of the result."""
    frames: tuple[FrameAlignment, ...]
    """All frames, in the order in which they came."""
    notes: tuple[str, ...] = ()
    """What a user has to know, one short sentence each."""

    @property
    def moves(self) -> bool:
        """Whether any frame is moved, resized, cropped or left out."""
        return any(
            each.left_out
            or each.local is not None
            or each.shape != self.shape
            or not np.array_equal(each.matrix, np.eye(3))
            for each in self.frames
        )

    def facts(self) -> dict[str, Any]:
        """Returns what `--json` says about the alignment."""
        return {
            "reference": self.reference,
            "width": self.shape.width,
            "height": self.shape.height,
            "frames": [each.facts() for each in self.frames],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the alignment as JSON. The file appears complete or not at all.

        Raises:
            ImageError: The file cannot be written.
        """
        write_json(path, self.facts())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Alignment:
        """Reads an alignment that `save` wrote.

        Raises:
            ImageError: The file does not exist or does not hold an alignment.
        """
        path = Path(path)
        try:
            return cls.of_facts(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ImageError(f"{path} cannot be read ({error.strerror}); give a file of --save-alignment.") from error
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ImageError(
                f"{path} holds no alignment ({type(error).__name__}: {error}); give a file of --save-alignment."
            ) from error

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> Alignment:
        """Makes an alignment from its facts.

        Raises:
            ValueError, KeyError, TypeError: These are not facts of an alignment.
        """
        frames = tuple(
            FrameAlignment(
                str(each["file"]),
                bool(each["aligned"]),
                str(each["model"]),
                _matrix(each["matrix"]),
                Shape(int(each["height"]), int(each["width"])),
                None if each["residual_px"] is None else float(each["residual_px"]),
                float(each["confidence"]),
                float(each["coverage"]),
                bool(each["left_out"]),
                LocalWarp.of_facts(each["local"]) if "local" in each else None,
            )
            for each in facts["frames"]
        )
        shape = Shape(int(facts["height"]), int(facts["width"]))
        if min(shape) < 1:
            raise ValueError(f"a result of {shape.width}x{shape.height} pixels")
        return cls(str(facts["reference"]), shape, frames)

    def for_frames(self, names: Sequence[str], shapes: Sequence[Shape]) -> Alignment:
        """Returns the same alignment for other frames, taken with the same cameras in the same order.

        Raises:
            ImageError: The number or the sizes of the frames differ from those that were aligned.
        """
        if len(names) != len(self.frames):
            raise ImageError(
                f"{len(names)} frames came, the alignment is for {len(self.frames)}; give as many, in the same order."
            )
        for name, shape, known in zip(names, shapes, self.frames, strict=True):
            if shape != known.shape:
                raise ImageError(
                    f"{name} is {shape.width}x{shape.height} pixels, but the alignment expects "
                    f"{known.shape.width}x{known.shape.height} there (as {known.file}); "
                    "give frames of the same sizes in the same order."
                )
        frames = tuple(
            FrameAlignment(name, *list(vars(known).values())[1:])
            for name, known in zip(names, self.frames, strict=True)
        )
        index = next((i for i, each in enumerate(self.frames) if each.file == self.reference), 0)
        return Alignment(names[index], self.shape, frames, ("the alignment was read from a file, not measured",))


def _matrix(rows: Any) -> Matrix:
    matrix = np.array(rows, float)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise ValueError("a matrix is not 3x3, or cannot be inverted")
    return matrix
