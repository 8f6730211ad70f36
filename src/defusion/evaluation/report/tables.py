"""The table of one data set, as rows with marks. The page, Markdown and LaTeX show the same table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import METRICS, Metric, Score
from defusion.evaluation.protocols import PROTOCOLS
from defusion.evaluation.published import PublishedTable
from defusion.evaluation.results import Results
from defusion.evaluation.statistics import LEVEL, ScoreTable, Summary, measured, summarise

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}

#: Least number of methods for each rank to be marked.
_METHODS_FOR_PLACE = {1: 2, 2: 3, 3: 4}


@dataclass(frozen=True)
class Cell:
    """A figure of a method."""

    value: float
    """NaN if there is none."""
    text: str
    place: int = 0
    """1, 2, 3 for the best, second and third of the measured methods; 0 for all others."""
    tied: bool = False
    """It is not the best, but does not differ from it significantly."""
    interval: str = ""
    """The 95 % interval."""
    p: float = math.nan
    """p of the difference from the best."""
    missing: int = 0
    """Number of scenes without a score."""
    doubt: str | None = None
    """Why a quoted figure is not comparable."""


@dataclass(frozen=True)
class MethodRow:
    """The figures of a method."""

    method: str
    cells: tuple[Cell, ...]
    """One for each metric."""
    mean_rank: Cell
    seconds: float | None = None
    """Median time of a scene."""
    quoted: PublishedTable | None = None
    """Where the figures come from, if they were not measured."""

    @property
    def label(self) -> str:
        """Name of the method, marked if it is quoted."""
        return f"{self.method} ({self.quoted.key})*" if self.quoted else self.method

    @property
    def figures(self) -> tuple[Cell, ...]:
        """The cells of the metrics, then the mean rank."""
        return (*self.cells, self.mean_rank)


@dataclass(frozen=True)
class SetTable:
    """All that the report says about a data set as a whole."""

    block: ScoreTable
    summary: Summary
    metrics: tuple[Metric, ...]
    decimals: tuple[int, ...]
    rows: tuple[MethodRow, ...]
    """Measured methods first, then quoted ones."""
    quoted: tuple[PublishedTable, ...]
    """Published tables about this data set."""
    inception: Mapping[str, Score]
    """Inception score of all pictures of a method as one set, by method."""

    def row(self, method: str) -> MethodRow | None:
        """Returns the row of a measured method."""
        return next((row for row in self.rows if row.method == method and row.quoted is None), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """Footnotes: Inception scores of sets, origin of quoted rows, and columns that are not comparable."""
        notes = []
        if self.inception:
            scores = (f"{method} {shown(found.value, 3)}" for method, found in self.inception.items())
            reasons = dict.fromkeys(found.reason for found in self.inception.values() if found.reason)
            why = f" ({'; '.join(map(str, reasons))})" if reasons else ""
            notes.append(
                "Inception score of all pictures of a method as one set, as in published tables (`is` above is over "
                f"the tiles of each picture): {', '.join(scores)}{why}."
            )
        quoted = {id(row.quoted) for row in self.rows}
        for table in self.quoted:
            if id(table) in quoted:
                notes.append(f"* ({table.key}) quoted, not measured here: {table.source}; {table.protocol}.")
        doubts: dict[str, dict[str, None]] = {}
        for row in self.rows:
            for metric, cell in self._pairs(row):
                if cell.doubt:
                    doubts.setdefault(cell.doubt, {})[metric.name] = None
        return (*notes, *(f"? {', '.join(names)}: {doubt}." for doubt, names in doubts.items()))

    def _pairs(self, row: MethodRow) -> Iterable[tuple[Metric, Cell]]:
        return zip(self.metrics, row.cells, strict=True)


def set_tables(results: Results, quoted: Sequence[PublishedTable]) -> list[SetTable]:
    """Makes the table of each data set, in the order of the results.

    Args:
        results: All outcomes.
        quoted: Published tables; those about other data sets are left out.

    Raises:
        EvaluationError: There are no outcomes, or a metric is unknown.
    """
    if not results.outcomes:
        raise EvaluationError(
            "the results hold no outcomes, so there is nothing to report; evaluate a data set first"
        )
    unknown = [name for name in results.metrics if name not in METRICS]
    if unknown:
        raise EvaluationError(f"there is no metric {unknown[0]!r}; expected some of {', '.join(METRICS)}")
    names = dict.fromkeys(outcome.scene.data_set for outcome in results.outcomes)
    return [_set_table(results, name, [table for table in quoted if table.concerns(name)]) for name in names]


def decimals_for(values: Iterable[float]) -> int:
    """Returns how many decimals show a column's values with three or four digits."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if not sizes:
        return 3
    size = median(sizes)
    return 0 if size >= 1e4 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 0.1 else 4


def shown(value: float, decimals: int) -> str:
    """Returns a number as tables print it, with a true minus sign; a dash if there is none."""
    return f"{value:.{decimals}f}".replace("-", MINUS) if math.isfinite(value) else DASH


def _set_table(results: Results, name: str, quoted: Sequence[PublishedTable]) -> SetTable:
    block = measured(results, name)
    metrics = tuple(METRICS[metric] for metric in block.metrics)
    summary = summarise(block, [metric.better for metric in metrics])
    decimals = tuple(decimals_for(column.tolist()) for column in summary.mean.T)
    seconds = _seconds(results, name)
    kind = next(outcome.scene.kind for outcome in results.outcomes if outcome.scene.data_set == name)
    quoted = [table.beside(kind in PROTOCOLS[results.protocol].grey) for table in quoted]
    rows = [
        MethodRow(
            method,
            tuple(_cell(summary, index, column, decimals[column]) for column in range(len(metrics))),
            _rank_cell(summary, index),
            seconds.get(method),
        )
        for index, method in enumerate(block.methods)
    ]
    for table in quoted:
        rows += _quoted_rows(table, metrics, decimals)
    return SetTable(block, summary, metrics, decimals, tuple(rows), tuple(quoted), results.inception.get(name, {}))


def _cell(summary: Summary, row: int, column: int, decimals: int) -> Cell:
    value, p = float(summary.mean[row, column]), float(summary.p_of_best[row, column])
    low, high = float(summary.low[row, column]), float(summary.high[row, column])
    place = _place(summary.rank[:, column], row) if math.isfinite(value) else 0
    return Cell(
        value,
        shown(value, decimals),
        place,
        tied=math.isfinite(value) and p >= LEVEL,
        interval=f"{shown(low, decimals)} to {shown(high, decimals)}" if math.isfinite(low) else "",
        p=p,
        missing=int(summary.missing[row, column]),
    )


def _rank_cell(summary: Summary, row: int) -> Cell:
    value = float(summary.mean_rank[row])
    return Cell(value, shown(value, 2), _place(summary.mean_rank, row))


def _place(ranks: NDArray[np.float64], row: int) -> int:
    """Returns the place of a method by its rank. Methods with equal ranks get the better place."""
    place = 1 + int(np.sum(ranks < ranks[row])) if math.isfinite(ranks[row]) else 0
    return place if len(ranks) >= _METHODS_FOR_PLACE.get(place, len(ranks) + 1) else 0


def _seconds(results: Results, name: str) -> dict[str, float]:
    times: dict[str, list[float]] = {}
    for outcome in results.outcomes:
        if outcome.scene.data_set == name and outcome.seconds is not None:
            times.setdefault(outcome.method, []).append(outcome.seconds)
    return {method: median(found) for method, found in times.items()}


def _quoted_rows(table: PublishedTable, metrics: Sequence[Metric], decimals: Sequence[int]) -> list[MethodRow]:
    columns = [(table.figures(metric.name), table.doubt(metric.name)) for metric in metrics]
    if not any(figures for figures, _ in columns):
        return []
    return [
        MethodRow(
            method,
            tuple(
                Cell(figures[method], shown(figures[method], places), doubt=doubt) if figures else Cell(math.nan, "")
                for (figures, doubt), places in zip(columns, decimals, strict=True)
            ),
            Cell(math.nan, ""),
            quoted=table,
        )
        for method in table.rows
    ]
