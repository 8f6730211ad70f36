"""What the pyramid network needs of an engine: a handful of operations on planes.

`pyramid.py` is written once against this protocol. `torch_ops.py` runs it in torch, to train it and on GPUs;
`runtime/pyramid_graph.py` builds an OpenVINO graph of it. Planes are of type `P`; `+`, `-`, `*`, `/` and unary minus
work on them, on planes and numbers, and broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

#: Planes [B, C, H, W] of one engine. B is S sources of N scenes, the scenes of a source side by side, or N.
P = TypeVar("P", bound=Any)


class Ops(Protocol[P]):
    """Operations of an engine. Names of weights are those of the weights file."""

    def conv(self, x: P, name: str, *, dilation: int = 1) -> P:
        """Convolves by the weights `name.weight` and, if there are any, `name.bias`; zeros beyond the edge."""

    def number(self, name: str, index: int) -> Any:
        """Returns one number of the weights `name`."""

    def relu(self, x: P) -> P:
        """Returns x where it is above zero, else zero."""

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

    def concat(self, planes: Sequence[P]) -> P:
        """Lays planes side by side as channels."""

    def mean(self, x: P) -> P:
        """Returns the mean over channels, [B, 1, H, W]."""

    def most(self, x: P) -> P:
        """Returns the largest of the channels, [B, 1, H, W]."""

    def least(self, x: P) -> P:
        """Returns the smallest of the channels, [B, 1, H, W]."""

    def halve(self, x: P) -> P:
        """Returns the mean of each 2x2 pixels, half the size."""

    def double(self, x: P) -> P:
        """Returns twice the size, bilinear; the edge is repeated beyond it."""

    def blur(self, x: P) -> P:
        """Smooths each channel by the 3x3 binomial kernel; the edge is repeated beyond it."""

    def fold(self, x: P) -> P:
        """Lays each 2x2 pixels side by side as channels, half the size: channel c to 4 c and the three after it."""

    def unfold(self, x: P) -> P:
        """Undoes `fold`."""

    def over_sources(self, x: P) -> P:
        """Sums planes over the sources: [S N, C, H, W] to [N, C, H, W]."""

    def mean_over_sources(self, x: P) -> P:
        """Returns the mean over the sources: [S N, C, H, W] to [N, C, H, W]."""

    def most_of_sources(self, x: P) -> P:
        """Returns the largest over the sources: [S N, C, H, W] to [N, C, H, W]."""

    def each_source(self, x: P) -> P:
        """Repeats planes of the scene for each source: [N, C, H, W] to [S N, C, H, W], or what broadcasts alike."""
