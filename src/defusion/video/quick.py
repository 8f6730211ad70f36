"""Decides on a frame at half its size, for live cameras: it takes half of the time.

The network fuses the sources at half size. From its result, the weights of the finest detail are estimated place by
place. The detail that is lost at half size is weighted in the same way. So every pixel still consists of the sources'
own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

#: Size of the area over which weights are estimated, in pixels of the half-size picture.
_AROUND = 5

#: If the squared difference between the sources' detail is below this, both get equal weight.
_TOLD = 1e-6


def enlarged(made: Plane, halves: Sequence[Plane], thermal: Plane, visible: Plane) -> Plane:
    """Brings what was fused at half the size to the full size.

    Args:
        made: The fused plane, at half the size.
        halves: What it was fused of: the two sources, `halved`.
        thermal: The thermal source, [H, W] in [0, 1].
        visible: The visible source.
    """
    import cv2

    hot, seen, fused = (each - _doubled(halved(each), each) for each in (*halves, made))
    apart = hot - seen
    told, of = (cv2.blur(each, (_AROUND, _AROUND)) for each in ((fused - seen) * apart, apart * apart))
    weight = _doubled(np.clip((told + _TOLD / 2) / (of + _TOLD), 0, 1), thermal)
    finest_hot, finest_seen = (
        each - _doubled(half, each) for each, half in zip((thermal, visible), halves, strict=True)
    )
    whole: Plane = _doubled(made, thermal) + finest_seen + weight * (finest_hot - finest_seen)
    return whole


def halved(plane: Plane) -> Plane:
    """Returns a plane at half its size, rounded up."""
    import cv2

    height, width = plane.shape
    return np.asarray(cv2.resize(plane, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA))


def _doubled(plane: Plane, like: Plane) -> Plane:
    import cv2

    height, width = like.shape
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR))
