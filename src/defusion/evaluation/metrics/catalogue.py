"""All metrics by name, and the scores of one scene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from defusion.errors import EvaluationError, ImageError
from defusion.evaluation.metrics import (
    artefacts,
    contrast,
    features,
    fidelity,
    gradient,
    information,
    intensity,
    learned,
    mef,
    phase,
    similarity,
    structural,
    visual,
    wavelet,
)
from defusion.evaluation.metrics.metric import ColourRule, Grey, Metric, Score, UndefinedError
from defusion.evaluation.metrics.planes import grey
from defusion.evaluation.metrics.sharing import shared, sharing

_FAMILIES = (
    information,
    intensity,
    gradient,
    structural,
    mef,
    contrast,
    similarity,
    visual,
    fidelity,
    phase,
    wavelet,
    features,
    artefacts,
    learned,
)

METRICS: dict[str, Metric] = {metric.name: metric for family in _FAMILIES for metric in family.METRICS}
"""All variants by name."""

DEFAULT_METRICS: tuple[str, ...] = (
    "ce",
    "qcv",
    "ssim",
    "cc",
    "qabf",
    "mef_ssim",
    "sf",
    "en",
    "psnr",
    "psnr_truth",
    "ssim_truth",
)
"""The short names, in the order of a report's columns."""


def score(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    fused: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None = None,
    *,
    names: Iterable[str] = DEFAULT_METRICS,
) -> dict[str, Score]:
    """Measures a fused picture.

    Args:
        a: First source, [H, W] or [H, W, 3] (RGB), 8 bits.
        b: Second source.
        fused: The fused picture.
        truth: Ground truth for the fused picture, if there is one.
        names: Metrics to measure. Those against the ground truth are left out if there is none.

    Returns:
        A score for each name, in that order; NaN with a reason if a metric is not defined for these pictures.

    Raises:
        ImageError: The pictures differ in height or width, or are not 8-bit grey or RGB.
        EvaluationError: A metric is unknown.

    Example:
        >>> ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
        >>> score(ramp, ramp, ramp, names=["ssim", "en"])
        {'ssim': Score(value=1.0, reason=None), 'en': Score(value=6.0, reason=None)}
    """
    pictures = {"source a": a, "source b": b, "the fused picture": fused}
    if truth is not None:
        pictures["the truth"] = truth
    _check(pictures)
    chosen = [_named(name) for name in dict.fromkeys(names)]
    chosen = [metric for metric in chosen if truth is not None or metric.against == "sources"]
    found: dict[str, list[Score]] = {metric.name: [] for metric in chosen}
    with sharing():
        for rules, planes in _views(list(pictures.values())):
            with sharing():
                for metric in chosen:
                    if metric.colour in rules:
                        found[metric.name].append(_measured(metric, planes))
    return {name: _mean(scores) for name, scores in found.items()}


def _named(name: str) -> Metric:
    if name not in METRICS:
        close = ", ".join(get_close_matches(name, METRICS, cutoff=0.4)) or ", ".join(DEFAULT_METRICS)
        raise EvaluationError(f"there is no metric `{name}`; there are {close} and those in docs/metrics/index.md.")
    return METRICS[name]


def _check(pictures: dict[str, NDArray[np.uint8]]) -> None:
    first = next(iter(pictures.values()))
    for name, picture in pictures.items():
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)):
            raise ImageError(
                f"{name} is {picture.dtype} of shape {picture.shape}; expected 8-bit grey [H, W] or RGB [H, W, 3]."
            )
        if picture.shape[:2] != first.shape[:2]:
            raise ImageError(
                f"{name} is {picture.shape[1]}x{picture.shape[0]}, source a is {first.shape[1]}x{first.shape[0]}; "
                "expected pictures of one size."
            )


def _views(pictures: Sequence[NDArray[np.uint8]]) -> Iterable[tuple[tuple[ColourRule, ...], list[Grey]]]:
    """Yields the planes that are measured, with the colour rules that they serve.

    If the fused picture is grey, all are grey. If it has colour, a grey source is compared with each of its channels.
    """
    fused = pictures[2]
    greys = [np.ascontiguousarray(grey(picture)) for picture in pictures]
    if fused.ndim == 2:
        yield ("each channel", "grey", "wide"), greys
        yield ("rgb",), [np.dstack([plane] * 3) for plane in greys]
        return
    yield ("grey",), greys
    channels = [
        [np.ascontiguousarray(picture[..., k] if picture.ndim == 3 else picture) for picture in pictures]
        for k in range(3)
    ]
    for planes in channels:
        yield ("each channel",), planes
    yield ("rgb",), [np.dstack(planes) for planes in zip(*channels, strict=True)]
    yield ("wide",), [np.hstack(planes) for planes in zip(*channels, strict=True)]


def _measured(metric: Metric, planes: Sequence[Grey]) -> Score:
    a, b, fused, *truth = planes
    if metric.against == "truth":
        a = b = truth[0]
    try:
        with np.errstate(all="ignore"):
            value = shared(metric.measure)(a, b, fused)
    except UndefinedError as error:
        return Score(np.nan, str(error))
    return Score(value, "0/0 for these pictures" if np.isnan(value) else None)


def _mean(scores: Sequence[Score]) -> Score:
    """Returns the mean over channels; not defined if it is not defined for one of them."""
    for each in scores:
        if each.reason is not None:
            return each
    return Score(float(np.mean([each.value for each in scores])))
