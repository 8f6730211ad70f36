"""What the pyramid network reads and decides: levels of the sources, the close look, weights, and the result."""

from __future__ import annotations

from typing import Any, NamedTuple


class Level(NamedTuple):
    """A level of the pyramids of all sources."""

    plane: Any
    """The sources at this size, [S N, 3, h, w]."""
    confidence: Any
    """[S N, 1, h, w]; None if all places count alike."""
    detail: Any
    """This plane less the next coarser one, [S N, 3, h, w]; None for the base."""


class Closely(NamedTuple):
    """What the close look says about each place of each source."""

    confidence: Any
    """How far a place shows the scene, rather than noise or nothing, [S N, 1, H, W]; None if all places do."""
    mask: Any
    """Weights over the sources, for scenes whose sources have the same light, [S N, 1, H, W]; None without a close
    look."""


class LevelWeights(NamedTuple):
    """What the network decides for one level: how its fused detail is made of the sources' own."""

    weight: Any
    """The weight of each source, [S N, 1, h, w]; the weights of a place sum to one."""
    common: Any
    """The share of a source's contribution that belongs to the common part, [S N, 1, h, w] in [0, 1]; None if parts
    are not asked for."""
    by_mask: Any
    """How far the mask decides instead of the weights, [N, 1, h, w] in [0, 1]; None without a mask."""
    gain: Any
    """The share of the detail that is the scene's rather than noise, as the gain of a Wiener filter: of brightness
    and of colour, [N, 2, h, w] in [0, 1]; None for the base, which is used whole. Noise differs from channel to
    channel and the detail of scenes hardly does, so most of the noise is colour."""
    colour: Any = None
    """The weight of each source's colour, that is of its difference from grey, [S N, 1, h, w]; None for levels of
    detail, where `weight` is that of colour as well. A bracket's brightness lies between those of its frames, but a
    frame that is clipped there has no colour to give."""


class Coarser(NamedTuple):
    """What the coarser levels of a scene decided, without the fine ones, at the size of the finest of them."""

    state: Any
    """[S N, WIDTH, h, w]"""
    made: tuple[Any, ...]
    """The fused picture so far, [N, 3, h, w]; or its common part and its unique parts, [S N, 3, h, w]."""
    by_mask: Any
    """How far a mask decides instead of the weights, [N, 1, h, w] in [0, 1]."""


class Made(NamedTuple):
    """The result of the network."""

    made: tuple[Any, ...]
    """The fused picture, [N, 3, H, W]; or its common part and its unique parts, [S N, 3, H, W]."""
    coarser: Coarser
    """The same without the fine levels."""
    closely: Closely
    weights: list[LevelWeights]
    """For each level, the finest first, as in `PyramidNet.pyramid`. If a part of the result was asked for, only those
    of the finest level are of that part.
    """
