"""The pyramid network as OpenVINO graphs: `defusion.model.pyramid`, run by OpenVINO's operations.

A graph serves any number of sources of any size: one batch [S, 3, H, W] holds the sources of one scene. Planes may
come out of a convolution with their channels last, where few of them are worked on slowly; so what is doubled or
smoothed is put back in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from defusion.model.pyramid import WIDTH, Coarser, PyramidNet
from defusion.runtime.graph import named
from defusion.runtime.vino import Model, Node, PartialShape, op

Tensors = Mapping[str, NDArray[np.float32]]


class Plane:
    """A node that `+`, `-`, `*` and `/` work on, also with numbers, which OpenVINO would take for float64."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __add__(self, other: Plane | float) -> Plane:
        return Plane(op.add(self.node, _operand(other)))

    def __sub__(self, other: Plane | float) -> Plane:
        return Plane(op.subtract(self.node, _operand(other)))

    def __mul__(self, other: Plane | float) -> Plane:
        return Plane(op.multiply(self.node, _operand(other)))

    def __truediv__(self, other: Plane | float) -> Plane:
        return Plane(op.divide(self.node, _operand(other)))


def _operand(value: Plane | float) -> Node | np.float32:
    return value.node if isinstance(value, Plane) else np.float32(value)


class VinoOps:
    """`defusion.model.ops.Ops` on OpenVINO's nodes. A batch holds the sources of one scene.

    Args:
        tensors: The weights, by their names.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def conv(self, x: Plane, name: str, *, dilation: int = 1) -> Plane:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        margin = dilation * (weight.shape[2] // 2)
        made = op.convolution(x.node, op.constant(weight), [1, 1], [margin] * 2, [margin] * 2, [dilation] * 2)
        return Plane(op.add(made, op.constant(bias.reshape(1, -1, 1, 1))))

    def number(self, name: str, index: int) -> float:
        return float(self._tensors[name][index])

    def relu(self, x: Plane) -> Plane:
        return Plane(op.relu(x.node))

    def sigmoid(self, x: Plane) -> Plane:
        return Plane(op.sigmoid(x.node))

    def log(self, x: Plane) -> Plane:
        return Plane(op.log(x.node))

    def exp(self, x: Plane) -> Plane:
        return Plane(op.exp(x.node))

    def sqrt(self, x: Plane) -> Plane:
        return Plane(op.sqrt(op.relu(x.node)))

    def clamp(self, x: Plane, low: float, high: float) -> Plane:
        return Plane(op.clamp(x.node, low, high))

    def channels(self, x: Plane, start: int, stop: int) -> Plane:
        ends = (op.constant([start]), op.constant([stop]), op.constant([1]), op.constant([1]))
        return Plane(op.slice(x.node, *ends))

    def concat(self, planes: Sequence[Plane]) -> Plane:
        return Plane(op.concat([each.node for each in planes], 1))

    def mean(self, x: Plane) -> Plane:
        return Plane(op.reduce_mean(x.node, op.constant([1]), keep_dims=True))

    def most(self, x: Plane) -> Plane:
        return Plane(op.reduce_max(x.node, op.constant([1]), keep_dims=True))

    def least(self, x: Plane) -> Plane:
        return Plane(op.reduce_min(x.node, op.constant([1]), keep_dims=True))

    def halve(self, x: Plane) -> Plane:
        return Plane(op.avg_pool(x.node, [2, 2], [0, 0], [0, 0], [2, 2], True))

    def double(self, x: Plane) -> Plane:
        twice = op.constant(np.array([2, 2], np.float32))
        made = op.interpolate(x.node, twice, "linear_onnx", "scales", [0] * 4, [0] * 4, axes=op.constant([2, 3]))
        return Plane(made)

    def blur(self, x: Plane) -> Plane:
        margins = op.constant([0, 0, 1, 1])
        node = op.pad(x.node, margins, margins, "edge")
        for _ in range(2):
            node = op.avg_pool(node, [1, 1], [0, 0], [0, 0], [2, 2], True)
        return Plane(node)

    def fold(self, x: Plane) -> Plane:
        return Plane(op.space_to_depth(x.node, "depth_first", 2))

    def unfold(self, x: Plane) -> Plane:
        return Plane(op.depth_to_space(x.node, "depth_first", 2))

    def over_sources(self, x: Plane) -> Plane:
        return Plane(op.reduce_sum(x.node, op.constant([0]), keep_dims=True))

    def mean_over_sources(self, x: Plane) -> Plane:
        return Plane(op.reduce_mean(x.node, op.constant([0]), keep_dims=True))

    def most_of_sources(self, x: Plane) -> Plane:
        return Plane(op.reduce_max(x.node, op.constant([0]), keep_dims=True))

    def each_source(self, x: Plane) -> Plane:
        return x  # it broadcasts


def build(
    tensors: Tensors,
    count: int,
    *,
    with_confidence: bool,
    goes_on: bool,
    closely: bool,
    parts: bool,
    stateless: int = 1,
) -> Model:
    """Builds a graph of the network; see `PyramidNet.forward`.

    Args:
        tensors: The weights.
        count: Number of levels of detail.
        with_confidence: Takes `confidence`, [S, 1, H, W].
        goes_on: Takes what is known of coarser levels: `coarser.state`, [S, C, h, w], and `coarser.made0` (and
            `coarser.made1`). No output may have the name of an input: a graph from the cache would lack it.
        closely: Looks at full size.
        parts: Makes the common and the unique parts in place of the fused picture.
        stateless: How many of the finest levels have no state of their own.

    Returns:
        A model with the input `sources`, [S, 3, H, W], H and W multiples of 2^count. Its outputs are those of
        `Decided`, by their names.
    """
    inputs = {"sources": _plane("sources", 3)}
    if with_confidence:
        inputs["confidence"] = _plane("confidence", 1)
    if goes_on:
        inputs["coarser.state"] = _plane("coarser.state", WIDTH)
        inputs |= {f"coarser.made{number}": _plane(f"coarser.made{number}", 3) for number in range(1 + parts)}
    planes = {name: Plane(node) for name, node in inputs.items()}
    coarser = None
    if goes_on:
        coarser = Coarser(
            planes["coarser.state"], tuple(planes[f"coarser.made{number}"] for number in range(1 + parts))
        )
    made = PyramidNet(VinoOps(tensors)).forward(
        planes["sources"],
        planes.get("confidence"),
        count,
        coarser=coarser,
        closely=closely,
        parts=parts,
        stateless=stateless,
    )
    finest = made.votes[-1]
    outputs = {f"made{number}": plane for number, plane in enumerate(made.made)}
    outputs |= {f"before{number}": plane for number, plane in enumerate(made.coarser.made)}
    outputs |= {"state": made.coarser.state, "weight": finest.weight}
    if closely:
        outputs |= {"by_mask": finest.by_mask, "trusted": made.closely.confidence}
    return named("pyramid", inputs, {name: plane.node for name, plane in outputs.items()})


def _plane(name: str, channels: int) -> Node:
    return op.parameter(PartialShape([-1, channels, -1, -1]), np.float32, name=name)
