"""The report as data: a long CSV of every score, and JSON of everything."""

from __future__ import annotations

import io
import json
import math
from typing import Any

from defusion.evaluation.metrics import METRICS
from defusion.evaluation.report.tables import SetTable
from defusion.evaluation.results import Outcome, Results
from defusion.system.spreadsheet import write_rows

COLUMNS = ("set", "scene", "method", "metric", "value", "reason")


def results_csv(results: Results) -> str:
    """Returns every score in a line: set, scene, method, metric, value, reason.

    If there is no value, it is empty and the reason says why. A method that failed has a line for each metric.
    """
    text = io.StringIO()
    write_rows(text, [COLUMNS])
    for outcome in results.outcomes:
        named = (outcome.scene.data_set, outcome.scene.name, outcome.method)
        scores = _scores(results, outcome)
        write_rows(text, ((*named, metric, value, reason) for metric, value, reason in scores))
    return text.getvalue()


def results_json(results: Results, tables: list[SetTable], made: dict[str, str]) -> str:
    """Returns everything as JSON: how it was measured, the metrics, means with intervals, and every outcome."""
    facts = {
        "protocol": results.protocol,
        "notes": list(results.notes),
        "made": made,
        "metrics": [_metric(name) for name in results.metrics],
        "sets": [_set(table) for table in tables],
        "outcomes": [_outcome(results, outcome) for outcome in results.outcomes],
    }
    return json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _scores(results: Results, outcome: Outcome) -> list[tuple[str, float | None, str | None]]:
    """Returns metric, value and reason of an outcome's scores."""
    if outcome.failure is not None:
        return [(name, None, outcome.failure) for name in results.metrics]
    found = []
    for name, score in outcome.scores.items():
        value = float(score.value) if math.isfinite(score.value) else None
        reason = score.reason or (None if value is not None else f"the value is {score.value}")
        found.append((name, value, reason))
    return found


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {
        "name": name,
        "title": metric.title,
        "better": metric.better,
        "span": [number(end) for end in metric.span],
        "colour": metric.colour,
        "source": metric.source,
        "against": metric.against,
        "same_as": metric.same_as,
    }


def _set(table: SetTable) -> dict[str, Any]:
    block, summary = table.block, table.summary
    return {
        "name": block.data_set,
        "scenes": len(block.scenes),
        "methods": {
            method: {
                "mean_rank": number(summary.mean_rank[row]),
                "metrics": {
                    metric: {
                        "mean": number(summary.mean[row, column]),
                        "low": number(summary.low[row, column]),
                        "high": number(summary.high[row, column]),
                        "missing": int(summary.missing[row, column]),
                        "rank": number(summary.rank[row, column]),
                        "p_of_best": number(summary.p_of_best[row, column]),
                    }
                    for column, metric in enumerate(block.metrics)
                },
            }
            for row, method in enumerate(block.methods)
        },
    }


def _outcome(results: Results, outcome: Outcome) -> dict[str, Any]:
    scene = outcome.scene
    return {
        "set": scene.data_set,
        "scene": scene.name,
        "method": outcome.method,
        "sources": [str(path) for path in scene.sources],
        "truth": None if scene.truth is None else str(scene.truth),
        "picture": None if outcome.picture is None else str(outcome.picture),
        "failure": outcome.failure,
        "seconds": outcome.seconds,
        "scores": {name: {"value": value, "reason": reason} for name, value, reason in _scores(results, outcome)},
    }


def number(value: float) -> float | None:
    """Returns a number for JSON: None if it is not finite."""
    return float(value) if math.isfinite(value) else None
