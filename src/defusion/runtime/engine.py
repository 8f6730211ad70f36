"""The protocol of an engine: a network made ready on a device. It takes and returns float32 planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.model.config import NetworkConfig, PyramidConfig
from defusion.model.decisions import Coarser
from defusion.model.regions import Region

Planes = NDArray[np.float32]

#: A close look changes nothing where the mask counts less than the first and confidence is above the second.
MASK_COUNTS = 0.05
TRUSTED = 0.6

#: Weights of every split attention, by layer. Only the engine that returned them can use them.
Attention = Mapping[str, NDArray[np.float32]]
EngineName = Literal["openvino", "torch"]
Precision = Literal["float32", "bfloat16", "float16"]

ENGINES: tuple[EngineName, ...] = ("openvino", "torch")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")


class PaperParts(NamedTuple):
    """The pictures into which the network decomposes a pair; each float32, [N, 3, H, W], not clamped."""

    common: Planes
    unique_a: Planes
    unique_b: Planes


class Embeddings(NamedTuple):
    """The embeddings from which `PaperParts` are made, f_c, f_u1 and f_u2 of eq. 2; each float32, [N, C, H, W], never
    negative.
    """

    common: Planes
    unique_a: Planes
    unique_b: Planes


class Decided(NamedTuple):
    """The result of the pyramid network for the sources of a scene; all planes are float32."""

    made: tuple[Planes, ...]
    """The fused picture, [1, C, H, W]; or its common part [1, C, H, W] and the unique parts [S, C, H, W]."""
    before: tuple[Planes, ...]
    """The same without the fine levels: at a quarter of the size, or at the size of the base if a scene has one
    level.
    """
    state: Planes
    """State of each source, at the size of `before`: [S, C, H/4, W/4]."""
    one_light: Planes
    """How far a mask decides instead of the weights, at the size of `before`: [1, 1, H/4, W/4]."""
    weight: Planes
    """Weight of each source at the finest level, [S, 1, H, W]."""
    by_mask: Planes | None
    """How far a mask decides instead of the weights, [1, 1, H, W]; None if there was no close look."""
    trusted: Planes | None
    """How far each place shows the scene, [S, 1, H, W]; None if there was no close look."""
    mask: Planes | None
    """The mask that decides instead of the weights, so far: [S, 1, H, W]; None if there was no close look."""

    @property
    def share(self) -> Planes:
        """Share of the finest detail that each source gives, [S, 1, H, W]."""
        if self.mask is None or self.by_mask is None:
            return self.weight
        shares: Planes = self.weight + self.by_mask * (self.mask - self.weight)
        return shares

    @property
    def worth_a_look(self) -> NDArray[np.bool_]:
        """Where a close look changes the result, [1, 1, H, W]; nowhere if there was no close look."""
        if self.by_mask is None or self.trusted is None:
            return np.zeros((1, 1, *self.weight.shape[2:]), np.bool_)
        return np.asarray((self.by_mask > MASK_COUNTS) | (self.trusted.min(0, keepdims=True) < TRUSTED))


class Engine(Protocol):
    """A network on a device. Several threads may call it at once.

    `a` and `b` are float32 RGB in [0, 1] of equal shape [N, 3, H, W], with any H and W. `attention` is what `attend`
    returned for one pair, and then N is 1; with None, the sources' own attention is used.
    """

    name: EngineName
    device: str
    precision: Precision
    config: NetworkConfig | PyramidConfig

    def for_clip(self) -> Engine:
        """Returns an engine for the frames of one clip, given in order and from one thread at a time.

        It may take longer for the first frame of a size and less time for the others, and reuse what it found in
        earlier frames. The same frames give the same results.
        """

    def decide(
        self,
        sources: Planes,
        confidence: Planes | None,
        count: int,
        *,
        coarser: Coarser | None = None,
        closely: bool = True,
        parts: bool = False,
        core: Region | None = None,
    ) -> Decided:
        """Runs the pyramid network; see `defusion.model.pyramid.PyramidNet.forward`.

        Args:
            sources: [S, C, H, W]; C is 3, or 1 if no source has colour; H and W are multiples of 2^count.
            confidence: [S, 1, H, W]; None if every place counts fully.
            count: Number of levels of detail.
            coarser: What coarser levels decided, at the size of the base, H/2^count x W/2^count.
            closely: Look at full size for noise and focus.
            parts: Return the common and the unique parts instead of the fused picture.
            core: The part to decide on, from multiples of 2^count to such, and the size of what is returned; None for
                all.
        """

    def fuse(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns the fused picture of head `paper`, made by P_r."""

    def decompose(self, a: Planes, b: Planes, attention: Attention | None = None) -> PaperParts:
        """Returns the common and the unique pictures."""

    def embed(self, a: Planes, b: Planes) -> Embeddings:
        """Returns the embeddings from which `decompose` makes its pictures."""

    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair, N = 1, for use in tiles of the same scene."""
