"""Ranks the measured methods among those in a benchmark's published table, over all shared columns."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from defusion.evaluation.published import PublishedTable, Standing, standing
from defusion.evaluation.report.tables import DASH, SetTable

#: Number of methods whose mean rank is shown before the table is opened.
_IN_SUMMARY = 4


def standings(table: SetTable, published: PublishedTable) -> dict[str, Standing]:
    """Returns the standing of each measured method that has a shared column."""
    found = {}
    for row, method in enumerate(table.block.methods):
        means = dict(zip(table.block.metrics, table.summary.mean[row].tolist(), strict=True))
        place = standing(published, means)
        if place is not None:
            found[method] = place
    return found


def standings_table(table: SetTable) -> str:
    """Returns HTML of the ranks in each published table of a benchmark; empty if there is no such table."""
    return "".join(_one(table, published) for published in table.quoted if published.key != "paper")


def _one(table: SetTable, published: PublishedTable) -> str:
    found = standings(table, published)
    if not found:
        return ""
    columns = [column for column in published.columns if any(column.name in place.ranks for place in found.values())]
    kept = [published.columns.index(column) for column in columns]
    rows: list[tuple[float, str, dict[str, float], bool]] = [
        (place.mean_rank, method, place.ranks, True) for method, place in found.items()
    ]
    for method, ranks in zip(published.rows, published.ranks()[:, kept], strict=True):
        by_column = dict(zip((column.name for column in columns), ranks.tolist(), strict=True))
        rows.append((float(np.mean(ranks)), f"{method} ({published.key})*", by_column, False))
    rows.sort(key=lambda row: row[0])
    names = [column.name for column in columns]
    head = "".join(
        f'<th scope="col"><button type="button"{words}>{escape(name)}</button></th>'
        for name, words in [("method", ' data-words="1"'), ("mean rank", ""), *((name, "") for name in names)]
    )
    body = "".join(_line(*row, columns=names) for row in rows)
    name, count = escape(published.key.upper()), len(published.rows)
    return (
        f"<details><summary>Ranks among {name}'s {count} published methods, over {len(columns)} of its "
        f"{len(published.columns)} metrics: mean rank {escape(_short(found))}</summary>"
        f'<p class="soft">Each measured method is ranked on its own against the {count} published ones, from 1 '
        f"to {count + 1}; the published ones among themselves, 1 to {count}. Published "
        f"means are over {escape(published.protocol)}; "
        f"ours are over the {len(table.block.scenes)} scenes measured here.</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Ranks in {name}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _short(found: dict[str, Standing]) -> str:
    best = sorted(found.items(), key=lambda item: item[1].mean_rank)[:_IN_SUMMARY]
    return ", ".join(f"{method} {place.mean_rank:.2f}" for method, place in best)


def _line(mean: float, method: str, ranks: dict[str, float], ours: bool, *, columns: list[str]) -> str:
    cells = []
    for rank in (mean, *(ranks.get(name, math.nan) for name in columns)):
        known = math.isfinite(rank)
        text = DASH if not known else f"{rank:.2f}" if rank is mean else f"{rank:g}"
        cells.append(f"<td{f' data-v={rank!r}' if known else ''}>{text}</td>")
    name = escape(method)
    return f'<tr{"" if ours else " class=quoted"}><th scope="row" data-v="{name}">{name}</th>{"".join(cells)}</tr>'
