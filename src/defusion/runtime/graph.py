"""DeFusion as an OpenVINO graph, built layer by layer from a weights file.

It computes what `defusion.model.network` computes, with four identities that save full-resolution work:

- A 1x1 convolution commutes with bilinear upsampling, so it runs before it, on a quarter of the pixels.
- A convolution of a concatenation is a sum of convolutions, so nothing is concatenated, and what both sources
  share is convolved once.
- The softmax of two numbers is the logistic function of their difference.
- The plane's average is linear: it is taken of each branch, not of their sum.

Sources travel as one batch [2, 3, H, W], so that encoder and unique decoder run once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from openvino import Model, Node, PartialShape
from openvino import opset13 as op
from openvino.opset1 import max_pool  # later ones also give the places of the maxima

from defusion.model.config import (
    LARGEST_GAIN,
    PYRAMID_OCTAVES,
    PYRAMID_SOFTNESS,
    RADIX,
    HeadName,
    NetworkConfig,
    Stage,
    size_multiple,
)

if TYPE_CHECKING:
    Tensors = Mapping[str, NDArray[np.float32]]


Outputs = Literal["fused", "pictures", "attention"]


class Part(NamedTuple):
    """One of the inputs that a decoder stage sees side by side."""

    node: Node
    width: int
    upsample: bool = False


def build(
    config: NetworkConfig, tensors: Tensors, head: HeadName, outputs: Outputs, *, attention_given: bool
) -> Model:
    """Builds the graph of a network for one pair of sources of any size divisible by eight.

    Args:
        config: The network's shapes.
        tensors: Its weights, by the names of `DeFusion.state_dict`.
        head: Reconstruction head.
        outputs: The fused picture, all pictures, or the weights of every split attention.
        attention_given: Take these weights as inputs, instead of reading them off the planes.

    Returns:
        A model with the input `sources`, [2, 3, H, W]. Its outputs are `fused`, [1, 3, H, W], and with all
        pictures `common`, [1, 3, H, W], and `uniques`, [2, 3, H, W]; head `pyramid` gives `fused` at a larger
        multiple. Weights of split attention, as outputs or inputs, are `attention_0`, `attention_1` and on.
    """
    return _Builder(config, tensors, attention_given).model(head, outputs)


class _Builder:
    def __init__(self, config: NetworkConfig, tensors: Tensors, attention_given: bool) -> None:
        self.config = config
        self.tensors = tensors
        self.attention_given = attention_given
        self.attentions: list[Node] = []

    def model(self, head: HeadName, outputs: Outputs) -> Model:
        config = self.config
        sources = op.parameter(PartialShape([2, 3, -1, -1]), np.float32, name="sources")
        half, quarter, eighth = self.encoder(sources)
        ensembled = self.layer("ensembler", [_both(eighth, config.encoder[3])], config.ensembler)
        width = config.ensembler.width
        f_c = self.decoder(
            "common_decoder",
            Part(ensembled, width),
            [
                _both(half, config.encoder[1]),
                _both(quarter, config.encoder[2]),
                _both(eighth, config.encoder[3]),
            ],
            config.common_decoder,
        )
        f_u = self.decoder(
            "unique_decoder",
            Part(ensembled, width),
            [
                Part(half, config.encoder[1].width),
                Part(quarter, config.encoder[2].width),
                Part(eighth, config.encoder[3].width),
            ],
            config.unique_decoder,
        )
        merged = op.add(f_c, _over_sources(f_u))
        attentions = {f"attention_{layer}": node for layer, node in enumerate(self.attentions)}
        inputs = {"sources": sources, **(attentions if self.attention_given else {})}
        if outputs == "attention":
            results = attentions
        elif head == "blend":
            results = {"fused": self.blend(sources, f_u, merged)}
        elif head == "pyramid":
            results = {"fused": self.pyramid(sources, f_u)}
        else:
            results = {"fused": self.head("project_fused", merged)}
        if outputs == "pictures":
            results["common"] = self.head(f"project_{config.common_projection}", f_c)
            results["uniques"] = self.head("project_unique", f_u)
        for name, node in {**inputs, **results}.items():
            node.output(0).set_names({name})
        return Model([op.result(node) for node in results.values()], list(inputs.values()), f"defusion_{config.name}")

    def encoder(self, sources: Node) -> tuple[Node, Node, Node]:
        full, half, quarter, eighth = self.config.encoder
        x = op.relu(self.conv("encoder.stem", sources, pad=1))
        x = self.layer("encoder.scale1", [Part(x, self.config.stem)], full, smooth=True)
        x = max_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], "floor")
        at_half = self.layer("encoder.scale2", [Part(x, full.width)], half)
        at_quarter = self.layer("encoder.scale4", [Part(at_half, half.width)], quarter, stride=2)
        return (
            at_half,
            at_quarter,
            self.layer("encoder.scale8", [Part(at_quarter, quarter.width)], eighth, stride=2),
        )

    def decoder(self, name: str, ensembled: Part, features: list[Part], stages: tuple[Stage, ...]) -> Node:
        half, quarter, eighth = features
        x = self.layer(f"{name}.scale8", [ensembled, eighth], stages[0])
        x = self.layer(f"{name}.scale4", [Part(x, stages[0].width, upsample=True), quarter], stages[1])
        x = self.layer(f"{name}.scale2", [Part(x, stages[1].width, upsample=True), half], stages[2])
        return self.layer(f"{name}.scale1", [Part(x, stages[2].width, upsample=True)], stages[3])

    def layer(self, name: str, parts: list[Part], stage: Stage, *, stride: int = 1, smooth: bool = False) -> Node:
        x = self.bottleneck(f"{name}.0", parts, stride=stride, smooth=smooth)
        for block in range(1, stage.blocks):
            x = self.bottleneck(f"{name}.{block}", [Part(x, stage.width)])
        return x

    def bottleneck(self, name: str, parts: list[Part], *, stride: int = 1, smooth: bool = False) -> Node:
        x = self.attention(f"{name}.attention", op.relu(self.pointwise(f"{name}.conv_in", parts)))
        if stride > 1 or smooth:
            x = op.avg_pool(x, [stride] * 2, [1, 1], [1, 1], [3, 3], False)
        x = _convolution(x, np.concatenate([self.tensors[f"{name}.conv_out.weight"]] * RADIX, 1))
        if f"{name}.shortcut.1.weight" not in self.tensors:
            (part,) = parts
            return op.relu(op.add(x, _up(part.node) if part.upsample else part.node))
        if stride > 1:
            parts = [
                part._replace(node=op.avg_pool(part.node, [stride] * 2, [0, 0], [0, 0], [stride] * 2, True, "ceil"))
                for part in parts
            ]
        return op.relu(op.add(x, self.pointwise(f"{name}.shortcut.1", parts)))

    def attention(self, name: str, x: Node) -> Node:
        """The weighted branches, not yet summed: the 1x1 convolution that follows does that."""
        branches = op.relu(self.conv(f"{name}.conv", x, pad=1, groups=RADIX))
        if self.attention_given:
            sources, channels = branches.output(0).partial_shape[:2]
            weights = op.parameter(PartialShape([sources, channels, 1, 1]), np.float32)
        else:
            weights = self.attention_weights(name, branches)
        self.attentions.append(weights)
        return op.multiply(branches, weights)

    def attention_weights(self, name: str, branches: Node) -> Node:
        """The weights of both branches, [S, 2C, 1, 1], read off their average."""
        context = op.reduce_mean(branches, op.constant([2, 3]), keep_dims=True)
        # The first layer sums the branches by having its weights twice.
        hidden = op.relu(
            _convolution(
                context,
                np.concatenate([self.tensors[f"{name}.squeeze.weight"]] * RADIX, 1),
                self.tensors[f"{name}.squeeze.bias"],
            )
        )
        first, second = np.split(self.tensors[f"{name}.excite.weight"], RADIX)
        bias_1, bias_2 = np.split(self.tensors[f"{name}.excite.bias"], RADIX)
        logits = _convolution(
            hidden,
            np.concatenate([first - second, second - first]),
            np.concatenate([bias_1 - bias_2, bias_2 - bias_1]),
        )
        return op.sigmoid(logits)

    def pointwise(self, name: str, parts: list[Part]) -> Node:
        """A 1x1 convolution of parts side by side."""
        weight = self.tensors[f"{name}.weight"]
        total: Node | None = None
        start = 0
        for part in parts:
            piece = _convolution(part.node, weight[:, start : start + part.width])
            piece = _up(piece) if part.upsample else piece
            total = piece if total is None else op.add(total, piece)
            start += part.width
        assert total is not None
        return total

    def conv(self, name: str, x: Node, *, pad: int = 0, groups: int = 1) -> Node:
        return _convolution(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"), pad, groups)

    def head(self, name: str, embedding: Node) -> Node:
        return op.relu(self.conv(f"{name}.conv", embedding, pad=1))

    def blend(self, sources: Node, f_u: Node, merged: Node) -> Node:
        score, gain = op.split(self.score_and_gain(f_u), 1, 2).outputs()
        gain = op.exp(op.multiply(op.tanh(gain), np.float32(np.log(LARGEST_GAIN))))
        one = np.float32(1)
        levelled = op.divide(op.multiply(gain, sources), op.add(op.multiply(op.subtract(gain, one), sources), one))
        chosen = _over_sources(op.multiply(op.softmax(score, 0), levelled))
        return op.add(chosen, self.conv("blend.residual", merged, pad=1))

    def score_and_gain(self, f_u: Node) -> Node:
        """Both layers as one convolution: f_u is read once."""
        weight, bias = (
            np.concatenate([self.tensors[f"blend.{layer}.{kind}"] for layer in ("score", "gain")])
            for kind in ("weight", "bias")
        )
        return _convolution(f_u, weight, bias, pad=1)

    def pyramid(self, sources: Node, f_u: Node) -> Node:
        weight, bias = (
            self.tensors[f"blend.score.{kind}"] / np.float32(PYRAMID_SOFTNESS) for kind in ("weight", "bias")
        )
        sources, score = (_padded(x, size_multiple("pyramid")) for x in (sources, _convolution(f_u, weight, bias, 1)))
        weights = op.softmax(score, 0)
        details = []
        for _ in range(PYRAMID_OCTAVES):
            coarse = _halve(sources)
            detail = op.subtract(sources, _up(coarse))
            details.append(_over_sources(op.multiply(weights, detail)))
            sources, weights = coarse, _halve(weights)
        fused = _over_sources(op.multiply(weights, sources))
        for detail in reversed(details):
            fused = op.add(_up(fused), detail)
        return fused


def _over_sources(x: Node) -> Node:
    """The sum over both sources: [2, C, H, W] to [1, C, H, W]."""
    return op.reduce_sum(x, op.constant([0]), keep_dims=True)


def _halve(x: Node) -> Node:
    return op.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True)


def _padded(x: Node, multiple: int) -> Node:
    """Repeats the right and bottom edge up to a multiple of a size."""
    missing = op.floor_mod(op.negative(op.shape_of(x)), op.constant(np.array([1, 1, multiple, multiple])))
    return op.pad(x, op.constant(np.zeros(4, np.int64)), missing, "edge")


def _both(features: Node, stage: Stage) -> Part:
    """Features of both sources, [2, C, H, W], side by side: [1, 2C, H, W]."""
    shape = op.shape_of(features)
    plane = op.gather(shape, op.constant([2, 3]), op.constant(0))
    target = op.concat([op.constant(np.array([1, 2 * stage.width])), plane], 0)
    return Part(op.reshape(features, target, special_zero=False), 2 * stage.width)


def _convolution(
    x: Node,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
    pad: int = 0,
    groups: int = 1,
) -> Node:
    window = ([1, 1], [pad, pad], [pad, pad], [1, 1])
    if groups == 1:
        y = op.convolution(x, op.constant(np.ascontiguousarray(weight)), *window)
    else:
        grouped = weight.reshape(groups, -1, *weight.shape[1:])
        y = op.group_convolution(x, op.constant(np.ascontiguousarray(grouped)), *window)
    return y if bias is None else op.add(y, op.constant(bias.reshape(1, -1, 1, 1)))


def _up(x: Node) -> Node:
    """Bilinear, twice the size, corners not aligned."""
    return op.interpolate(
        x,
        op.constant(np.array([2.0, 2.0], np.float32)),
        "linear_onnx",
        "scales",
        coordinate_transformation_mode="half_pixel",
        axes=op.constant(np.array([2, 3])),
    )
