"""Every metric against what the toolkits' own code says of a few scenes."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from defusion.evaluation.metrics import (
    METRICS,
    artefacts,
    features,
    fidelity,
    score,
    similarity,
    visual,
    wavelet,
)
from defusion.imaging import read

#: How near a metric comes, where that is nearer than 1e-5. For the FMI of gradients the oracle re-created MATLAB's
#: edge(), and says itself that it is approximate.
NEARNESS = {
    metric.name: near
    for near, modules in {
        1e-9: (artefacts, similarity, visual, wavelet),
        1e-8: (fidelity,),
        1e-6: (features,),
    }.items()
    for module in modules
    for metric in module.METRICS
} | {"Tang.FMI_gradient": 2e-4}

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
        near = NEARNESS.get(name, 1e-5)
        assert each.value == pytest.approx(golden[pair][name], rel=near, abs=0, nan_ok=True), name


def test_short_names_are_the_variants_that_they_stand_for(shared):
    pictures = load(shared, "p2gray")
    short = [metric for metric in METRICS.values() if metric.same_as]
    found = score(*pictures, names=[*(metric.name for metric in short), *(metric.same_as for metric in short)])
    for metric in short:
        half = 2 if metric.name == "ssim" else 1
        assert found[metric.name].value * half == found[metric.same_as].value, metric.name
