"""The authors' checkpoints: the pictures that they give, and files that are none."""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from defusion.errors import WeightsError
from defusion.model import CONFIGS, DeFusion, NetworkConfig
from defusion.weights import WeightsFile
from defusion.weights.convert import convert

PICTURES = ("common", "unique_a", "unique_b", "fused")

#: Mean of each colour at 64 x 64, from shared/reference/network/outputs.npz: what the authors' own network gives.
ORACLE_MEANS = {
    "released": {
        "common": (2.39737, 0.0, 0.00174),
        "unique_a": (86.70663, 0.0, 0.59491),
        "unique_b": (86.44877, 0.0, 0.58877),
        "fused": (0.0, 0.00941, 77.92321),
    },
    "deep": {
        "common": (22.17232, 0.0, 0.27126),
        "unique_a": (86.70663, 0.0, 0.59491),
        "unique_b": (86.44877, 0.0, 0.58877),
        "fused": (0.0, 0.01071, 69.67724),
    },
}

Sources = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def converted(checkpoint: Path) -> WeightsFile:
    return convert(checkpoint, checkpoint.with_suffix(".safetensors"))


@pytest.fixture(scope="module")
def network(converted: WeightsFile) -> DeFusion:
    return network_of(converted)


def network_of(file: WeightsFile) -> DeFusion:
    assert isinstance(file.config, NetworkConfig)
    return DeFusion.of_tensors(file.config, file.tensors())


def write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    torch.save({"state_dict": tensors}, path)
    return path


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 72)])
def test_pictures_are_those_of_the_authors_network(
    network: DeFusion, shared: Path, oracle_sources: Sources, height: int, width: int
) -> None:
    reference = np.load(shared / "reference" / "network" / "outputs.npz")
    with torch.inference_mode():
        made = network(*oracle_sources(height, width))
    for name in PICTURES:
        expected = reference[f"{network.config.name}/{height}x{width}/{name}"]
        assert np.abs(getattr(made, name).numpy() - expected).max() <= 1e-4 * np.abs(expected).max(), name


def test_mean_colours_are_those_of_the_authors_network(network: DeFusion, oracle_sources: Sources) -> None:
    with torch.inference_mode():
        made = network(*oracle_sources(64, 64))
    for name, expected in ORACLE_MEANS[network.config.name].items():
        means = getattr(made, name).mean((0, 2, 3)).numpy()
        np.testing.assert_allclose(means, expected, rtol=0, atol=1e-4 * max(expected), err_msg=name)


@pytest.mark.parametrize("layout", ["released", "deep"])
def test_the_tests_own_checkpoints_have_the_published_keys(
    shared: Path, key_shapes: Callable[[str], dict[str, tuple[int, ...]]], layout: str
) -> None:
    published = json.loads((shared / "reference" / "network" / f"{layout}_keys.json").read_text())
    assert key_shapes(layout) == {key: tuple(shape) for key, shape in published.items()}


@pytest.mark.parametrize(("layout", "keys", "numbers"), [("released", 384, 7_874_473), ("deep", 468, 8_043_817)])
def test_our_network_has_the_published_tensors_and_no_others(
    key_shapes: Callable[[str], dict[str, tuple[int, ...]]], layout: str, keys: int, numbers: int
) -> None:
    with torch.device("meta"):
        ours = DeFusion(CONFIGS[layout]).state_dict()
    theirs = {key: shape for key, shape in key_shapes(layout).items() if "lower" not in key}
    assert len(ours) == len(theirs) == keys
    assert sum(value.numel() for value in ours.values()) == sum(map(math.prod, theirs.values())) == numbers
    assert sorted(tuple(value.shape) for value in ours.values()) == sorted(theirs.values())


def test_the_file_says_where_it_comes_from(checkpoint: Path, converted: WeightsFile) -> None:
    assert converted.config.name == checkpoint.stem
    assert checkpoint.name in converted.about["origin"]
    assert converted.config.heads == ("paper",)


def test_weights_keep_every_bit(converted: WeightsFile, checkpoint: Path) -> None:
    theirs = torch.load(checkpoint, weights_only=True)["state_dict"]
    stem = converted.tensors()["encoder.stem.weight"]
    assert np.array_equal(stem, theirs["encoder_upper.0.weight"].numpy())


def test_a_file_without_the_aliases_gives_the_same_weights(
    released_tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    single = {key: value for key, value in released_tensors.items() if "lower" not in key}
    assert len(single) < len(released_tensors)
    file = convert(write(tmp_path / "single.pth", single), tmp_path / "single.safetensors")
    whole = convert(write(tmp_path / "whole.pth", released_tensors), tmp_path / "whole.safetensors")
    assert file.sha256 == whole.sha256


def test_a_file_with_the_aliases_alone_gives_the_same_weights(
    released_tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    second = {key: value for key, value in released_tensors.items() if "upper" not in key}
    file = convert(write(tmp_path / "second.pth", second), tmp_path / "second.safetensors")
    whole = convert(write(tmp_path / "whole.pth", released_tensors), tmp_path / "whole.safetensors")
    assert file.sha256 == whole.sha256


@pytest.mark.parametrize(
    "held",
    [
        lambda tensors: tensors,
        lambda tensors: {"model": tensors, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
        lambda tensors: {key: torch.nn.Parameter(value) for key, value in tensors.items()},
        lambda tensors: {"state_dict": tensors, "ema": tensors},
    ],
    ids=["bare", "under another name", "parameters", "beside others"],
)
def test_weights_are_found_wherever_they_stand(
    held: Callable[[dict[str, torch.Tensor]], object], released_tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(held(released_tensors), tmp_path / "other.pth")
    file = convert(tmp_path / "other.pth", tmp_path / "other.safetensors")
    whole = convert(write(tmp_path / "whole.pth", released_tensors), tmp_path / "whole.safetensors")
    assert file.sha256 == whole.sha256


def test_keys_of_a_network_trained_on_several_gpus_are_known(
    released_tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    behind = {f"module.{key}": value for key, value in released_tensors.items()}
    file = convert(write(tmp_path / "ddp.pth", behind), tmp_path / "ddp.safetensors")
    assert file.config.name == "released"


def test_the_common_picture_is_painted_by_the_head_that_was_asked_for(
    released_tensors: dict[str, torch.Tensor], oracle_sources: Sources, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.pth", released_tensors)
    by_unique = network_of(convert(source, tmp_path / "u.safetensors"))
    by_common = network_of(convert(source, tmp_path / "c.safetensors", "common"))
    with torch.inference_mode():
        one, other = by_unique(*oracle_sources(16, 16), embeddings=True), by_common(*oracle_sources(16, 16))
        assert torch.equal(one.common, by_unique.project_unique(one.f_c))
        assert torch.equal(other.common, by_common.project_common(one.f_c))
    assert not torch.equal(one.common, other.common)
    assert torch.equal(one.fused, other.fused)


def test_a_head_that_does_not_exist_is_refused(released_tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="comon"):
        convert(write(tmp_path / "a.pth", released_tensors), tmp_path / "a.safetensors", "comon")  # type: ignore[arg-type]


def test_missing_keys_are_listed(released_tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    cut = {key: value for key, value in released_tensors.items() if key != "fusion_rule.0.bias"}
    with pytest.raises(WeightsError, match=r"against `released`: fusion_rule\.0\.bias is missing$"):
        convert(write(tmp_path / "cut.pth", cut), tmp_path / "cut.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.pth"]


def test_foreign_keys_are_listed(released_tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    more = {**released_tensors, "classifier.weight": torch.zeros(2)}
    with pytest.raises(WeightsError, match=r"classifier\.weight is not known"):
        convert(write(tmp_path / "more.pth", more), tmp_path / "more.safetensors")


def test_tensors_of_another_shape_are_listed(released_tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    wide = {**released_tensors, "fusion_rule.0.bias": torch.zeros(4)}
    with pytest.raises(WeightsError, match=r"fusion_rule\.0\.bias is \[4\], expected \[3\]"):
        convert(write(tmp_path / "wide.pth", wide), tmp_path / "wide.safetensors")


def test_encoders_that_do_not_share_their_weights_are_refused(
    released_tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    apart = {**released_tensors, "encoder_lower.0.bias": torch.ones(16)}
    with pytest.raises(WeightsError, match=r"encoder_lower\.0\.bias"):
        convert(write(tmp_path / "apart.pth", apart), tmp_path / "apart.safetensors")


def test_a_long_list_of_keys_is_cut(tmp_path: Path) -> None:
    foreign = {f"layer{number}": torch.zeros(1) for number in range(40)}
    with pytest.raises(WeightsError, match=r"and \d+ more$"):
        convert(write(tmp_path / "foreign.pth", foreign), tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("held", "named"),
    [
        ([1, 2], "list"),
        ({"model": {}, "epoch": 3}, "model, epoch"),
        ({"state_dict": 3}, "state_dict"),
        ({"state_dict": {"encoder_upper.0.weight": 3}}, r"encoder_upper\.0\.weight is no tensor"),
        ({}, "holds nothing"),
        (torch.zeros(3), "Tensor"),
    ],
)
def test_a_torch_file_of_something_else_is_refused(held: object, named: str, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=named):
        convert(tmp_path / "odd.pth", tmp_path / "odd.safetensors")
    assert not (tmp_path / "odd.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"not a torch file", b"PK\x03\x04 cut short", b"\x80\x02}q\x00."])
def test_what_torch_did_not_write_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"odd\.pth"):
        convert(tmp_path / "odd.pth", tmp_path / "odd.safetensors")


def test_a_cut_checkpoint_is_refused(released_tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pth", released_tensors).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cut\.pth"):
        convert(tmp_path / "cut.pth", tmp_path / "cut.safetensors")


STEM = "encoder_upper.0.weight"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda stem: stem * torch.nan, "these tensors hold NaN, or more than float32 can: encoder_upper.0.weight;"),
        (lambda stem: stem.double() * 1e300, "these tensors hold NaN, or more than float32 can"),
        (torch.Tensor.to_sparse, "encoder_upper.0.weight is sparse"),
        (lambda stem: stem.to("meta"), "encoder_upper.0.weight is on the device `meta`"),
        (lambda stem: stem + 1j, "encoder_upper.0.weight is of complex64"),
        (torch.Tensor.int, "encoder_upper.0.weight is of int32"),
        (
            lambda stem: torch.zeros(1).expand(2**40),
            "encoder_upper.0.weight is [1099511627776], expected [16, 3, 3, 3]",
        ),
        (lambda stem: Strided(stem, 2**48), "the strides of a tensor reach beyond what the file holds"),
    ],
    ids=["nan", "too large", "sparse", "meta", "complex", "whole", "endless", "huge strides"],
)
def test_odd_tensors_are_told_at_once(
    spoil: Callable[[torch.Tensor], object], said: str, released_tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": {**released_tensors, STEM: spoil(released_tensors[STEM])}}, tmp_path / "odd.pth")
    began = time.process_time()
    with pytest.raises(WeightsError, match=re.escape(said)):
        convert(tmp_path / "odd.pth", tmp_path / "odd.safetensors")
    assert time.process_time() - began < 5
    assert not (tmp_path / "odd.safetensors").exists()


@pytest.mark.parametrize("old", [False, True])
def test_torchs_advice_to_run_code_is_not_repeated(old: bool, tmp_path: Path) -> None:
    held = {"state_dict": {}, "args": argparse.Namespace(lr=1)}
    torch.save(held, tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(WeightsError, match=r"it holds argparse\.Namespace, and to read that could run code") as told:
        convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert not re.search(r"weights_only|trust|safe_globals", str(told.value))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": Trap(str(tmp_path / "ran"))}}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="not a PyTorch file of plain weights"):
        convert(tmp_path / "trap.pth", tmp_path / "trap.safetensors")
    assert not (tmp_path / "ran").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pth: no such file"):
        convert(tmp_path / "none.pth", tmp_path / "none.safetensors")


class Strided:
    """A tensor whose strides claim a storage far larger than its own."""

    def __init__(self, tensor: torch.Tensor, step: int) -> None:
        self.storage = tensor._typed_storage()
        self.shape, self.strides = tuple(tensor.shape), (step, *tensor.stride()[1:])

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, self.shape, self.strides, False, OrderedDict())


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.path, "w")
