"""What an engine is: a network made ready on a device, float32 planes in, float32 planes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.model.config import HeadName, NetworkConfig

Planes = NDArray[np.float32]
#: The weights of every split attention, by layer; of use to the engine that gave them alone.
Attention = Mapping[str, NDArray[np.float32]]
EngineName = Literal["openvino", "torch"]
Precision = Literal["float32", "bfloat16", "float16"]

ENGINES: tuple[EngineName, ...] = ("openvino", "torch")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")


class Pictures(NamedTuple):
    """What the network makes of a pair; each float32, [N, 3, H, W], not clamped."""

    common: Planes
    unique_a: Planes
    unique_b: Planes
    fused: Planes


class Engine(Protocol):
    """A network on a device. Safe to call from several threads at once.

    `a` and `b` are float32 RGB in [0, 1], of one shape [N, 3, H, W], any H and W. `head` is one
    of the weights' heads, or "detail". `attention` is what `attend` gave for one pair, and then N is 1; None
    has the sources give their own.
    """

    name: EngineName
    device: str
    precision: Precision
    config: NetworkConfig

    def fuse(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Planes:
        """Returns the fused picture alone, which takes less work than all four."""

    def decompose(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Pictures:
        """Returns all four pictures."""

    def attend(self, a: Planes, b: Planes, head: HeadName) -> Attention:
        """Returns the split attention of one pair, N = 1, for tiles of the same scene.

        Of head "paper" it is that of the whole network, of those in `BLENDINGS` all that `judge` takes.
        """

    def judge(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns what the verdict on a pair, N = 1, is read off: [2, 3, H/2, W/2], rounded up."""

    def combine(self, a: Planes, b: Planes, judged: Planes, head: HeadName) -> Planes:
        """Makes the fused picture of a pair and what `judge` gave of it; `head` is one of `BLENDINGS`."""

    def share(self, frame: Planes, reference: Planes, judged: Planes, head: HeadName) -> Planes:
        """Compares a frame of a stack, N = 1, with a reference of the same scene; `judge` was given both.

        Returns:
            [1, 4, H, W]: the frame as the head takes it, RGB, and its odds. Odds over the sum of all frames' odds
            are its weight.
        """

    def part(self, plane: Planes, weight: Planes, head: HeadName) -> Planes:
        """Returns a frame's part in the picture of a stack, [1, 3, H, W], by its weight, [1, 1, H, W]."""

    def detail(self, frame: Planes) -> Planes:
        """Returns a frame's odds by its fine detail alone, [N, 1, H, W]; no network is asked."""
