"""What an engine is: a network made ready on a device, float32 planes in, float32 planes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.model.config import HeadName, NetworkConfig

Planes = NDArray[np.float32]
#: The weights of every split attention, in the order that an engine runs them; of use to that engine alone.
Attention = Sequence[NDArray[np.float32]]
EngineName = Literal["openvino", "torch"]
Precision = Literal["float32", "bfloat16"]

ENGINES: tuple[EngineName, ...] = ("openvino", "torch")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


class Pictures(NamedTuple):
    """What the network makes of a pair; each float32, [N, 3, H, W], not clamped."""

    common: Planes
    unique_a: Planes
    unique_b: Planes
    fused: Planes


class Engine(Protocol):
    """A network on a device. Safe to call from several threads at once.

    `a` and `b` are float32 RGB in [0, 1], of one shape [N, 3, H, W], any H and W. `head` is one
    of the weights' heads. `attention` is what `attend` gave for one pair, and then N is 1; None
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

    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair, N = 1, for tiles of the same scene."""
