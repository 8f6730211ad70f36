"""What an engine is: a network made ready on a device, float32 planes in, float32 planes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defusion.model.config import HeadName, NetworkConfig, TaskName

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
    """The same without the finest level, at half the size."""
    state: Planes
    """Of each source, [S, C, H/2, W/2]."""
    weight: Planes
    """Of each source at the finest level, [S, 1, H, W]."""
    by_mask: Planes | None
    """How far a mask decides in place of the weights, [1, 1, H, W]; None where there was no close look."""
    trusted: Planes | None
    """How far each place shows the scene, [S, 1, H, W]; None where there was no close look."""


class Engine(Protocol):
    """A network on a device. Safe to call from several threads at once.

    `a` and `b` are float32 RGB in [0, 1], of one shape [N, 3, H, W], any H and W. `attention` is what `attend` gave
    for one pair, and then N is 1; None has the sources give their own. `scale` is how many pixels of a plane are one
    of what was judged of it, a power of two.
    """

    name: EngineName
    device: str
    precision: Precision
    config: NetworkConfig

    def decide(
        self,
        sources: Planes,
        confidence: Planes | None,
        count: int,
        *,
        coarser: tuple[Planes, tuple[Planes, ...]] | None = None,
        closely: bool = True,
        parts: bool = False,
        stateless: int = 1,
    ) -> Decided:
        """Runs the pyramid network; see `defusion.model.pyramid.PyramidNet.forward`.

        Args:
            sources: [S, 3, H, W]; H and W are multiples of 2^count.
            confidence: [S, 1, H, W]; None for everywhere.
            count: Number of levels of detail.
            coarser: State, [S, C, H/2^count, W/2^count], and what is made of coarser levels, as large.
            closely: Look at full size for noise and focus.
            parts: Make the common and the unique parts.
            stateless: How many of the finest levels have no state of their own.
        """

    def fuse(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Planes:
        """Returns the fused picture of head "paper" or "detail"."""

    def decompose(self, a: Planes, b: Planes, attention: Attention | None = None) -> Pictures:
        """Returns the common and the unique pictures."""

    def embed(self, a: Planes, b: Planes) -> Embeddings:
        """Returns the embeddings of the sources, whose pictures `decompose` gives."""

    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair, N = 1, for tiles of the same scene."""

    def judge(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns what the verdict on a pair, N = 1, is read off: [2, 2, H/2, W/2], rounded up."""

    def oppose(self, a: Planes, b: Planes, count: int) -> Planes:
        """Returns the same, read off where so many octaves of the sources oppose each other; no network is asked."""

    def finest(self, frame: Planes) -> Planes:
        """Returns how much detail the finest octave of a source, N = 1, has at each place, [1, 1, H, W]."""

    def blend(
        self,
        a: Planes,
        b: Planes,
        judged: Planes,
        task: TaskName,
        count: int,
        scale: int,
        *,
        rest: Planes | None = None,
        finest: Planes | None = None,
        with_colour: bool = True,
    ) -> Planes:
        """Returns the fused picture of a pair, N = 1, octave by octave: head "pyramid".

        Args:
            a: A source.
            b: The other.
            judged: What `judge` or `oppose` gave of the pair, [2, 2, H/scale, W/scale], rounded up.
            task: One of `BLENDINGS`.
            count: Number of octaves.
            scale: As above.
            rest: What is coarser than the last octave, [1, 3, H/2^count, W/2^count], rounded up, where that is known.
            finest: Where the sources are overviews, what `finest` gave of the scene's, [2, 1, H, W].
            with_colour: Give clipped places their colour; not where the picture will be the rest of another.
        """

    def octaves(
        self,
        frame: Planes,
        judged: Planes,
        task: TaskName,
        count: int,
        scale: int,
        *,
        with_rest: bool,
        finest: Planes | None = None,
    ) -> list[Planes]:
        """Takes a frame of a stack, N = 1, apart into weighed octaves, which add up over the frames.

        Arguments are as of `blend`, for one source.

        Returns:
            [1, 4, H/2^k, W/2^k] for k from 0, detail times odds and the odds, of sides repeated up to a multiple of
            2^count; then, if asked for, the same of what is coarser. With a count of zero the frame itself, weighed.
        """

    def collapse(self, parts: Sequence[Planes], rest: Planes | None = None) -> Planes:
        """Makes the picture, [1, 3, H, W], of the sums of octaves; `rest` if the last is not of what is coarser."""

    def detail(self, frame: Planes) -> Planes:
        """Returns a frame's odds by its fine detail alone, [N, 1, H, W]; no network is asked."""
