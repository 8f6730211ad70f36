"""The page of a report: one self-contained HTML file. All text from outside is escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from html import escape
from importlib import resources
from string import Template
from typing import Any

from defusion.evaluation.metrics import METRICS, Metric
from defusion.evaluation.report.figures import number
from defusion.evaluation.report.pictures import Album
from defusion.evaluation.report.plots import plots
from defusion.evaluation.report.sheets import Sheet
from defusion.evaluation.report.standings import standings_table
from defusion.evaluation.report.tables import ARROWS, MINUS, Cell, MethodRow, SetTable
from defusion.evaluation.report.text import signs
from defusion.evaluation.results import Results
from defusion.evaluation.statistics import LEVEL, RESAMPLES

_BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "neither direction is better"}

_ZOOMS = (1, 2, 3, 4, 8)

_STATISTICS = (
    "Means are over the scenes where a method has a score. Intervals are 95 % percentile bootstrap intervals of the "
    f"means ({RESAMPLES} draws of scenes with replacement, the same for all methods). Ranks are by means; equal "
    "means share a rank, and a method without a mean shares the last one. The mean rank is over all metrics where a "
    "direction is better. ≈ marks a difference from the best that is not significant: Wilcoxon's signed-rank test "
    "over the scenes that both have, with Holm's correction over the methods of a column, gives p of at least "
    f"{LEVEL}. With fewer than six scenes, two methods cannot differ; more methods need more scenes."
)


def page(
    results: Results, tables: list[SetTable], album: Album, sheets: dict[str, Sheet], made: dict[str, str]
) -> str:
    """Builds the page.

    Args:
        results: All outcomes.
        tables: The table of each data set.
        album: The pictures.
        sheets: Parts of pictures, by data set.
        made: What made the report: versions, date.
    """
    files = resources.files(__package__)
    methods = list(dict.fromkeys(outcome.method for outcome in results.outcomes))
    lead = (
        f"{_count(len(methods), 'method')} on {_count(album.total, 'scene')} of {_count(len(tables), 'data set')}, "
        f"{_count(len(results.metrics), 'metric')}; {made['date']}"
    )
    links = [(f"set-{index}", table.block.data_set) for index, table in enumerate(tables)]
    failures = _failures(results)
    links += [("failures", "failures")] * bool(failures) + [
        ("metrics", "metrics"),
        ("measured", "how it was measured"),
    ]
    return Template(files.joinpath("page.html").read_text("utf-8")).substitute(
        title="Fusion, measured",
        lead=escape(lead),
        css=files.joinpath("page.css").read_text("utf-8"),
        js=files.joinpath("page.js").read_text("utf-8"),
        links="\n".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in links),
        overview=_overview(tables),
        sets="\n".join(_section(index, table, sheets) for index, table in enumerate(tables)),
        failures=failures,
        metrics=_metric_list(METRICS[name] for name in results.metrics),
        measured=_measured(results, album, made),
        data=_script_json({"sets": [_set_data(results, table) for table in tables]}),
        pictures="\n".join(_picture_stores(tables, album)),
    )


def _overview(tables: list[SetTable]) -> str:
    """Shows the mean ranks of all methods on all data sets, if there are several."""
    if len(tables) < 2:
        return ""
    methods = dict.fromkeys(method for table in tables for method in table.block.methods)
    head = [_header("method", "", words=True)]
    head += [_header(table.block.data_set, f"mean rank of {len(table.block.methods)} methods") for table in tables]
    rows = []
    for method in methods:
        cells = [_cell(row.mean_rank, "") if row else "<td></td>" for row in (table.row(method) for table in tables)]
        rows.append(f'<tr><th scope="row" data-v="{escape(method)}">{escape(method)}</th>{"".join(cells)}</tr>')
    return (
        '<section id="overview"><h2>Mean ranks</h2><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Mean ranks"><table><thead><tr>{"".join(head)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _section(index: int, table: SetTable, sheets: dict[str, Sheet]) -> str:
    block = table.block
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    scenes = "".join(f"<option>{escape(name)}</option>" for name in block.scenes)
    metrics = "".join(f"<option>{escape(metric.name)}</option>" for metric in table.metrics)
    zooms = "".join(f'<option value="{zoom}"{" selected" * (zoom == 2)}>{zoom}00 %</option>' for zoom in _ZOOMS)
    return f"""<section id="set-{index}">
<h2>{escape(block.data_set)} <span class="name-note">{_count(len(block.scenes), "scene")}</span></h2>
<div class="scroll" tabindex="0" role="region" aria-label="Means on {escape(block.data_set)}">
{_means(table)}
</div>
<div class="notes">{notes}{_missing_note(table)}</div>
{standings_table(table)}
{sheets[block.data_set].html()}
<h3>Scenes</h3>
<div class="browser" data-set="{index}">
<div class="controls">
<button type="button" data-step="-1" aria-label="previous scene">&lsaquo;</button>
<select data-role="scene" aria-label="scene">{scenes}</select>
<button type="button" data-step="1" aria-label="next scene">&rsaquo;</button>
<label>score <select data-role="metric">{metrics}</select></label>
<label>zoom <select data-role="zoom">{zooms}</select></label>
<label hidden>show <select data-role="layer"><option value="data">pictures</option>
<option value="error">errors against the ground truth</option></select></label>
</div>
<p class="soft" data-role="note"></p>
<div class="cards" data-role="cards"></div>
<div class="scroll" tabindex="0" role="region" aria-label="Scores of the scene" data-role="scores"></div>
<details><summary>Scene by scene</summary><div data-role="grid"></div></details>
</div>
<details><summary>Distributions over scenes</summary>
<p class="soft">Box: quartiles, with a line at the median. Whiskers: the farthest scores within 1.5 box lengths. Dots:
scores beyond, or all scores if there are few scenes. Diamond: the mean. +2: two more beyond the end of the axis.</p>
<div class="plots">{"".join(plots(table))}</div>
</details>
</section>"""


def _means(table: SetTable) -> str:
    timed = any(row.seconds is not None for row in table.rows)
    head = [_header("method", "", words=True)]
    for metric in table.metrics:
        first = "ascending" if metric.better == "lower" else "descending"
        head.append(_header(f"{metric.name} {ARROWS[metric.better]}".strip(), "\n".join(_about(metric)), first))
    head.append(_header("mean rank", "Over all metrics where a direction is better; 1 is the best possible."))
    if timed:
        head.append(_header("seconds", "Median time of a scene, where the method was run here."))
    rows = "".join(_row(table, row, timed) for row in table.rows)
    return f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{rows}</tbody></table>"


def _header(text: str, about: str, first: str = "ascending", words: bool = False) -> str:
    tip = f' data-tip="{escape(about)}"' if about else ""
    kind = ' data-words="1"' if words else ""
    toolkit, dot, name = text.rpartition(".")
    shown = f'<span class="toolkit">{escape(toolkit + dot)}</span>{escape(name)}' if dot else escape(text)
    return f'<th scope="col"><button type="button" data-first="{first}"{kind}{tip}>{shown}</button></th>'


def _row(table: SetTable, row: MethodRow, timed: bool) -> str:
    cells = [f'<th scope="row" data-v="{escape(row.label)}">{escape(row.label)}</th>']
    scenes = len(table.block.scenes)
    cells += [_cell(cell, _tip(cell, scenes)) for cell in row.figures]
    if timed:
        value = math.nan if row.seconds is None else row.seconds
        cells.append(_cell(Cell(value, "" if row.seconds is None else f"{row.seconds:.2f}"), ""))
    return f"<tr{' class=quoted' * bool(row.quoted)}>{''.join(cells)}</tr>"


def _cell(cell: Cell, tip: str) -> str:
    value = f' data-v="{cell.value!r}"' if math.isfinite(cell.value) else ""
    classes = f' class="p{cell.place}"' if cell.place else ' class="doubt"' if cell.doubt else ""
    about = f' data-tip="{escape(tip)}"' if tip else ""
    sign = f'<span class="sign">{signs(cell)}</span>' if cell.text else ""
    interval = f'<br class="ci"><span class="ci">{escape(cell.interval)}</span>' if cell.interval else ""
    return f"<td{classes}{value}{about}>{escape(cell.text)}{sign}{interval}</td>"


def _tip(cell: Cell, scenes: int) -> str:
    lines = []
    if cell.interval:
        lines.append(f"95 %: {cell.interval}")
    if math.isfinite(cell.p):
        lines.append(f"difference from the best: p = {cell.p:.2g}")
    if cell.missing:
        lines.append(f"{scenes - cell.missing} of {scenes} scenes have a score")
    if cell.doubt:
        lines.append(cell.doubt)
    return "\n".join(lines)


def _about(metric: Metric) -> list[str]:
    """Returns what is needed to read a metric, in short lines."""
    low, high = (f"{end:g}".replace("inf", "∞").replace("-", MINUS) for end in metric.span)
    return [
        metric.title,
        f"against the {metric.against}, {low} to {high}, {_BETTER[metric.better]}",
        f"colour: {metric.colour}",
        *([f"as {metric.same_as}"] if metric.same_as else []),
        metric.source,
    ]


def _metric_list(metrics: Iterable[Metric]) -> str:
    dot = " \N{MIDDLE DOT} "
    items = (f"<dt>{escape(metric.name)}</dt><dd>{escape(dot.join(_about(metric)))}</dd>" for metric in metrics)
    return f"<dl>{''.join(items)}</dl>"


def _missing_note(table: SetTable) -> str:
    missing = int(table.summary.missing.sum())
    if not missing:
        return ""
    of_all = f"{_count(missing, 'score')} of {table.block.values.size}"
    return f"<p>° {of_all} are missing; the scenes below say why. Ranks use the scenes that all methods have.</p>"


def _failures(results: Results) -> str:
    failed = [outcome for outcome in results.outcomes if outcome.failure is not None]
    if not failed:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(outcome.scene.data_set)}</th><td>{escape(outcome.scene.name)}</td>'
        f"<td>{escape(outcome.method)}</td><td>{escape(outcome.failure or '')}</td></tr>"
        for outcome in failed
    )
    return (
        f'<section id="failures"><h2>Failures</h2><p>{_count(len(failed), "picture")} of {len(results.outcomes)} '
        'could not be made.</p><div class="scroll" tabindex="0" role="region" aria-label="Failures">'
        '<table class="wrap"><thead><tr><th scope="col">set</th><th scope="col">scene</th><th scope="col">method</th>'
        f'<th scope="col">reason</th></tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _measured(results: Results, album: Album, made: dict[str, str]) -> str:
    notes = "".join(f'<p class="facts">{escape(note)}</p>' for note in results.notes)
    versions = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in made.items())
    return (
        f'<p class="facts">Protocol: {escape(results.protocol)}</p>{notes}<h3>Statistics</h3><p>{_STATISTICS}</p>'
        f"<h3>Pictures</h3><p>{escape(album.note())}</p><h3>Made by</h3><dl>{versions}</dl>"
    )


def _set_data(results: Results, table: SetTable) -> dict[str, Any]:
    """Returns what the page's code needs of a data set: all scores, and why some are missing."""
    block = table.block
    reasons: dict[str, dict[str, str]] = {name: {} for name in block.scenes}
    for outcome in results.outcomes:
        if outcome.scene.data_set != block.data_set:
            continue
        row = block.methods.index(outcome.method)
        for column, metric in enumerate(block.metrics):
            score = outcome.scores.get(metric)
            reason = outcome.failure or (score.reason if score else None)
            if reason:
                reasons[outcome.scene.name][f"{row},{column}"] = reason
    return {
        "metrics": [
            {
                "name": metric.name,
                "label": f"{metric.name} {ARROWS[metric.better]}".strip(),
                "title": metric.title,
                "about": "\n".join(_about(metric)),
                "better": metric.better,
                "decimals": decimals,
            }
            for metric, decimals in zip(table.metrics, table.decimals, strict=True)
        ],
        "methods": block.methods,
        "scenes": [
            {
                "name": name,
                "values": [[number(value) for value in row] for row in values],
                "reasons": reasons[name],
            }
            for name, values in zip(block.scenes, block.values, strict=True)
        ],
    }


def _picture_stores(tables: list[SetTable], album: Album) -> Iterable[str]:
    """Yields one element for each scene. The page's code parses it when the scene is shown."""
    for index, table in enumerate(tables):
        for position, name in enumerate(table.block.scenes):
            drawn = album.scenes.get((table.block.data_set, name))
            if drawn is not None:
                text = _script_json(asdict(drawn))
                yield f'<script type="application/json" id="pictures-{index}-{position}">{text}</script>'


def _script_json(facts: dict[str, Any]) -> str:
    """Returns JSON for a script element. It holds no `<`, which could end the element."""
    return json.dumps(facts, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'s' * (number_of != 1)}"
