"""Metrics of trained networks: LPIPS and the Inception score. Their weights are not part of this package."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.metrics.metric import Metric, Score, UndefinedError

#: Environment variable that names a folder with the official weights files, under their original names.
FOLDER_VARIABLE = "DEFUSION_METRIC_WEIGHTS"
ALEXNET = "alexnet-owt-7be5be79.pth"
LPIPS_LINEAR = "alex.pth"
INCEPTION = "inception_v3_google-0cc3c7bd.pth"

_INCEPTION_SIDE = 299
_TILES = 3
_BATCH = 8


def _weights(name: str) -> Path:
    """Returns the path of a weights file.

    Raises:
        UndefinedError: The file does not exist, or torch is not installed.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise UndefinedError(f"no weights: {FOLDER_VARIABLE} names no folder with {name}")
    path = Path(folder) / name
    if not path.is_file():
        raise UndefinedError(f"no weights: {path} does not exist")
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


def set_inception_score(pictures: Iterable[NDArray[np.uint8]]) -> Score:
    """Returns the Inception score of pictures as one set, as in published tables.

    Args:
        pictures: 8 bits, [H, W] or [H, W, 3] (RGB). They are taken one at a time, so an iterator needs little memory.

    Returns:
        1 to the number of pictures; NaN with a reason if there are no weights or fewer than two pictures.
    """
    try:
        path = _weights(INCEPTION)
        seen = [_as_inception_sees(picture) for picture in pictures]
        if len(seen) < 2:
            raise UndefinedError("the score of a set needs two pictures or more")
        from defusion.evaluation.metrics.networks import class_shares

        shares = [class_shares(path, seen[first : first + _BATCH]) for first in range(0, len(seen), _BATCH)]
    except UndefinedError as error:
        return Score(math.nan, str(error))
    return Score(inception_score(np.concatenate(shares)))


def _as_inception_sees(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(np.ascontiguousarray(picture), (_INCEPTION_SIDE, _INCEPTION_SIDE))
    return np.asarray(small if small.ndim == 3 else np.dstack([small] * 3), np.uint8)


def _tiles(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Splits a picture into 3x3 tiles and scales each to Inception's input size."""
    rows = np.array_split(picture, _TILES, axis=0)
    tiles = [tile for row in rows for tile in np.array_split(row, _TILES, axis=1)]
    return [_as_inception_sees(tile) for tile in tiles]


def inception_score(shares: NDArray[np.float32]) -> float:
    """Returns the exponential of the mean divergence of shares [N, classes] from their mean; 1 if all N are alike."""
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
