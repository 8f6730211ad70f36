"""How pictures are measured: with which metrics, and whether in colour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import DEFAULT_METRICS, METRICS
from defusion.evaluation.metrics.learned import FOLDER_VARIABLE
from defusion.evaluation.metrics.learned import METRICS as LEARNED
from defusion.evaluation.results import DataSetKind


class Protocol(NamedTuple):
    """Rules for measuring."""

    metrics: dict[DataSetKind, tuple[str, ...]]
    """Metrics by kind of data set; `DEFAULT_METRICS` for other kinds."""
    grey: tuple[DataSetKind, ...]
    """Kinds of data sets that are measured in luminance only."""

    def metrics_of(self, kind: DataSetKind, asked: Sequence[str]) -> tuple[str, ...]:
        """Returns the metrics for a data set, or those that the user asked for.

        Metrics of trained networks are left out, unless asked for, if no folder of weights is set.
        """
        if asked:
            return tuple(dict.fromkeys(asked))
        learned = [] if os.environ.get(FOLDER_VARIABLE) else [metric.name for metric in LEARNED]
        return tuple(name for name in self.metrics.get(kind, DEFAULT_METRICS) if name not in learned)


PROTOCOLS: dict[str, Protocol] = {
    # The toolkits of MEFB and VIFB: each metric decides about colour.
    "toolkit": Protocol(metrics={}, grey=()),
    # Tables 1 to 3 of the paper of Liang et al.
    "paper": Protocol(
        metrics={
            "exposure": ("ce", "qcv", "ssim", "mef_ssim", "is", "lpips"),
            "focus": ("ssim", "psnr", "ssim_truth", "psnr_truth"),
            "infrared": ("ce", "qcv", "ssim", "cc"),
        },
        grey=("infrared",),
    ),
}


def check_metrics(asked: Sequence[str]) -> None:
    """Raises if a metric is unknown.

    Raises:
        EvaluationError: A metric is unknown.
    """
    for name in asked:
        if name not in METRICS:
            raise EvaluationError(f"there is no metric {name!r}; expected one of {', '.join(METRICS)}")
