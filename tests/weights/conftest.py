"""The authors' checkpoint format, written from the table in shared/reference/network/README.md, not from our code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

Shapes = dict[str, tuple[int, ...]]

#: Key prefix, input width, output width, blocks in `released` and in `deep`, key of the shortcut's convolution.
STAGES = [
    ("encoder_upper.2.layer", 16, 32, 6, 6, "downsample.1"),
    ("upper_encoder_layer1.layer", 32, 64, 6, 6, "downsample.1"),
    ("upper_encoder_layer2.layer", 64, 128, 4, 4, "downsample.1"),
    ("upper_encoder_layer3.layer", 128, 256, 4, 4, "downsample.1"),
    ("common_encoder.0.layer", 512, 1024, 4, 4, "downsample.1"),
    ("decoder_common_layer1.layer", 1536, 256, 2, 4, "downsample.0"),
    ("decoder_common_layer2.layer", 512, 64, 2, 4, "downsample.0"),
    ("decoder_common_layer3.layer", 192, 16, 2, 6, "downsample.0"),
    ("decoder_common_layer4.0.layer", 16, 16, 2, 6, "downsample.0"),
    ("decoder_upper_layer1.layer", 1280, 384, 4, 4, "downsample.0"),
    ("decoder_upper_layer2.layer", 512, 128, 4, 4, "downsample.0"),
    ("decoder_upper_layer3.layer", 192, 64, 6, 6, "downsample.0"),
    ("decoder_upper_layer4.0.layer", 64, 16, 6, 6, "downsample.0"),
]
HEADS = ["decoder_upper_projection_layer.0", "decoder_common_projection_layer.0", "fusion_rule.0"]
UPPER_TO_LOWER = {
    "encoder_upper": "encoder_lower",
    "upper_encoder_layer": "lower_encoder_layer",
    "decoder_upper": "decoder_lower",
}


def _block(prefix: str, in_width: int, out: int, shortcut: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = out // 4
    hidden = max(width * 2 // 4, 32)
    yield f"{prefix}.conv1.weight", (width, in_width, 1, 1)
    yield f"{prefix}.conv2.conv.weight", (2 * width, width // 2, 3, 3)
    yield f"{prefix}.conv2.fc1.weight", (hidden, width, 1, 1)
    yield f"{prefix}.conv2.fc1.bias", (hidden,)
    yield f"{prefix}.conv2.fc2.weight", (2 * width, hidden, 1, 1)
    yield f"{prefix}.conv2.fc2.bias", (2 * width,)
    yield f"{prefix}.conv3.weight", (out, width, 1, 1)
    if in_width != out:
        yield f"{prefix}.{shortcut}.weight", (out, in_width, 1, 1)


def authors_shapes(layout: str) -> Shapes:
    """Every key of a checkpoint of the authors' without its aliases, with its shape."""
    shapes: Shapes = {"encoder_upper.0.weight": (16, 3, 3, 3), "encoder_upper.0.bias": (16,)}
    for prefix, in_width, out, released, deep, shortcut in STAGES:
        for block in range(deep if layout == "deep" else released):
            shapes.update(_block(f"{prefix}.{block}", in_width if block == 0 else out, out, shortcut))
    for head in HEADS:
        shapes.update({f"{head}.weight": (3, 16, 3, 3), f"{head}.bias": (3,)})
    return shapes


def lower_twin(key: str) -> str | None:
    """The alias under which a published file holds a shared tensor a second time."""
    return next((low + key.removeprefix(up) for up, low in UPPER_TO_LOWER.items() if key.startswith(up)), None)


def rng_for(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def authors_tensors(layout: str) -> dict[str, torch.Tensor]:
    """Weights by the oracle's rule, aliases among them."""
    tensors = {}
    for key, shape in authors_shapes(layout).items():
        scale = np.sqrt(1.4 / np.prod(shape[1:])) if len(shape) > 1 else 0.05
        tensors[key] = torch.from_numpy((rng_for(key).standard_normal(shape) * scale).astype(np.float32))
        if (twin := lower_twin(key)) is not None:
            tensors[twin] = tensors[key]
    return tensors


@pytest.fixture(scope="session")
def key_shapes() -> Callable[[str], Shapes]:
    """Gives the keys and shapes of a published file, aliases among them."""

    def of(layout: str) -> Shapes:
        shapes = authors_shapes(layout)
        return {**shapes, **{twin: shapes[key] for key in shapes if (twin := lower_twin(key)) is not None}}

    return of


@pytest.fixture(scope="session", params=["released", "deep"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the authors publish it, named after its layout."""
    path = tmp_path_factory.mktemp("authors") / f"{request.param}.pth"
    torch.save({"state_dict": authors_tensors(request.param)}, path)
    return path


@pytest.fixture(scope="session")
def released_tensors() -> dict[str, torch.Tensor]:
    return authors_tensors("released")


@pytest.fixture(scope="session")
def oracle_sources() -> Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]:
    """Makes the oracle's input images of a height and width."""

    def make(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = (torch.from_numpy(rng_for(name).random((1, 3, height, width)).astype(np.float32)) for name in "ab")
        return a, b

    return make
