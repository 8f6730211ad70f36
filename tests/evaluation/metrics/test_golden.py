"""Every metric against what the toolkits' own code says of a few scenes."""

import csv
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from defusion.evaluation.metrics import METRICS, score
from defusion.imaging import read

DOCS = Path(__file__).parents[3] / "docs/metrics"

#: How near each metric comes, as its page says: relative, over so many scenes. For the FMI of gradients the oracle
#: re-created MATLAB's edge(), and says itself that it is approximate.
NEARNESS = {
    name: (float(near), int(scenes))
    for page in DOCS.glob("*.md")
    for name, near, scenes in re.findall(
        r"^\| `([\w.]+)` .* \| (\de-\d+) on (\d) scenes? \|$", page.read_text("utf-8"), re.MULTILINE
    )
}

PAIRS = ("p1", "p2", "p2gray", "p3", "p3gray", "p4gray")


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    with (shared / "reference/metrics/golden.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            values[row["pair"]][row["metric"]] = float(row["value"])
    return values


def load(shared: Path, pair: str):
    pictures = [np.asarray(read(shared / f"reference/metrics/images/{pair}_{which}.png").samples) for which in "ABF"]
    return [picture[..., 0] if picture.shape[2] == 1 else picture for picture in pictures]


@pytest.mark.parametrize("pair", PAIRS)
def test_the_toolkits_say_the_same(shared, golden, pair):
    names = [name for name in METRICS if name in golden[pair]]
    found = score(*load(shared, pair), names=names)
    assert len(names) > 20
    for name, each in found.items():
        near, _ = NEARNESS[name]
        assert each.value == pytest.approx(golden[pair][name], rel=near, abs=0, nan_ok=True), name


def test_the_pages_count_the_scenes_of_the_oracle(golden):
    counted = {name: sum(name in golden[pair] for pair in PAIRS) for name in METRICS}
    assert {name: scenes for name, (_, scenes) in NEARNESS.items()} == {n: c for n, c in counted.items() if c}


def test_short_names_are_the_variants_that_they_stand_for(shared):
    pictures = load(shared, "p2gray")
    short = [metric for metric in METRICS.values() if metric.same_as]
    found = score(*pictures, names=[*(metric.name for metric in short), *(metric.same_as for metric in short)])
    for metric in short:
        half = 2 if metric.name == "ssim" else 1
        assert found[metric.name].value * half == found[metric.same_as].value, metric.name
