"""Distributions over scenes as SVG. Its colours come from the page."""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.evaluation.report.tables import ARROWS, SetTable, shown

Floats = NDArray[np.float64]

_WIDTH = 348
_LABEL = 124
_GAP = 20
_RIGHT = 24
_ROW = 17
_AXIS = 18

#: With fewer scenes every score is a dot; with more, a box is clearer.
_SCENES_FOR_BOX = 8


class Box(NamedTuple):
    """A box plot of some values."""

    low: float
    """Smallest value within 1.5 times the box's height of the box."""
    first: float
    middle: float
    third: float
    high: float
    beyond: Floats
    """Values outside the whiskers."""


def box(values: Floats) -> Box:
    """Computes quartiles, whiskers by Tukey's rule, and the values beyond them, from at least one finite value."""
    first, middle, third = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (third - first)
    inside = values[(values >= first - reach) & (values <= third + reach)]
    beyond = values[(values < first - reach) | (values > third + reach)]
    return Box(float(inside.min()), float(first), float(middle), float(third), float(inside.max()), beyond)


def plots(table: SetTable) -> list[str]:
    """Returns a plot for each metric, with one line for each method: its box or its dots, and the mean."""
    return [_plot(table, column) for column in range(len(table.metrics)) if _drawable(table, column)]


def _drawable(table: SetTable, column: int) -> bool:
    return bool(np.isfinite(table.block.values[:, :, column]).any())


def _plot(table: SetTable, column: int) -> str:
    metric = table.metrics[column]
    by_method = [values[np.isfinite(values)] for values in table.block.values[:, :, column].T]
    boxed = len(table.block.scenes) >= _SCENES_FOR_BOX
    low, high = _extent(by_method, boxed)
    scale = (_WIDTH - _LABEL - _RIGHT) / (high - low)
    bottom = _ROW * len(by_method) + 6
    parts = []
    ticks, decimals = _ticks(low, high)
    for tick in ticks:
        x = _LABEL + (tick - low) * scale
        parts.append(f'<path class="grid" d="M{x:.1f} 2V{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 12}">{shown(tick, decimals)}</text>')
    for row, (method, values) in enumerate(zip(table.block.methods, by_method, strict=True)):
        y = _ROW * row + _ROW / 2 + 3
        parts.append(f'<text class="name" x="{_LABEL - _GAP}" y="{y + 4:.1f}">{escape(_short(method))}</text>')
        if len(values):
            marks = _boxes if boxed else _dots
            parts.append(marks(np.clip(values, low, high), low, scale, y))
            mean = _LABEL + (float(np.clip(values.mean(), low, high)) - low) * scale
            parts.append(f'<path class="mean" d="M{mean:.1f} {y - 4}l4 4l-4 4l-4 -4z"/>')
            parts.append(_beyond(values, low, high, y))
    label = escape(f"{table.block.data_set}: {metric.name}, {metric.title}, by method")
    return (
        f'<figure class="plot"><figcaption>{escape(metric.name)} {ARROWS[metric.better]}</figcaption>'
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {bottom + _AXIS}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _extent(by_method: list[Floats], boxed: bool) -> tuple[float, float]:
    """Returns the ends of the axis: it spans all boxes with whiskers and means, or all dots, plus a margin."""
    ends: list[float] = []
    for values in by_method:
        if len(values) and boxed:
            drawn = box(values)
            ends += [drawn.low, drawn.high]
        elif len(values):
            ends += [float(values.min()), float(values.max())]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _ticks(low: float, high: float) -> tuple[list[float], int]:
    """Returns two to six round numbers inside an axis, and how many decimals they need."""
    rough = (high - low) / 2.5
    exponent = math.floor(math.log10(rough))
    step = max(factor * 10.0**exponent for factor in (1, 2, 5) if factor * 10.0**exponent <= rough)
    places = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [place * step for place in places], max(0, -exponent)


def _boxes(values: Floats, low: float, scale: float, y: float) -> str:
    drawn = box(values)
    left, first, middle, third, right = (_LABEL + (float(end) - low) * scale for end in drawn[:5])
    dots = "".join(_dot(_LABEL + (value - low) * scale, y) for value in drawn.beyond)
    return (
        f'<path class="whisker" d="M{left:.1f} {y}H{first:.1f}M{third:.1f} {y}H{right:.1f}"/>'
        f'<rect class="box" x="{first:.1f}" y="{y - 5}" width="{max(third - first, 0.5):.1f}" height="10"/>'
        f'<path class="median" d="M{middle:.1f} {y - 5}v10"/>{dots}'
    )


def _dots(values: Floats, low: float, scale: float, y: float) -> str:
    return "".join(_dot(_LABEL + (value - low) * scale, y) for value in values)


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="2"/>'


def _beyond(values: Floats, low: float, high: float, y: float) -> str:
    """Shows how many values are beyond the ends of the axis."""
    left, right = int((values < low).sum()), int((values > high).sum())
    parts = [f'<text class="past" x="{_WIDTH - _RIGHT + 2}" y="{y + 3}">+{right}</text>'] if right else []
    if left:
        parts.append(f'<text class="past left" x="{_LABEL - 3}" y="{y + 3}">{left}+</text>')
    return "".join(parts)


def _short(name: str) -> str:
    return name if len(name) <= 15 else f"{name[:14]}…"
