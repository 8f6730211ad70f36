"""The learned parts of the pyramid network, `defusion.model.blocks`, as OpenVINO graphs.

A graph serves any number of sources of any size: a batch [S, C, H, W] holds the sources of one scene. States, which
only graphs read, have the layout of the kernels: [S, H, W, C].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from defusion.model.blocks import CLOSE_FEATURES, FEATURES, WIDTH, Blocks, check_shapes
from defusion.runtime.engine import Planes
from defusion.runtime.graph import named
from defusion.runtime.vino import Model, Node, PartialShape, op

Tensors = Mapping[str, NDArray[np.float32]]
Part = Literal["look", "state"]


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

    def halve(self, x: Plane) -> Plane:
        return Plane(op.avg_pool(x.node, [2, 2], [0, 0], [0, 0], [2, 2], True))

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


def build(tensors: Tensors, part: Part, *, with_coarser: bool = False, with_confidence: bool = False) -> Model:
    """Builds a graph of a part of `Blocks`.

    Args:
        tensors: The weights.
        part: The method of `Blocks`.
        with_coarser: For `state`: takes the state of the next coarser level.
        with_confidence: For `state`: takes confidence.

    Returns:
        A model whose inputs have the names of the method's arguments. Its output is `made`. States are [S, H, W, C].
    """
    blocks: Blocks[Plane] = Blocks(VinoOps(tensors))
    shapes = {"features": [-1, CLOSE_FEATURES if part == "look" else FEATURES, -1, -1]}
    if with_coarser:
        shapes["coarser"] = [-1, -1, -1, WIDTH]
    if with_confidence:
        shapes["confidence"] = [-1, 1, -1, -1]
    inputs = {key: op.parameter(PartialShape(shape), np.float32, name=key) for key, shape in shapes.items()}
    planes = {key: Plane(node) for key, node in inputs.items()}
    if part == "look":
        made = blocks.look(planes["features"])
    else:
        coarser = Plane(op.transpose(inputs["coarser"], op.constant([0, 3, 1, 2]))) if with_coarser else None
        state = blocks.state(planes["features"], coarser, planes.get("confidence"))
        made = Plane(op.transpose(state.node, op.constant([0, 2, 3, 1])))
    return named("pyramid", inputs, {"made": made.node})


#: Runs the graph of a part on planes, by the names of its inputs.
Run = Callable[[Part, Mapping[str, Planes]], Planes]


class GraphBlocks:
    """`defusion.model.ops.Learned` by graphs. Layers that only read a state run by numpy, which is faster.

    Raises:
        WeightsError: The tensors are not those of this network.
    """

    def __init__(self, tensors: Tensors, run: Run) -> None:
        from defusion.runtime.array_ops import ArrayLayers  # this imports OpenCV

        check_shapes(tensors)
        self._run = run
        self._blocks = Blocks(ArrayLayers(tensors))

    def look(self, features: Planes) -> Planes:
        return self._run("look", {"features": features})

    def state(self, features: Planes, coarser: Planes | None, confidence: Planes | None) -> Planes:
        before = None if coarser is None else coarser.transpose(0, 2, 3, 1)
        given = {"features": features, "coarser": before, "confidence": confidence}
        # Parts of larger arrays are copied, since OpenVINO does not take them.
        whole = {key: np.ascontiguousarray(planes) for key, planes in given.items() if planes is not None}
        made = self._run("state", whole)
        return made.transpose(0, 3, 1, 2)

    def said(self, name: str, state: Planes) -> tuple[Planes, Planes]:
        return self._blocks.said(name, state)

    def by_energy(self, name: str) -> Sequence[float]:
        return self._blocks.by_energy(name)
