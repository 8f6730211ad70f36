"""The operations on planes that the pyramid network needs from an engine.

The network is written once, against these protocols. `torch_ops.py` runs all of it in torch, to train it and on GPUs.
On a processor `runtime/array_ops.py` works on pixels, and `runtime/pyramid_graph.py` has OpenVINO run the
convolutions. Planes are of type `P`; `+`, `-`, `*` and `/` work on them, on planes and numbers, and broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

#: Planes [B, C, H, W] of one engine. B is S sources of N scenes, the scenes of a source side by side, or N.
P = TypeVar("P", bound=Any)

#: Added to divisors that may be zero.
TINY = 1e-6


class Ops(Protocol[P]):
    """Operations over sources and channels."""

    def relu(self, x: P) -> P:
        """Returns x where it is above zero, else zero."""

    def concat(self, planes: Sequence[P]) -> P:
        """Lays planes side by side as channels."""

    def over_sources(self, x: P) -> P:
        """Sums planes over the sources: [S N, C, H, W] to [N, C, H, W]."""

    def mean_over_sources(self, x: P) -> P:
        """Returns the mean over the sources: [S N, C, H, W] to [N, C, H, W]."""

    def halve(self, x: P) -> P:
        """Returns the mean of each 2x2 pixels, half the size."""

    def double(self, x: P) -> P:
        """Returns twice the size, bilinear; the edge is repeated beyond it."""

    def each_source(self, x: P) -> P:
        """Repeats planes of the scene for each source: [N, C, H, W] to [S N, C, H, W], or what broadcasts alike."""


class LayerOps(Ops[P], Protocol[P]):
    """Operations of layers, with their weights."""

    def conv(self, x: P, name: str, *, dilation: int = 1) -> P:
        """Convolves by the weights `name.weight` and `name.bias` of the weights file; zeros beyond the edge."""

    def numbers(self, name: str) -> Sequence[Any]:
        """Returns the weights `name`, a few numbers."""


class PixelOps(Ops[P], Protocol[P]):
    """Operations on pixels, without weights."""

    def sigmoid(self, x: P) -> P:
        """Returns 1 / (1 + exp(-x))."""

    def log(self, x: P) -> P:
        """Returns the natural logarithm."""

    def exp(self, x: P) -> P:
        """Returns e to the power of x."""

    def sqrt(self, x: P) -> P:
        """Returns the square root."""

    def clamp(self, x: P, low: float, high: float) -> P:
        """Keeps values in a range."""

    def channels(self, x: P, start: int, stop: int) -> P:
        """Takes channels, start to stop."""

    def mean(self, x: P) -> P:
        """Returns the mean over channels, [B, 1, H, W]."""

    def most(self, x: P) -> P:
        """Returns the largest of the channels, [B, 1, H, W]."""

    def least(self, x: P) -> P:
        """Returns the smallest of the channels, [B, 1, H, W]."""

    def blur(self, x: P) -> P:
        """Smooths each channel by the 3x3 binomial kernel; the edge is repeated beyond it."""

    def fold(self, x: P) -> P:
        """Lays each 2x2 pixels side by side as channels, half the size: channel c to 4 c and the three after it."""

    def unfold(self, x: P) -> P:
        """Undoes `fold`."""

    def most_of_sources(self, x: P) -> P:
        """Returns the largest over the sources: [S N, C, H, W] to [N, C, H, W]."""


class Learned(Protocol[P]):
    """The learned convolutions; see `defusion.model.blocks.Blocks`."""

    def look(self, features: P) -> P:
        """Returns the outputs of the close look, [S N, 8, H/2, W/2], of features [S N, CLOSE_FEATURES, H/2, W/2]."""

    def state(self, features: P, coarser: P | None, confidence: P | None) -> P:
        """Returns the state of each source at a level, [S N, WIDTH, h, w].

        Args:
            features: [S N, FEATURES, h, w].
            coarser: The state at the next coarser level, at half the size; None of the base.
            confidence: [S N, 1, h, w]; None for everywhere.
        """

    def said(self, name: str, state: P) -> tuple[P, P]:
        """Returns what a head reads for each source, [S N, 4 or 5, h, w], and for the scene, [N, 1 or 2, h, w]; see
        `defusion.model.blocks.HEADS`.
        """

    def by_energy(self, name: str) -> Sequence[Any]:
        """Returns the factors of the level's and of the finest level's energy that do not depend on the state."""


def mean_of_sources(ops: Ops[P], x: P, confidence: P | None) -> P:
    """Returns the mean over the sources, weighted by confidence: [S N, C, h, w] to [N, C, h, w]."""
    if confidence is None:
        return ops.mean_over_sources(x)
    mean: P = ops.over_sources(x * confidence) / (ops.over_sources(confidence) + TINY)
    return mean
