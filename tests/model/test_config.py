"""Network shapes as data: what survives JSON and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from defusion.errors import WeightsError
from defusion.model import CONFIGS, NetworkConfig
from defusion.model.config import PyramidConfig, Stage, attention_width, config_from_dict


@pytest.mark.parametrize("name", CONFIGS)
def test_config_survives_json(name: str) -> None:
    assert NetworkConfig.from_dict(json.loads(json.dumps(CONFIGS[name].to_dict()))) == CONFIGS[name]


def test_a_config_says_which_network_it_is_of() -> None:
    for config in (PyramidConfig(), CONFIGS["small"]):
        assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_choices_that_are_not_the_defaults_survive_json() -> None:
    config = replace(CONFIGS["small"], common_projection="unique")
    again = NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again.common_projection == "unique"


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


def test_a_projection_that_no_network_has_is_refused() -> None:
    with pytest.raises(WeightsError, match="comon"):
        replace(CONFIGS["small"], common_projection="comon")  # type: ignore[arg-type]


def test_attention_is_half_as_wide_as_its_channels_but_no_narrower_than_32() -> None:
    assert [attention_width(channels) for channels in (8, 64, 96, 256)] == [32, 32, 48, 128]
