"""Metrics of image fusion, each defined as in a named toolkit: `METRICS` by name, `score` for one scene."""

from __future__ import annotations

from defusion.evaluation.metrics.catalogue import DEFAULTS, METRICS, score
from defusion.evaluation.metrics.metric import Metric, Score

__all__ = ["DEFAULTS", "METRICS", "Metric", "Score", "score"]
