"""The learned part of the pyramid network: convolutions that read features of the sources.

Each block splits its embeddings into what the sources share and what each has alone (paper, eq. 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from numpy.typing import NDArray

from defusion.errors import WeightsError
from defusion.model.ops import LayerOps, P, mean_of_sources

#: Channels for each source: of its state at a level; of the close look, which treats 2x2 pixels as one; and of its
#: layer that computes the four pixels separately.
WIDTH = 24
CLOSE_WIDTH = 16
PIXELS_WIDTH = 32

#: Number of features of a level and of the close look; see `PyramidNet.features` and `PyramidNet.look_closely`.
FEATURES = 10
CLOSE_FEATURES = 13

#: How many numbers a head reads from the state for each source and for the scene; see `PyramidNet.level_weights`.
#: The base, the levels with a state and the fine levels have a head each.
HEADS = {"base": (5, 1), "level": (4, 2), "fine": (4, 2)}


class Blocks(Generic[P]):
    """`defusion.model.ops.Learned`, made of an engine's convolutions, which hold the weights."""

    def __init__(self, ops: LayerOps[P]) -> None:
        self.ops = ops

    def look(self, features: P) -> P:
        """Returns the outputs of the close look. It compares the sources at half the size of its features."""
        ops = self.ops
        embedding = ops.relu(ops.conv(features, "close.embed"))
        common, unique = common_and_unique(ops, ops.halve(embedding), None)
        state = ops.relu(ops.conv(unique, "close.unique") + ops.each_source(ops.conv(common, "close.common")))
        state = state + ops.relu(ops.conv(state, "close.far", dilation=2))
        state = state + ops.relu(ops.conv(state, "close.farther", dilation=2))
        near = ops.relu(ops.conv(embedding + ops.double(state), "close.near"))
        pixels = ops.relu(ops.conv(ops.concat([near, features]), "close.pixels"))
        return ops.conv(pixels, "close.head")

    def state(self, features: P, coarser: P | None, confidence: P | None) -> P:
        """Returns the state of each source at a level."""
        ops = self.ops
        embedding = ops.conv(features, "embed")
        if coarser is not None:
            embedding = embedding + ops.double(ops.conv(coarser, "carry"))
        common, unique = common_and_unique(ops, ops.relu(embedding), confidence)
        state = ops.relu(ops.conv(unique, "unique") + ops.each_source(ops.conv(common, "common")))
        deeper: P = state + ops.relu(ops.conv(state, "state"))
        return deeper

    def by_energy(self, name: str) -> Sequence[Any]:
        """Returns the factors of energy that do not depend on the state."""
        return self.ops.numbers(f"{name}.energy")

    def said(self, name: str, state: P) -> tuple[P, P]:
        """Returns what a head reads from the state: for each source, and for the scene."""
        ops = self.ops
        return ops.conv(state, f"{name}.source"), ops.conv(ops.mean_over_sources(state), f"{name}.scene")


def common_and_unique(ops: LayerOps[P], embedding: P, confidence: P | None) -> tuple[P, P]:
    """Splits embeddings into what the sources share and what each has alone (paper, eq. 2)."""
    common = mean_of_sources(ops, embedding, confidence)
    return common, embedding - ops.each_source(common)


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight, by its name."""
    convolutions = {
        "close.embed": (CLOSE_WIDTH, CLOSE_FEATURES, 3),
        **{f"close.{name}": (CLOSE_WIDTH, CLOSE_WIDTH, 3) for name in ("unique", "common", "far", "farther", "near")},
        "close.pixels": (PIXELS_WIDTH, CLOSE_WIDTH + CLOSE_FEATURES, 1),
        "close.head": (8, PIXELS_WIDTH, 1),
        "embed": (WIDTH, FEATURES, 3),
        "carry": (WIDTH, WIDTH, 1),
        "unique": (WIDTH, WIDTH, 3),
        "common": (WIDTH, WIDTH, 3),
        "state": (WIDTH, WIDTH, 3),
        **{f"{name}.source": (of_source, WIDTH, 1) for name, (of_source, _) in HEADS.items()},
        **{f"{name}.scene": (of_scene, WIDTH, 1) for name, (_, of_scene) in HEADS.items()},
    }
    found: dict[str, tuple[int, ...]] = {"close.energy": (1,)}
    found |= {f"{name}.energy": (2,) for name in HEADS}
    for name, (out, into, side) in convolutions.items():
        found |= {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}
    return found


def check_shapes(tensors: Mapping[str, NDArray[Any]]) -> None:
    """Raises if tensors, by name, are not those of the network.

    Raises:
        WeightsError: A tensor is missing, is not known, or has another shape.
    """
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes():
        raise WeightsError(
            "these weights are not those of the pyramid network of this version; give weights that it has trained"
        )
