"""A metric: a number about a fused picture, with everything needed to interpret it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
"""[H, W], 0 to 255."""

Better = Literal["higher", "lower", "neither"]

ColourRule = Literal["each channel", "grey", "wide", "rgb"]
"""How a metric treats colour: the mean over R, G and B; grey pictures; the channels side by side as one wide plane;
or pictures as they are, [H, W, 3] with grey repeated.
"""


class Score(NamedTuple):
    """The value of a metric, or why there is none."""

    value: float
    """NaN if the metric is not defined."""
    reason: str | None = None
    """Why it is not defined, one short sentence; None if there is a value."""


class UndefinedError(Exception):
    """A metric has no value for some pictures; the message says why."""


@dataclass(frozen=True)
class Metric:
    """A metric of one fused picture against its two sources, or against the ground truth."""

    name: str
    """As in tables and JSON: a short name (`ssim`) for our default, `TOOLKIT.Name` for the variant of a toolkit."""
    title: str
    """The name in words, for captions."""
    better: Better
    span: tuple[float, float]
    """The smallest and the largest possible value."""
    colour: ColourRule
    source: str
    """Where it is defined: the paper, and the code whose variant this is."""
    measure: Callable[[Grey, Grey, Grey], float]
    """Takes sources a, b and the fused picture; with `against="truth"`, the ground truth twice and the fused picture.
    """
    against: Literal["sources", "truth"] = "sources"
    same_as: str | None = None
    """The toolkit variant that a short name stands for."""

    def named(self, name: str, source: str | None = None, colour: ColourRule | None = None) -> Metric:
        """Returns the same measure under a toolkit's name, with that toolkit's rule for colour."""
        return replace(self, name=name, source=source or self.source, colour=colour or self.colour, same_as=None)
