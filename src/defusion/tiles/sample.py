"""A sample of a scene: small windows from all over it."""

from __future__ import annotations

import math

import numpy as np

from defusion.runtime import Planes
from defusion.tiles.grid import Size, View, everything

#: Side of a square with as many pixels as the sample has that gives the tiles of head `paper` their attention.
SAMPLE_PX = 768

#: Side of the windows that a sample is made of. With 128 the result was 1 to 5 dB worse: few windows miss much of the
#: scene.
SAMPLE_WINDOW_PX = 64


def sample(view: View, size: Size) -> Planes:
    """Lays windows from all over a scene side by side, at full scale.

    Scaling the scene down would be simpler, but the averages would change with scale: what is out of focus by ten
    pixels is sharp at a tenth of the size. A scene with fewer pixels than the sample is returned as it is.
    """
    if size.height * size.width <= SAMPLE_PX**2:
        return view(*everything(size))
    scale = SAMPLE_PX / math.sqrt(size.height * size.width)
    rows, columns = (_windows(length_px, scale) for length_px in size)
    return np.concatenate([np.concatenate([view(down, across) for across in columns], 3) for down in rows], 2)


def _windows(length_px: int, scale: float) -> list[slice]:
    window_px = min(SAMPLE_WINDOW_PX, length_px)
    starts = np.linspace(0, length_px - window_px, math.ceil(length_px * scale / window_px)).astype(int)
    return [slice(start, start + window_px) for start in starts.tolist()]
