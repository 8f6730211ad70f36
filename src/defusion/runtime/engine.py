"""What an engine is: a network made ready on a device, float32 planes in, float32 planes out."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.model.config import HeadName

Planes = NDArray[np.float32]
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
    of the weights' heads.
    """

    name: EngineName
    device: str
    precision: Precision

    def fuse(self, a: Planes, b: Planes, head: HeadName) -> Planes:
        """Returns the fused picture alone, which takes less work than all four."""

    def decompose(self, a: Planes, b: Planes, head: HeadName) -> Pictures:
        """Returns all four pictures."""
