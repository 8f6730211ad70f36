"""Heads as OpenVINO graphs: pixels, and the network's verdict on them.

They hold no weights, and run in float32 whatever the network runs in: a verdict may be coarse, pixels may not.
`defusion.model.network` has the same in torch, and says why.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from openvino import Model, Node, PartialShape
from openvino import opset13 as op

from defusion.model.config import (
    BLENDINGS,
    DETAIL_PX,
    DETAIL_TRUST,
    ENERGY_FLOOR,
    LARGEST_GAIN,
    MOST_ODDS,
    STACK_SHARPNESS,
    WINDOW_PX,
    Blending,
    HeadName,
    gaussian,
)
from defusion.runtime.graph import named, over_sources, upsampled

_ONE = np.float32(1)


def combine(head: HeadName) -> Model:
    """Sources [2, 3, H, W] and their `judged`, [2, 3, H/2, W/2] or more, to `fused`, [1, 3, H, W] or more."""
    blending = BLENDINGS[head]
    sources, judged = _inputs()
    scores, levelled = _scored(sources, judged, blending)
    fused = _part(levelled, op.softmax(scores, 0), blending.octaves)
    return named(head, {"sources": sources, "judged": judged}, {"fused": fused})


def share(head: HeadName) -> Model:
    """A frame and a reference [2, 3, H, W] and their `judged` to `share`, [1, 4, H, W]; see `Engine.share`."""
    sources, judged = _inputs()
    scores, levelled = _scored(sources, judged, BLENDINGS[head])
    of_frame, of_reference = op.split(scores, 0, 2).outputs()
    lead = op.multiply(op.subtract(of_frame, of_reference), np.float32(STACK_SHARPNESS))
    odds = op.exp(op.clamp(lead, -MOST_ODDS, MOST_ODDS))
    frame, _ = op.split(levelled, 0, 2).outputs()
    return named("share", {"sources": sources, "judged": judged}, {"share": op.concat([frame, odds], 1)})


def part(head: HeadName) -> Model:
    """A `plane`, [1, 3, H, W], and its `weight`, [1, 1, H, W], to `part`, [1, 3, H, W] or more; see `Engine.part`."""
    plane, weight = (
        op.parameter(PartialShape([1, channels, -1, -1]), np.float32, name=name)
        for name, channels in (("plane", 3), ("weight", 1))
    )
    made = _part(plane, weight, BLENDINGS[head].octaves)
    return named("part", {"plane": plane, "weight": weight}, {"part": made})


def detail() -> Model:
    """Sources [S, 3, H, W] to `odds`, [S, 1, H, W]: how much fine detail each has; see `Engine.detail`."""
    sources = op.parameter(PartialShape([-1, 3, -1, -1]), np.float32, name="sources")
    above_floor = op.subtract(_activity(sources), np.float32(np.log(ENERGY_FLOOR)))
    return named("detail", {"sources": sources}, {"odds": op.exp(op.multiply(above_floor, np.float32(DETAIL_TRUST)))})


def _inputs() -> tuple[Node, Node]:
    sources, judged = (
        op.parameter(PartialShape([2, 3, -1, -1]), np.float32, name=name) for name in ("sources", "judged")
    )
    return sources, judged


def _verdict(judged: Node, sources: Node) -> tuple[Node, Node, Node]:
    """Score [2, 1, H, W], gain [2, 1, H, W] and trust [1, 1, H, W], at the sources' size."""
    start, step, axes = (op.constant(np.array(values)) for values in ([0, 0], [1, 1], [2, 3]))
    size = op.gather(op.shape_of(sources), axes, op.constant(0))
    score, gain, trust = op.split(op.slice(upsampled(judged), start, size, step, axes), 1, 3).outputs()
    return score, op.tanh(gain), op.reduce_mean(trust, op.constant([0]), keep_dims=True)


def _scored(sources: Node, judged: Node, blending: Blending) -> tuple[Node, Node]:
    """Scores [2, 1, H, W] of sources, and the sources as a head takes them."""
    score, gain, trust = _verdict(judged, sources)
    if blending.softness != 1:
        score, trust = (op.divide(each, np.float32(blending.softness)) for each in (score, trust))
    trust = op.add(trust, np.float32(blending.detail))
    scores = op.add(score, op.multiply(trust, _activity(sources)))
    return scores, _levelled(sources, gain) if blending.levelled else sources


def _part(planes: Node, weights: Node, octaves: int) -> Node:
    """The weighted sum of planes [S, 3, H, W], by octaves."""
    if octaves:
        planes, weights = (_padded(x, 2**octaves) for x in (planes, weights))
    details = []
    for _ in range(octaves):
        coarse = _halved(planes)
        details.append(over_sources(op.multiply(weights, op.subtract(planes, upsampled(coarse)))))
        planes, weights = coarse, _halved(weights)
    made = over_sources(op.multiply(weights, planes))
    for detail in reversed(details):
        made = op.add(upsampled(made), detail)
    return made


def _activity(sources: Node) -> Node:
    luminance = op.reduce_mean(sources, op.constant([1]), keep_dims=True)
    fine = op.subtract(luminance, _smoothed(luminance, DETAIL_PX))
    energy = _smoothed(op.multiply(fine, fine), WINDOW_PX)
    return op.log(op.add(energy, np.float32(ENERGY_FLOOR)))


def _levelled(sources: Node, gain: Node) -> Node:
    factor = op.exp(op.multiply(gain, np.float32(np.log(LARGEST_GAIN))))
    return op.divide(op.multiply(factor, sources), op.add(op.multiply(op.subtract(factor, _ONE), sources), _ONE))


def _smoothed(x: Node, sigma_px: float) -> Node:
    """Smooths one channel by a Gaussian; beyond the edge it is repeated."""
    kernel: NDArray[np.float32] = gaussian(sigma_px)
    reach = len(kernel) // 2
    margins = op.constant(np.array([0, 0, 0, reach]))
    for _ in range(2):  # along rows, then along columns turned into rows: upright kernels err on low planes
        x = op.pad(x, margins, margins, "edge")
        x = op.convolution(x, op.constant(kernel.reshape(1, 1, 1, -1)), [1, 1], [0, 0], [0, 0], [1, 1])
        x = op.transpose(x, op.constant(np.array([0, 1, 3, 2])))
    return x


def _halved(x: Node) -> Node:
    return op.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True)


def _padded(x: Node, multiple: int) -> Node:
    """Repeats the right and bottom edge up to a multiple of a size."""
    missing = op.floor_mod(op.negative(op.shape_of(x)), op.constant(np.array([1, 1, multiple, multiple])))
    return op.pad(x, op.constant(np.zeros(4, np.int64)), missing, "edge")
