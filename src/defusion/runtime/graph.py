"""The paper's network as an OpenVINO graph, built layer by layer from a weights file.

It computes what `defusion.model.network` computes. Some identities save work:

- A 1x1 convolution commutes with bilinear upsampling, so it runs first, on a quarter of the pixels.
- A convolution of a concatenation is a sum of convolutions. So almost nothing is concatenated, and features that both
  sources share are convolved once.
- The softmax of two numbers is the logistic function of their difference.
- The average over the plane is linear: it is taken of each branch, not of their sum.
- Branches with many channels are convolved separately and summed at once. Branches with few channels are convolved
  side by side, with zeros in the filters between them, and summed by the 1x1 convolution that follows. OpenVINO's
  grouped convolutions are slower than either.
- A 3x3 convolution to three channels leaves most of a vector register empty. It runs as a 4x4 convolution to the
  twelve values of four pixels.

The sources form one batch [2, 3, H, W], so encoder and unique decoder run once.

The start of the encoder, which works at full size, can be a graph of its own that stays in float32 when the rest uses
a lower precision: rounding the sources themselves harms a picture more than all rounding after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.model.config import RADIX, NetworkConfig, Stage
from defusion.runtime.vino import Model, Node, PartialShape, max_pool, op

if TYPE_CHECKING:
    Tensors = Mapping[str, NDArray[np.float32]]


#: Branches of split attention with more channels than this are convolved separately.
_FEW = 16


#: `paper`: the picture of head `paper`. `parts`: the common and unique pictures. `embeddings`: what these are made
#: from. `attention`: the weights of every split attention that the other outputs need. `opened`: what the encoder's
#: stages at full size pass on; only the graph that starts the encoder has it.
Output = Literal["paper", "parts", "embeddings", "attention", "opened"]


class Part(NamedTuple):
    """One of the inputs that a decoder stage reads side by side."""

    node: Node
    width: int
    upsample: bool = False


def build(
    config: NetworkConfig,
    tensors: Tensors,
    outputs: Sequence[Output],
    *,
    attention_given: bool,
    opened_given: bool = False,
) -> Model:
    """Builds the graph of a network for one pair of sources. The size of the sources may be any multiple of eight.

    Args:
        config: Shapes of the network.
        tensors: Its weights, by the names of `DeFusion.state_dict`.
        outputs: What it computes; the rest of the network is left out.
        attention_given: Take the weights of split attention as inputs instead of computing them.
        opened_given: Take the output `opened` of another graph as input instead of the sources.

    Returns:
        A model with the input `sources`, [2, 3, H, W], or `opened`, [2, C, H/2, W/2]. Its outputs are `paper`, [1, 3,
        H, W]; `common`, [1, 3, H, W], and `uniques`, [2, 3, H, W], for the parts; `f_c`, [1, C, H, W], and `f_u`, [2,
        C, H, W], for the embeddings; or `opened` alone. Weights of split attention, as outputs or inputs, have the
        names of their layers, which end in `.attention`.
    """
    return _Builder(config, tensors, attention_given).model(outputs, opened_given)


class _Builder:
    def __init__(self, config: NetworkConfig, tensors: Tensors, attention_given: bool) -> None:
        self.config = config
        self.tensors = tensors
        self.attention_given = attention_given
        self.attentions: dict[str, Node] = {}

    def model(self, outputs: Sequence[Output], opened_given: bool) -> Model:
        config = self.config
        name, width = ("opened", config.encoder[0].width) if opened_given else ("sources", 3)
        given = op.parameter(PartialShape([2, width, -1, -1]), np.float32, name=name)
        opened = given if opened_given else self.opening(given)
        results = {"opened": opened} if "opened" in outputs else self.results(opened, outputs)
        if "attention" in outputs:
            results |= self.attentions
        inputs = {name: given, **(self.attentions if self.attention_given else {})}
        return named(f"defusion_{config.name}", inputs, results)

    def results(self, opened: Node, outputs: Sequence[Output]) -> dict[str, Node]:
        config = self.config
        half, quarter, eighth = self.encoder(opened)
        features = [
            [Part(half, config.encoder[1].width)],
            [Part(quarter, config.encoder[2].width)],
            [Part(eighth, config.encoder[3].width)],
        ]
        of_both = [_of_both(part) for (part,) in features]
        # The ensembler's first block adds its input to its output, so here the two parts really are concatenated.
        side_by_side = Part(op.concat([part.node for part in of_both[2]], 1), 2 * config.encoder[3].width)
        ensembled = Part(self.layer("ensembler", [side_by_side], config.ensembler), config.ensembler.width)
        at_half = self.decoder("unique_decoder", ensembled, features, config.unique_decoder)
        results: dict[str, Node] = {}
        if {"paper", "parts", "embeddings"} & set(outputs):
            f_u = self.finish("unique_decoder", at_half, config.unique_decoder)
            common_at_half = self.decoder("common_decoder", ensembled, of_both, config.common_decoder)
            f_c = self.finish("common_decoder", common_at_half, config.common_decoder)
        if "paper" in outputs:
            results["paper"] = self.head("project_fused", op.add(f_c, over_sources(f_u)))
        if "parts" in outputs:
            results["common"] = self.head(f"project_{config.common_projection}", f_c)
            results["uniques"] = self.head("project_unique", f_u)
        if "embeddings" in outputs:
            results |= {"f_c": f_c, "f_u": f_u}
        return results

    def opening(self, sources: Node) -> Node:
        """Builds the encoder's stages at full size, and the pooling that ends them."""
        stem = self.tensors["encoder.stem.weight"], self.tensors["encoder.stem.bias"]
        x = op.relu(_convolution(sources, *stem, pad=1))
        x = self.layer("encoder.scale1", [Part(x, self.config.stem)], self.config.encoder[0], smooth=True)
        return max_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], "floor")

    def encoder(self, opened: Node) -> tuple[Node, Node, Node]:
        """Builds the encoder from H/2 on."""
        full, half, quarter, eighth = self.config.encoder
        at_half = self.layer("encoder.scale2", [Part(opened, full.width)], half)
        at_quarter = self.layer("encoder.scale4", [Part(at_half, half.width)], quarter, stride=2)
        return (
            at_half,
            at_quarter,
            self.layer("encoder.scale8", [Part(at_quarter, quarter.width)], eighth, stride=2),
        )

    def decoder(self, name: str, ensembled: Part, features: list[list[Part]], stages: tuple[Stage, ...]) -> Node:
        """Builds a decoder up to its stage at H/2."""
        half, quarter, eighth = features
        x = self.layer(f"{name}.scale8", [ensembled, *eighth], stages[0])
        x = self.layer(f"{name}.scale4", [Part(x, stages[0].width, upsample=True), *quarter], stages[1])
        return self.layer(f"{name}.scale2", [Part(x, stages[1].width, upsample=True), *half], stages[2])

    def finish(self, name: str, at_half: Node, stages: tuple[Stage, ...]) -> Node:
        """Builds the decoder's last stage, at full size, which gives an embedding."""
        return self.layer(f"{name}.scale1", [Part(at_half, stages[2].width, upsample=True)], stages[3])

    def layer(self, name: str, parts: list[Part], stage: Stage, *, stride: int = 1, smooth: bool = False) -> Node:
        x = self.bottleneck(f"{name}.0", parts, stride=stride, smooth=smooth)
        for block in range(1, stage.blocks):
            x = self.bottleneck(f"{name}.{block}", [Part(x, stage.width)])
        return x

    def bottleneck(self, name: str, parts: list[Part], *, stride: int = 1, smooth: bool = False) -> Node:
        x = self.attention(f"{name}.attention", op.relu(self.pointwise(f"{name}.conv_in", parts)))
        if stride > 1 or smooth:
            x = op.avg_pool(x, [stride] * 2, [1, 1], [1, 1], [3, 3], False)
        weight = self.tensors[f"{name}.conv_out.weight"]
        x = _convolution(x, np.tile(weight, (1, _channels(x) // weight.shape[1], 1, 1)))
        if f"{name}.shortcut.1.weight" not in self.tensors:
            (part,) = parts
            return op.relu(op.add(x, upsampled(part.node) if part.upsample else part.node))
        if stride > 1:
            parts = [
                part._replace(node=op.avg_pool(part.node, [stride] * 2, [0, 0], [0, 0], [stride] * 2, True, "ceil"))
                for part in parts
            ]
        return op.relu(op.add(x, self.pointwise(f"{name}.shortcut.1", parts)))

    def attention(self, name: str, x: Node) -> Node:
        """Builds the weighted branches: their sum, or side by side if they have few channels."""
        filters = np.split(self.tensors[f"{name}.conv.weight"], RADIX)
        if len(filters[0]) > _FEW:
            halves = op.split(x, op.constant(1), RADIX).outputs()
            branches = [op.relu(_convolution(*each, pad=1)) for each in zip(halves, filters, strict=True)]
        else:
            branches = [op.relu(_convolution(x, _diagonal(filters), pad=1))]
        if self.attention_given:
            shape = PartialShape([x.output(0).partial_shape[0], RADIX * len(filters[0]), 1, 1])
            weights = op.parameter(shape, np.float32)
        else:
            weights = self.attention_weights(name, branches)
        self.attentions[name] = weights
        of_branches = op.split(weights, op.constant(1), len(branches)).outputs()
        return reduce(op.add, map(op.multiply, branches, of_branches))

    def attention_weights(self, name: str, branches: list[Node]) -> Node:
        """Builds the weights of both branches, [S, 2C, 1, 1], from their averages."""
        averages = [op.reduce_mean(branch, op.constant([2, 3]), keep_dims=True) for branch in branches]
        context = op.concat(averages, 1)
        # The first layer sums the branches, because its weights occur twice.
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
        """Builds a 1x1 convolution of parts side by side."""
        weight = self.tensors[f"{name}.weight"]
        total: Node | None = None
        start = 0
        for part in parts:
            piece = _convolution(part.node, weight[:, start : start + part.width])
            piece = upsampled(piece) if part.upsample else piece
            total = piece if total is None else op.add(total, piece)
            start += part.width
        assert total is not None
        return total

    def three(self, name: str, x: Node) -> Node:
        """Builds a 3x3 convolution to three channels that computes four pixels at once."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        filters = np.zeros((len(weight), 2, 2, weight.shape[1], 4, 4), np.float32)
        for row, column in np.ndindex(2, 2):
            filters[:, row, column, :, row : row + 3, column : column + 3] = weight
        four = _convolution(x, filters.reshape(-1, *filters.shape[3:]), np.repeat(bias, 4), pad=1, stride=2)
        return op.depth_to_space(four, "depth_first", 2)

    def head(self, name: str, embedding: Node) -> Node:
        return op.relu(self.three(f"{name}.conv", embedding))


def named(name: str, inputs: Mapping[str, Node], results: Mapping[str, Node]) -> Model:
    """Makes a model with named inputs and outputs."""
    for label, node in {**inputs, **results}.items():
        node.output(0).set_names({label})
    return Model([op.result(node) for node in results.values()], list(inputs.values()), name)


def over_sources(x: Node) -> Node:
    """Sums over both sources: [2, C, H, W] to [1, C, H, W]."""
    return op.reduce_sum(x, op.constant([0]), keep_dims=True)


def upsampled(x: Node) -> Node:
    """Doubles the size bilinearly, without aligned corners."""
    return op.interpolate(
        x,
        op.constant(np.array([2.0, 2.0], np.float32)),
        "linear_onnx",
        "scales",
        coordinate_transformation_mode="half_pixel",
        axes=op.constant(np.array([2, 3])),
    )


def _of_both(features: Part) -> list[Part]:
    """Splits the features of both sources, [2, C, H, W], into one part for each: [1, C, H, W]."""
    return [features._replace(node=each) for each in op.split(features.node, op.constant(0), 2).outputs()]


def _convolution(
    x: Node,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
    pad: int = 0,
    stride: int = 1,
) -> Node:
    filters = op.constant(np.ascontiguousarray(weight))
    y = op.convolution(x, filters, [stride, stride], [pad, pad], [pad, pad], [1, 1])
    return y if bias is None else op.add(y, op.constant(bias.reshape(1, -1, 1, 1)))


def _diagonal(groups: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Turns the filters of a grouped convolution into those of an ordinary one, with zeros between the groups."""
    count, (outputs, inputs, *window) = len(groups), groups[0].shape
    filters = np.zeros((count, outputs, count, inputs, *window), np.float32)
    for number, group in enumerate(groups):
        filters[number, :, number] = group
    return filters.reshape(count * outputs, count * inputs, *window)


def _channels(x: Node) -> int:
    channels: int = x.output(0).partial_shape[1].get_length()
    return channels
