"""The pages about metrics name what there is."""

import re
from pathlib import Path

import numpy as np
import pytest

from defusion.evaluation.metrics import METRICS

FOLDER = Path(__file__).parents[3] / "docs/metrics"
COLOURS = {
    "each channel": "mean of R, G, B",
    "grey": "grey",
    "wide": "side by side",
    "rgb": "all channels at once",
}


def facts(page: str) -> dict[str, list[str]]:
    """The table at the head of a page: better, range, colour, definition, nearness to the oracle, by name."""
    lines = (FOLDER / f"{page}.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.count(" | ") == 5]
    return {name[1:-1]: rest for name, *rest in rows if name.strip("`") in METRICS}


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
        assert name in facts(page[2]), name


def test_the_table_of_a_page_says_what_the_code_says():
    pages = [page.stem for page in FOLDER.glob("*.md") if page.stem != "index"]
    found = {name: row for page in pages for name, row in facts(page).items()}
    assert set(found) == set(METRICS)
    for name, (better, span, colour, definition, near) in found.items():
        metric = METRICS[name]
        least, greatest = (str(each) if np.isinf(each) else f"{each:.4g}" for each in metric.span)
        assert span.replace("∞", "inf") == f"{least} to {greatest}", name
        assert (better, colour, definition) == (metric.better, COLOURS[metric.colour], metric.source), name
        assert (near == f"as `{metric.same_as}`") == (metric.same_as is not None), name
