"""One scene of an evaluation: makes, reads and scores its pictures. It runs in processes of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import DefusionError
from defusion.evaluation.files import eight_bits
from defusion.evaluation.methods import Baseline, Command, Fuse
from defusion.evaluation.metrics import METRICS, Score, score
from defusion.evaluation.results import EvaluationScene
from defusion.imaging import read


class CellWork(NamedTuple):
    """The work for one method."""

    method: str
    picture: Path
    maker: Baseline | Command | None
    """Makes the picture first; None if it exists."""
    metrics: tuple[str, ...]


class Work(NamedTuple):
    """The work for one scene."""

    scene: EvaluationScene
    grey: bool
    """Measure luminance only."""
    cells: tuple[CellWork, ...]


class CellResult(NamedTuple):
    """The result of a cell."""

    method: str
    scores: dict[str, Score]
    seconds: float | None = None
    """Time for making the picture, if it was made."""
    failure: str | None = None


def measure(work: Work) -> list[CellResult]:
    """Does the work of a scene. A cell that fails does not affect the others."""
    try:
        a, b = (eight_bits(read(source), as_grey=work.grey) for source in work.scene.sources)
        truth = eight_bits(read(work.scene.truth), as_grey=work.grey) if work.scene.truth else None
    except DefusionError as error:
        return [CellResult(cell.method, {}, failure=str(error)) for cell in work.cells]
    return [_measured(cell, work, (a, b), truth) for cell in work.cells]


def _measured(
    cell: CellWork, work: Work, sources: tuple[NDArray[np.uint8], NDArray[np.uint8]], truth: NDArray[np.uint8] | None
) -> CellResult:
    seconds = None
    try:
        if cell.maker:
            seconds = timed(cell.maker.fuse, work.scene, cell.picture)
        fused = eight_bits(read(cell.picture), as_grey=work.grey)
        if fused.ndim < max(source.ndim for source in sources):  # a grey result is measured as if its file had colour
            fused = np.dstack([fused] * 3)
        if fused.shape[:2] != sources[0].shape[:2]:
            failure = f"the picture is {_size(fused)}, but its sources are {_size(sources[0])}"
            return CellResult(cell.method, {}, failure=failure)
        if truth is None or truth.shape[:2] == sources[0].shape[:2]:
            return CellResult(cell.method, score(*sources, fused, truth, names=cell.metrics), seconds)
        unfit = Score(np.nan, f"the truth is {_size(truth)}, but its sources are {_size(sources[0])}")
        of_truth = {name: unfit for name in cell.metrics if METRICS[name].against == "truth"}
        return CellResult(cell.method, score(*sources, fused, names=cell.metrics) | of_truth, seconds)
    except Exception as error:
        return CellResult(cell.method, {}, failure=reason(error))


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def reason(error: Exception) -> str:
    """Returns why a method failed, in one sentence."""
    return str(error) if isinstance(error, DefusionError) else f"unexpected {type(error).__name__}: {error}"


def timed(fuse: Fuse, scene: EvaluationScene, out: Path) -> float:
    """Makes a picture and returns the seconds that it took."""
    began = time.perf_counter()
    fuse(scene, out)
    return time.perf_counter() - began
