"""The results of an evaluation, scene by scene. Measuring makes them, reports read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from defusion.evaluation.metrics import Score

DataSetKind = Literal["exposure", "focus", "infrared", "medical", "other"]
"""How the sources of a data set differ."""


@dataclass(frozen=True)
class EvaluationScene:
    """A scene of a data set on disk."""

    data_set: str
    name: str
    sources: tuple[Path, Path]
    truth: Path | None = None
    """Ground truth for the fused picture, if there is one."""
    kind: DataSetKind = "other"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names that tell the sources apart: of their files, or of their folders if files have equal names."""
        stems = tuple(path.stem for path in self.sources)
        if len(set(stems)) == len(stems):
            return stems
        levels = zip(*(path.parts for path in self.sources), strict=False)
        return next((level for level in levels if len(set(level)) == len(level)), stems)


@dataclass(frozen=True)
class Outcome:
    """What one method made of one scene."""

    method: str
    scene: EvaluationScene
    picture: Path | None
    """The fused picture; None if the method failed."""
    scores: dict[str, Score]
    """Scores by metric; empty if the method failed. Metrics that are not used for its data set are missing."""
    failure: str | None = None
    """Why the method has no picture, one sentence."""
    seconds: float | None = None
    """Time for fusing, if we ran the method."""


@dataclass(frozen=True)
class Results:
    """All outcomes of an evaluation."""

    protocol: str
    metrics: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()
    """What was left out, one short sentence each."""
    inception: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """The Inception score of all fused pictures, by data set and method; empty if it was not asked for."""

    @property
    def failures(self) -> list[Outcome]:
        """Outcomes without a picture."""
        return [outcome for outcome in self.outcomes if outcome.failure is not None]

    def summary(self) -> dict[str, Any]:
        """Returns data for JSON: means of each method on each data set, numbers of scenes, and what failed."""
        sets: dict[str, dict[str, list[Outcome]]] = {}
        for outcome in self.outcomes:
            sets.setdefault(outcome.scene.data_set, {}).setdefault(outcome.method, []).append(outcome)
        failed = [
            {"method": each.method, "set": each.scene.data_set, "scene": each.scene.name, "why": each.failure}
            for each in self.failures
        ]
        return {
            "protocol": self.protocol,
            "sets": {
                name: {
                    method: self._means(outcomes) | self._inception(name, method)
                    for method, outcomes in methods.items()
                }
                for name, methods in sets.items()
            },
            "failures": failed,
            "notes": list(self.notes),
        }

    def _inception(self, name: str, method: str) -> dict[str, Any]:
        found = self.inception.get(name, {}).get(method)
        return {"inception_score": {"value": json_number(found.value), "why": found.reason}} if found else {}

    def _means(self, outcomes: list[Outcome]) -> dict[str, Any]:
        means = {}
        for name in self.metrics:
            found = [outcome.scores[name].value for outcome in outcomes if name in outcome.scores]
            defined = [value for value in found if np.isfinite(value)]  # as in the report's tables
            if found:
                mean = json_number(float(np.mean(defined)) if defined else np.nan)
                means[name] = {"mean": mean, "scenes": len(defined)}
        return {
            "scenes": len(outcomes),
            "failures": sum(outcome.failure is not None for outcome in outcomes),
            "metrics": means,
        }


def json_number(value: float) -> float | str | None:
    """Returns a number for JSON, which has no NaN and no infinity."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
