"""The network as a function: sizes, outputs, and what each source can and cannot change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from defusion.errors import ImageError, WeightsError
from defusion.model import CONFIGS, DeFusion
from defusion.model.network import Bottleneck, SplitAttention
from defusion.weights import WeightsFile, save


@pytest.fixture(scope="module")
def small(small_weights: WeightsFile) -> DeFusion:
    return DeFusion.of_tensors(CONFIGS["small"], small_weights.tensors())


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def sources(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed))
    return a, b


def test_split_attention_is_what_the_resnest_paper_says() -> None:
    torch.manual_seed(0)
    layer = SplitAttention(4)
    x = torch.rand(2, 4, 5, 6)
    # Written out branch by branch, channel by channel, in numpy.
    kernels = layer.conv.weight.numpy().astype(np.float64)  # [8, 2, 3, 3]
    padded = np.pad(x.numpy().astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    branches = np.zeros((2, 8, 5, 6))
    for out in range(8):
        for channel in range(2):
            for i in range(3):
                for j in range(3):
                    seen = padded[:, channel + 2 * (out // 4), i : i + 5, j : j + 6]
                    branches[:, out] += kernels[out, channel, i, j] * seen
    branches = np.maximum(branches, 0).reshape(2, 2, 4, 5, 6)  # batch, branch, channel
    context = branches.sum(1).mean((2, 3))
    squeeze, excite = (
        (dense.weight.numpy()[:, :, 0, 0], dense.bias.numpy()) for dense in (layer.squeeze, layer.excite)
    )
    hidden = np.maximum(context @ squeeze[0].T + squeeze[1], 0)
    logits = np.exp(hidden @ excite[0].T + excite[1]).reshape(2, 2, 4)
    expected = (branches * (logits / logits.sum(1, keepdims=True))[..., None, None]).sum(1)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_block_without_residual_is_its_shortcut() -> None:
    block = Bottleneck(8, 8)
    nn.init.zeros_(block.conv_out.weight)
    x = torch.rand(1, 8, 6, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (8, 8), (33, 70), (64, 9)])
def test_pictures_come_back_at_the_size_of_the_sources(small: DeFusion, height: int, width: int) -> None:
    made = small(*sources(2, 3, height, width))
    for picture in (made.common, made.unique_a, made.unique_b, made.fused):
        assert picture.shape == (2, 3, height, width)
        assert torch.isfinite(picture).all()


def test_padding_repeats_the_edge(small: DeFusion) -> None:
    a, b = sources(1, 3, 13, 18)
    padded = [nn.functional.pad(x, (0, 6, 0, 3), mode="replicate") for x in (a, b)]
    made, of_padded = small(a, b), small(*padded)
    for found, expected in zip(made[:4], of_padded[:4], strict=True):
        torch.testing.assert_close(found, expected[..., :13, :18], rtol=0, atol=0)


def test_embeddings_come_only_when_asked_for(small: DeFusion) -> None:
    plain = small(*sources(1, 3, 16, 24))
    asked = small(*sources(1, 3, 16, 24), embeddings=True)
    assert (plain.f_c, plain.f_u1, plain.f_u2) == (None, None, None)
    for embedding in (asked.f_c, asked.f_u1, asked.f_u2):
        assert embedding.shape == (1, small.config.embedding, 16, 24)
    assert torch.equal(plain.fused, asked.fused)


def test_pictures_are_projections_of_the_embeddings(small: DeFusion) -> None:
    made = small(*sources(1, 3, 16, 24), embeddings=True)
    assert torch.equal(made.common, small.project_common(made.f_c))
    assert torch.equal(made.unique_a, small.project_unique(made.f_u1))
    assert torch.equal(made.unique_b, small.project_unique(made.f_u2))
    assert torch.equal(made.fused, small.project_fused(made.f_c + made.f_u1 + made.f_u2))


def test_scenes_of_a_batch_do_not_see_each_other(small: DeFusion) -> None:
    a, b = sources(3, 3, 16, 16)
    whole = small(a, b)
    for scene in range(3):
        alone = small(a[scene : scene + 1], b[scene : scene + 1])
        for together, single in zip(whole[:4], alone[:4], strict=True):
            torch.testing.assert_close(together[scene : scene + 1], single, rtol=1e-4, atol=1e-4)


def test_equal_sources_have_equal_uniques(small: DeFusion) -> None:
    a, _ = sources(1, 3, 16, 16)
    made = small(a, a)
    assert torch.equal(made.unique_a, made.unique_b)


def test_each_unique_picture_follows_its_own_source(small: DeFusion) -> None:
    a, b = sources(1, 3, 16, 16)
    before, after = small(a, b), small(a, 1 - b)
    assert (before.unique_b - after.unique_b).abs().mean() > (before.unique_a - after.unique_a).abs().mean()


def test_common_projection_says_which_head_paints_the_common_picture(small: DeFusion) -> None:
    other = DeFusion(replace(small.config, common_projection="unique"))
    other.load_state_dict(small.state_dict())
    made = other(*sources(1, 3, 16, 16), embeddings=True)
    assert torch.equal(made.common, small.project_unique(made.f_c))
    assert not torch.equal(made.common, small.project_common(made.f_c))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1, 3, 8, 8), (1, 3, 8, 9)),
        ((1, 3, 8, 8), (2, 3, 8, 8)),
        ((1, 1, 8, 8), (1, 1, 8, 8)),
        ((3, 8, 8), (3, 8, 8)),
    ],
)
def test_sources_of_other_shapes_are_refused(small: DeFusion, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"expected twice the same \[N, 3, H, W\]"):
        small(torch.zeros(a), torch.zeros(b))


def test_tensors_that_do_not_fit_their_own_config_are_refused(small: DeFusion, tmp_path: Path) -> None:
    tensors = {key: value.numpy() for key, value in small.state_dict().items()}
    del tensors["encoder.stem.weight"]
    file = save(tmp_path / "cut.safetensors", tensors, small.config, {})
    with pytest.raises(WeightsError, match=r"encoder\.stem\.weight"):
        DeFusion.of_tensors(small.config, file.tensors())


def test_a_loaded_network_is_float32_and_in_eval_mode(small_weights: WeightsFile, tmp_path: Path) -> None:
    halves = {key: value.astype(np.float16) for key, value in small_weights.tensors().items()}
    file = save(tmp_path / "half.safetensors", halves, small_weights.config, {})
    network = DeFusion.of_tensors(CONFIGS["small"], file.tensors())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not network.training
