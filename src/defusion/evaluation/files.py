"""Measures a fused picture on disk against its sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError
from defusion.evaluation.metrics import METRICS, Score, score
from defusion.evaluation.metrics.planes import grey
from defusion.evaluation.protocols import PROTOCOLS
from defusion.evaluation.results import json_number
from defusion.imaging import Picture, read
from defusion.imaging.samples import converted


class FileScores(NamedTuple):
    """The measurement of one fused picture."""

    scores: dict[str, Score]
    notes: tuple[str, ...]
    """What was changed before measuring, one short sentence each."""

    def facts(self) -> dict[str, object]:
        """Returns the scores for JSON. It has no NaN and no infinity, so those become null with a reason, and
        `"Infinity"`.
        """
        return {
            "metrics": {name: json_number(each.value) for name, each in self.scores.items()},
            "undefined": {name: each.reason for name, each in self.scores.items() if each.reason is not None},
            "notes": list(self.notes),
        }


def measure_files(
    a: Path,
    b: Path,
    fused: Path,
    truth: Path | None = None,
    *,
    names: Sequence[str] = (),
    protocol: str = "toolkit",
) -> FileScores:
    """Measures a fused picture.

    Args:
        a: First source.
        b: Second source.
        fused: The fused picture.
        truth: Ground truth for the fused picture, if there is one.
        names: Metrics; by default all, or those of the protocol.
        protocol: `toolkit`: each metric decides about colour. `paper`: pictures are measured in grey, as in the
            paper's infrared table.

    Raises:
        ImageError: A file is not a picture, or sizes differ.
        EvaluationError: A metric is unknown.
    """
    files = [a, b, fused] + ([truth] if truth else [])
    pictures = [read(file) for file in files]
    notes = [note for picture in pictures for note in picture.notes]
    for file, picture in zip(files, pictures, strict=True):
        if (picture.height, picture.width) != (pictures[0].height, pictures[0].width):
            raise ImageError(
                f"{file} is {picture.size_text}, {a} is {pictures[0].size_text}; expected pictures of one size: "
                "crop or resize first."
            )
        if picture.depth != "uint8":
            notes.append(f"{file.name}: {picture.depth} converted to 8 bits, since metrics are defined on 0 to 255")
    if pictures[2].depth not in {picture.depth for picture in pictures[:2]}:
        notes.append(f"{fused.name} is {pictures[2].depth}, its sources are {pictures[0].depth}: it was converted")
    as_paper = protocol == "paper"
    planes = [eight_bits(picture, as_grey=as_paper) for picture in pictures]
    chosen = names or (PROTOCOLS[protocol].metrics["infrared"] if as_paper else tuple(METRICS))
    scores = score(planes[0], planes[1], planes[2], planes[3] if truth else None, names=chosen)
    return FileScores(scores, tuple(notes))


def eight_bits(picture: Picture, *, as_grey: bool) -> NDArray[np.uint8]:
    """Returns a picture as metrics take it: [H, W, 3]; or [H, W] if it has no colour or is to be grey."""
    samples: NDArray[np.uint8] = converted(picture.samples[:, :], np.uint8)
    if picture.grey:
        return samples[..., 0]
    return grey(samples) if as_grey else samples
