"""Metrics of trained networks: LPIPS and the Inception score. Their weights are not ours to ship."""

from __future__ import annotations

import math
import os
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Metric, UndefinedError

#: Names a folder that holds the official weights files under these, their own names.
FOLDER_VARIABLE = "DEFUSION_METRIC_WEIGHTS"
ALEXNET = "alexnet-owt-7be5be79.pth"
LPIPS_LINEAR = "alex.pth"
INCEPTION = "inception_v3_google-0cc3c7bd.pth"

_INCEPTION_SIDE = 299
_TILES = 3


def _weights(name: str) -> Path:
    """The path of a weights file.

    Raises:
        UndefinedError: It is not there, or torch is not.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise UndefinedError(f"no weights: {FOLDER_VARIABLE} names no folder with {name}")
    path = Path(folder) / name
    if not path.is_file():
        raise UndefinedError(f"no weights: {path} is absent")
    if find_spec("torch") is None:
        raise UndefinedError('torch is not installed: pip install "defusion[torch]"')
    return path


def _lpips(a: NDArray[np.uint8], b: NDArray[np.uint8], fused: NDArray[np.uint8]) -> float:
    trunk, linear = _weights(ALEXNET), _weights(LPIPS_LINEAR)
    if min(fused.shape[:2]) < 31:
        raise UndefinedError("AlexNet needs 31 pixels a side at least")
    from defusion.evaluation.metrics.networks import perceptual_distance

    return sum(perceptual_distance(trunk, linear, source, fused) for source in (a, b)) / 2


def _inception_score(a: NDArray[np.uint8], b: NDArray[np.uint8], fused: NDArray[np.uint8]) -> float:
    path = _weights(INCEPTION)
    if min(fused.shape[:2]) < _TILES:
        raise UndefinedError(f"the picture has fewer than {_TILES} pixels a side")
    from defusion.evaluation.metrics.networks import class_shares

    return inception_score(class_shares(path, _tiles(fused)))


def _tiles(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The picture in 3x3 tiles, each at the size that Inception sees."""
    rows = np.array_split(picture, _TILES, axis=0)
    tiles = [tile for row in rows for tile in np.array_split(row, _TILES, axis=1)]
    size = (_INCEPTION_SIDE, _INCEPTION_SIDE)
    return [np.asarray(cv2.resize(np.ascontiguousarray(tile), size), np.uint8) for tile in tiles]


def inception_score(shares: NDArray[np.float32]) -> float:
    """Exponential of the mean divergence of shares [N, classes] from their mean; 1 where all N look alike."""
    given = np.maximum(shares.astype(np.float64), 1e-16)
    divergence = (given * (np.log(given) - np.log(given.mean(axis=0)))).sum(axis=1)
    return float(np.exp(divergence.mean()))


METRICS: tuple[Metric, ...] = (
    Metric(
        name="lpips",
        title="Learned perceptual distance to the sources",
        better="lower",
        span=(0.0, math.inf),
        colour="rgb",
        source="Zhang 2018, version 0.1 with AlexNet; the mean over both sources",
        measure=_lpips,
    ),
    Metric(
        name="is",
        title="Inception score of the fused picture's tiles",
        better="higher",
        span=(1.0, float(_TILES**2)),
        colour="rgb",
        source="Salimans 2016, over 3x3 tiles of a picture: not comparable with a data set's value",
        measure=_inception_score,
    ),
)
