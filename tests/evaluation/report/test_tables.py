"""Rows and marks, and their Markdown and LaTeX."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import Score
from defusion.evaluation.published import published
from defusion.evaluation.report.standings import standings
from defusion.evaluation.report.tables import SetTable, decimals_for, set_tables, shown
from defusion.evaluation.report.text import latex, latex_escaped, markdown, markdown_escaped


@pytest.fixture(scope="module")
def tables(results) -> list[SetTable]:
    return set_tables(results, published(["paper", "mefb"]))


def test_marks_of_places_and_of_differences_that_are_not_real(tables):
    mefb = tables[0]
    measured = mefb.rows[:3]
    ce, _, ssim = range(3)
    # Three methods: the last of them is no third best.
    assert [row.cells[ce].place for row in measured] == [1, 2, 0]
    assert [row.cells[ce].tied for row in measured] == [False, False, False]
    assert measured[1].cells[ce].p < 0.05
    # The second differs by as much upwards as downwards; the third is far below.
    assert [row.cells[ssim].tied for row in measured] in ([False, True, False], [True, False, False])
    assert measured[1].cells[ssim].missing == 1
    assert measured[0].mean_rank.place == 1 and measured[0].cells[ce].interval
    assert measured[0].seconds == 0.25


def test_methods_that_share_the_best_place_are_all_the_best(results):
    same = [replace(each, scores={"ce": Score(1.0)}) for each in results.outcomes if not each.failure]
    [mefb, _] = set_tables(replace(results, metrics=("ce",), outcomes=tuple(same)), [])
    assert [row.cells[0].place for row in mefb.rows] == [1, 1, 1]
    two = [each if each.method != "average" else replace(each, scores={"ce": Score(2.0)}) for each in same]
    [mefb, _] = set_tables(replace(results, metrics=("ce",), outcomes=tuple(two)), [])
    assert [row.cells[0].place for row in mefb.rows] == [0, 1, 1]


def test_quoted_rows_show_only_shared_columns_and_no_marks(tables):
    quoted = [row for row in tables[0].rows if row.quoted]
    assert len(quoted) == 7 + 21 and not [row for row in tables[1].rows if row.quoted]
    defusion = next(row for row in quoted if row.label == "DeFusion (paper)*")
    assert [cell.text for cell in defusion.cells] == ["2.881", "262.3", "0.608"]
    assert [bool(cell.doubt) for cell in defusion.cells] == [True, False, False]
    dem = next(row for row in quoted if row.label == "DEM (mefb)*")
    assert [cell.text for cell in dem.cells] == ["3.133", "656.9", ""]
    assert not any(cell.place or cell.tied for row in quoted for cell in row.figures)
    notes = "\n".join(tables[0].notes)
    assert "* (paper) quoted" in notes and "* (mefb) quoted" in notes and "? ce: " in notes


def test_a_doubt_names_all_columns_that_it_is_about(tables):
    doubted = [
        replace(row, cells=tuple(replace(cell, doubt="of its own") for cell in row.cells)) for row in tables[0].rows
    ]
    assert "? ce, qcv, ssim: of its own." in replace(tables[0], rows=tuple(doubted)).notes


def test_quoted_luminance_beside_measured_colours_is_doubted(results):
    infrared = [
        replace(outcome, scene=replace(outcome.scene, data_set="roadscene", kind="infrared"))
        for outcome in results.outcomes
        if outcome.scene.data_set == "mefb"
    ]
    for protocol, doubted in (("toolkit", True), ("paper", False)):
        [table] = set_tables(replace(results, protocol=protocol, outcomes=tuple(infrared)), published(["paper"]))
        quoted = next(row for row in table.rows if row.quoted)
        assert [bool(cell.doubt) for cell in quoted.cells] == [doubted] * 3
        assert ("it is of luminance, what was measured here of colours" in "".join(table.notes)) == doubted


def test_standings_of_measured_methods(tables):
    found = standings(tables[0], published(["mefb"])[0])
    assert list(found) == [row.method for row in tables[0].rows[:3]]
    # ce of 1.4 is below all that MEFB prints; qcv of 304 is above 247.77, 253.75, 288.09 and 293.92.
    assert found["average"].ranks == {"Cross_entropy": 1, "Qcv": 5} and found["average"].mean_rank == 3


def test_metrics_of_the_truth_show_where_there_is_one(tables):
    assert [metric.name for metric in tables[0].metrics] == ["ce", "qcv", "ssim"]
    assert [metric.name for metric in tables[1].metrics] == ["ce", "qcv", "ssim", "psnr_truth"]


def test_what_cannot_be_reported_is_refused(results):
    with pytest.raises(EvaluationError, match="no outcomes"):
        set_tables(replace(results, outcomes=()), [])
    with pytest.raises(EvaluationError, match="no metric 'loveliness'"):
        set_tables(replace(results, metrics=("loveliness",)), [])


@pytest.mark.parametrize(
    ("values", "decimals"), [([0.6, 0.7], 3), ([262.3], 1), ([12.0], 2), ([58906.0], 0), ([0.01], 4), ([np.nan], 3)]
)
def test_decimals_show_three_or_four_digits(values, decimals):
    assert decimals_for(values) == decimals


def test_numbers_as_printed():
    assert shown(-0.25, 2) == "\N{MINUS SIGN}0.25" and shown(np.nan, 2) == "\N{EN DASH}"


def test_markdown_has_every_method_in_rows_of_one_width(tables):
    text = markdown(tables)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in rows]
    assert set(widths) == {6, 7} and len(rows) == 2 * 2 + 3 + 28 + 3
    assert r"blend \<0.7\> & 'co' \| 100%\_$" in text
    assert "| average | **1.400**¹ |" in text
    assert markdown_escaped("a*b|c") == r"a\*b\|c"


def test_latex_is_balanced_and_escaped(tables):
    text = latex(tables)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    bare = re.sub(r"\\[\\{}%&$#_]", "", text)
    depth = np.cumsum([(sign == "{") - (sign == "}") for sign in bare])
    assert depth.min() == 0 and depth[-1] == 0
    assert bare.count("$") % 2 == 0 and "_" not in bare and "#" not in bare
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {4, 5}
    assert r"average & \textcolor{red}{\textbf{1.400}}" in text and r"\toprule" in text
    assert latex_escaped("50% of a_b & ~") == r"50\% of a\_b \& \textasciitilde{}"
