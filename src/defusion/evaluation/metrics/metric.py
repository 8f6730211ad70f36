"""What a metric is: a number about a fused picture, and everything that one must know to read it."""

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
"""How a metric takes colour: the mean over R, G and B; of the grey pictures; of the channels side by side as one wide
plane; of the pictures as they are, [H, W, 3] with grey repeated."""


class Score(NamedTuple):
    """A metric's value, or why there is none."""

    value: float
    """NaN where the metric is not defined."""
    reason: str | None = None
    """Why it is not, one short sentence; None where there is a value."""


class UndefinedError(Exception):
    """Raised by a metric's code with the reason why it has no value for some pictures."""


@dataclass(frozen=True)
class Metric:
    """A metric of one fused picture against its two sources, or against the truth."""

    name: str
    """As in tables and JSON: a short name (`ssim`) for our default, `TOOLKIT.Name` for a toolkit's variant."""
    title: str
    """In words, as in a table's caption."""
    better: Better
    span: tuple[float, float]
    """The least and the greatest value that it can have."""
    colour: ColourRule
    source: str
    """Where it is defined: the paper, and the code whose variant this is."""
    measure: Callable[[Grey, Grey, Grey], float]
    """Of sources a, b and the fused picture; with `against="truth"` of the truth twice and the fused picture."""
    against: Literal["sources", "truth"] = "sources"
    same_as: str | None = None
    """The name of the toolkit variant that a short name stands for."""

    def named(self, name: str, source: str | None = None, colour: ColourRule | None = None) -> Metric:
        """The same measure under a toolkit's name, with that toolkit's rule for colour."""
        return replace(self, name=name, source=source or self.source, colour=colour or self.colour, same_as=None)
