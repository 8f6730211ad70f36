"""Metrics of image fusion, each defined as in a named toolkit: `METRICS` by name, `score` for one scene."""

from __future__ import annotations

from defusion.evaluation.metrics.catalogue import DEFAULT_METRICS, METRICS, score
from defusion.evaluation.metrics.metric import Metric, Score

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric", "Score", "score"]
