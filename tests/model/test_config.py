"""Network shapes as data: what survives JSON and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defusion.errors import WeightsError
from defusion.model import CONFIGS, NetworkConfig
from defusion.model.config import BLENDINGS, COARSEST_PX, Blending, Stage, attention_width, gaussian, octaves_of
from defusion.task import TASKS


@pytest.mark.parametrize("name", CONFIGS)
def test_config_survives_json(name: str) -> None:
    assert NetworkConfig.from_dict(json.loads(json.dumps(CONFIGS[name].to_dict()))) == CONFIGS[name]


def test_choices_that_are_not_the_defaults_survive_json() -> None:
    config = replace(CONFIGS["small"], common_projection="unique", judges=False)
    again = NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert (again.common_projection, again.heads) == ("unique", ("paper", "detail"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_named_as_it_is_looked_up(name: str) -> None:
    assert CONFIGS[name].name == name


@pytest.mark.parametrize("key", ["encoder", "ensembler", "common_decoder", "unique_decoder"])
def test_a_config_without_a_field_is_refused(key: str) -> None:
    data = CONFIGS["small"].to_dict()
    del data[key]
    with pytest.raises(WeightsError, match=key):
        NetworkConfig.from_dict(data)


def test_a_field_of_another_program_is_refused() -> None:
    with pytest.raises(WeightsError, match="dilation"):
        NetworkConfig.from_dict({**CONFIGS["small"].to_dict(), "dilation": 2})


@pytest.mark.parametrize("odd", [None, [], "small", {"encoder": 3}])
def test_what_is_no_config_at_all_is_refused(odd: object) -> None:
    with pytest.raises(WeightsError, match="not a network config"):
        NetworkConfig.from_dict(odd)  # type: ignore[arg-type]


def test_embeddings_of_two_widths_are_refused() -> None:
    uneven = (*CONFIGS["small"].unique_decoder[:3], Stage(32, 1))
    with pytest.raises(WeightsError, match="same width, but they end in 16 and 32"):
        replace(CONFIGS["small"], unique_decoder=uneven)


def test_heads_that_need_a_verdict_are_those_of_networks_that_judge() -> None:
    assert CONFIGS["small"].heads == ("pyramid", "paper", "detail")
    assert CONFIGS["released"].heads == ("paper", "detail")


def test_a_projection_that_no_network_has_is_refused() -> None:
    with pytest.raises(WeightsError, match="comon"):
        replace(CONFIGS["small"], common_projection="comon")  # type: ignore[arg-type]


def test_attention_is_half_as_wide_as_its_channels_but_no_narrower_than_32() -> None:
    assert [attention_width(channels) for channels in (8, 64, 96, 256)] == [32, 32, 48, 128]


def test_each_task_is_blended_in_some_way() -> None:
    assert set(BLENDINGS) == set(TASKS)


@given(height=st.integers(1, 20_000), width=st.integers(1, 20_000))
def test_octaves_end_where_the_shorter_side_is_nearest_to_the_coarsest(height: int, width: int) -> None:
    count, shorter = octaves_of(height, width, Blending()), min(height, width)
    assert count >= 1
    assert count == octaves_of(width, height, Blending())
    assert octaves_of(height, width, Blending(octaves=2)) == min(count, 2)
    if shorter >= 2 * COARSEST_PX:
        assert COARSEST_PX / 2**0.5 <= shorter / 2**count <= COARSEST_PX * 2**0.5


@pytest.mark.parametrize("sigma_px", [1.0, 2.0, 3.0])
def test_a_gaussian_is_even_and_has_its_sum_and_spread(sigma_px: float) -> None:
    kernel = gaussian(sigma_px).astype(np.float64)
    places = np.arange(len(kernel)) - len(kernel) // 2
    assert places[-1] == round(3 * sigma_px)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert np.array_equal(kernel, kernel[::-1])
    assert (kernel * places**2).sum() ** 0.5 == pytest.approx(sigma_px, rel=0.05)


def test_the_page_has_the_figures_of_the_blendings() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    names = next(row for row in rows if row[0] == "scene")[1:]
    found = {
        task: row for row in rows for task in BLENDINGS if row[0].startswith(task) and len(row) == 1 + len(names)
    }
    assert found.keys() == BLENDINGS.keys()
    for task, row in found.items():
        told = {name: float(cell.partition(",")[0]) for name, cell in zip(names, row[1:], strict=True) if cell}
        blending, plain = BLENDINGS[task]._asdict(), Blending()._asdict()
        assert {name: blending[name] for name in names} == {name: plain[name] for name in names} | told
