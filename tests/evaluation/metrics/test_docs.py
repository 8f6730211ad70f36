"""The pages about metrics name what there is."""

import re
from pathlib import Path

import pytest

from defusion.evaluation.metrics import METRICS

FOLDER = Path(__file__).parents[3] / "docs/metrics"


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    lines = (FOLDER / "index.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.count(" | ") == 6]
    return {name[1:-1]: rest for name, *rest in cells if name.startswith("`")}


def test_the_table_has_every_metric_and_no_other(rows):
    assert set(rows) == set(METRICS)


def test_the_table_says_what_the_code_says(rows):
    for name, (what, better, *_, definition, _) in rows.items():
        metric = METRICS[name]
        assert what.startswith(metric.title), name
        assert (better, definition) == (metric.better, metric.source), name


def test_every_metric_is_explained_on_its_page(rows):
    for name, row in rows.items():
        page = re.fullmatch(r"\[(\w+)\]\((\w+)\.md\)", row[-1])
        assert page, name
        assert f"`{name}`" in (FOLDER / f"{page[2]}.md").read_text(encoding="utf-8"), name
