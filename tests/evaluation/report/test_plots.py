"""Box plots: their numbers, and what is drawn of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from defusion.evaluation.report.plots import _ticks, box, plots
from defusion.evaluation.report.tables import set_tables


def test_a_box_by_hand():
    drawn = box(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 30.0]))
    assert (drawn.first, drawn.middle, drawn.third) == (2.25, 3.5, 4.75)
    assert (drawn.low, drawn.high) == (1.0, 5.0) and drawn.beyond.tolist() == [30.0]


def test_a_plot_for_each_metric_with_boxes_for_many_scenes_and_dots_for_few(results):
    mefb, focus = set_tables(results, [])
    many, few = plots(mefb), plots(focus)
    assert len(many) == 3 and len(few) == 4
    for text in (*many, *few):
        ElementTree.fromstring(text)  # well-formed, so escaped
    assert many[0].count('class="box"') == 3 and few[0].count('class="box"') == 0
    assert few[0].count("<circle") == 2 * 2 + 1
    centres = [float(x) for x in re.findall(r'class="mean" d="M([\d.]+)', many[0])]
    assert centres == sorted(centres)  # ce grows by one from method to method
    np.testing.assert_allclose(np.diff(centres)[0], np.diff(centres)[1], atol=0.15)


@pytest.mark.parametrize(("low", "high"), [(0.85, 0.97), (-3.0, 4000.0), (7.1, 7.75), (0.0012, 0.0031)])
def test_ticks_are_a_few_different_round_numbers_inside(low, high):
    ticks, decimals = _ticks(low, high)
    assert 2 <= len(ticks) <= 6 and low <= ticks[0] and ticks[-1] <= high
    assert len({f"{tick:.{decimals}f}" for tick in ticks}) == len(ticks)
