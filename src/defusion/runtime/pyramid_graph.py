"""The learned parts of the pyramid network, `defusion.model.blocks`, as OpenVINO graphs.

A graph serves any number of sources of any size: a batch [S, C, H, W] holds the sources of one scene.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from defusion.model.blocks import CLOSE_FEATURES, FEATURES, WIDTH, Blocks
from defusion.runtime.engine import Planes
from defusion.runtime.graph import named
from defusion.runtime.vino import Model, Node, PartialShape, op

Tensors = Mapping[str, NDArray[np.float32]]
Part = Literal["look", "state", "said"]


class Plane:
    """A node with the operators `+`, `-`, `*` and `/`. They also take plain numbers, which OpenVINO would read as
    float64.
    """

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
    """`defusion.model.ops.LayerOps` on OpenVINO nodes.

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

    def numbers(self, name: str) -> Sequence[float]:
        return [float(number) for number in self._tensors[name]]

    def relu(self, x: Plane) -> Plane:
        return Plane(op.relu(x.node))

    def concat(self, planes: Sequence[Plane]) -> Plane:
        return Plane(op.concat([each.node for each in planes], 1))

    def double(self, x: Plane) -> Plane:
        twice = op.constant(np.array([2, 2], np.float32))
        made = op.interpolate(x.node, twice, "linear_onnx", "scales", [0] * 4, [0] * 4, axes=op.constant([2, 3]))
        return Plane(made)

    def over_sources(self, x: Plane) -> Plane:
        return Plane(op.reduce_sum(x.node, op.constant([0]), keep_dims=True))

    def mean_over_sources(self, x: Plane) -> Plane:
        return Plane(op.reduce_mean(x.node, op.constant([0]), keep_dims=True))

    def each_source(self, x: Plane) -> Plane:
        return x  # it broadcasts


def build(
    tensors: Tensors, part: Part, *, name: str = "", with_coarser: bool = False, with_confidence: bool = False
) -> Model:
    """Builds a graph of a part of `Blocks`.

    Args:
        tensors: The weights.
        part: The method of `Blocks`.
        name: For `said`: the head that reads the state.
        with_coarser: For `state`: takes the state of the next coarser level.
        with_confidence: For `state`: takes confidence.

    Returns:
        A model whose inputs have the names of the method's arguments. Its outputs are `made`, or `said` and `scene`.
    """
    blocks: Blocks[Plane] = Blocks(VinoOps(tensors))
    channels = {"look": {"features": CLOSE_FEATURES}, "said": {"given": WIDTH}}.get(part, {"features": FEATURES})
    if with_coarser:
        channels["coarser"] = WIDTH
    if with_confidence:
        channels["confidence"] = 1
    inputs = {
        key: op.parameter(PartialShape([-1, count, -1, -1]), np.float32, name=key) for key, count in channels.items()
    }
    planes = {key: Plane(node) for key, node in inputs.items()}
    if part == "look":
        outputs = {"made": blocks.look(planes["features"])}
    elif part == "state":
        outputs = {"made": blocks.state(planes["features"], planes.get("coarser"), planes.get("confidence"))}
    else:
        said, scene = blocks.said(name, planes["given"])
        outputs = {"said": said, "scene": scene}
    return named("pyramid", inputs, {key: plane.node for key, plane in outputs.items()})


#: Runs the graph of a part on planes. The first two arguments are those of `build`.
Run = Callable[[Part, str, Mapping[str, Planes]], Mapping[str, Planes]]


class GraphBlocks:
    """`defusion.model.ops.Learned`, by graphs."""

    def __init__(self, tensors: Tensors, run: Run) -> None:
        self._numbers, self._run = VinoOps(tensors).numbers, run

    def look(self, features: Planes) -> Planes:
        return self._run("look", "", {"features": features})["made"]

    def state(self, features: Planes, coarser: Planes | None, confidence: Planes | None) -> Planes:
        given = {"features": features, "coarser": coarser, "confidence": confidence}
        return self._run("state", "", {key: planes for key, planes in given.items() if planes is not None})["made"]

    def said(self, name: str, state: Planes) -> tuple[Planes, Planes]:
        made = self._run("said", name, {"given": state})
        return made["said"], made["scene"]

    def by_energy(self, name: str) -> Sequence[float]:
        return self._numbers(f"{name}.energy")
