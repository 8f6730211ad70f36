"""What an engine is: a network made ready on a device, float32 planes in, float32 planes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.model.config import NetworkConfig, PyramidConfig
from defusion.model.pyramid import Coarser

Planes = NDArray[np.float32]
#: The weights of every split attention, by layer; of use to the engine that gave them alone.
Attention = Mapping[str, NDArray[np.float32]]
EngineName = Literal["openvino", "torch"]
Precision = Literal["float32", "bfloat16", "float16"]

ENGINES: tuple[EngineName, ...] = ("openvino", "torch")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")


class Pictures(NamedTuple):
    """What the network decomposes a pair into; each float32, [N, 3, H, W], not clamped."""

    common: Planes
    unique_a: Planes
    unique_b: Planes


class Embeddings(NamedTuple):
    """What `Pictures` are projected from, f_c, f_u1 and f_u2 of eq. 2; each float32, [N, C, H, W], zero or more."""

    common: Planes
    unique_a: Planes
    unique_b: Planes


class Decided(NamedTuple):
    """What the pyramid network makes of the sources of a scene; each float32."""

    made: tuple[Planes, ...]
    """The fused picture, [1, 3, H, W]; or the common part of it, and the unique ones, [S, 3, H, W]."""
    before: tuple[Planes, ...]
    """The same without the fine levels, at a quarter of the size, or as large as the base of a scene of one level."""
    state: Planes
    """Of each source, as large: [S, C, H/4, W/4]."""
    one_light: Planes
    """How far a mask decides in place of the weights, as large: [1, 1, H/4, W/4]."""
    weight: Planes
    """Of each source at the finest level, [S, 1, H, W]."""
    by_mask: Planes | None
    """How far a mask decides in place of the weights, [1, 1, H, W]; None where there was no close look."""
    trusted: Planes | None
    """How far each place shows the scene, [S, 1, H, W]; None where there was no close look."""
    mask: Planes | None
    """What decides in place of the weights so far, [S, 1, H, W]; None where there was no close look."""

    @property
    def share(self) -> Planes:
        """How much of the finest detail each source gives, [S, 1, H, W]."""
        if self.mask is None or self.by_mask is None:
            return self.weight
        shares: Planes = self.weight + self.by_mask * (self.mask - self.weight)
        return shares


class Engine(Protocol):
    """A network on a device. Safe to call from several threads at once.

    `a` and `b` are float32 RGB in [0, 1], of one shape [N, 3, H, W], any H and W. `attention` is what `attend` gave
    for one pair, and then N is 1; None has the sources give their own.
    """

    name: EngineName
    device: str
    precision: Precision
    config: NetworkConfig | PyramidConfig

    def decide(
        self,
        sources: Planes,
        confidence: Planes | None,
        count: int,
        *,
        coarser: Coarser | None = None,
        closely: bool = True,
        parts: bool = False,
    ) -> Decided:
        """Runs the pyramid network; see `defusion.model.pyramid.PyramidNet.forward`.

        Args:
            sources: [S, 3, H, W]; H and W are multiples of 2^count.
            confidence: [S, 1, H, W]; None for everywhere.
            count: Number of levels of detail.
            coarser: What is known of coarser levels, at the base's size, H/2^count x W/2^count.
            closely: Look at full size for noise and focus.
            parts: Make the common and the unique parts.
        """

    def fuse(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns the picture of head `paper`, by P_r."""

    def decompose(self, a: Planes, b: Planes, attention: Attention | None = None) -> Pictures:
        """Returns the common and the unique pictures."""

    def embed(self, a: Planes, b: Planes) -> Embeddings:
        """Returns the embeddings of the sources, whose pictures `decompose` gives."""

    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair, N = 1, for tiles of the same scene."""
