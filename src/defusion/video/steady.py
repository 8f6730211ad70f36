"""Prevents flicker: what stands still in both sources stands still in the result.

The network decides anew on every frame. A hot thing that enters at one side changes its decision everywhere. So the
coarse levels of the result are kept where neither source has changed. Where a source has changed, the network's
drift, measured in the surroundings, is subtracted, too. If nothing stands still, as in a pan, this fades out. Fine
levels come from the frame itself. After a cut nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

#: Side of the squares of pixels that become one pixel of the coarse planes.
COARSE = 4

#: Changes of a source, in [0, 1], are noise up to the first value, and motion from the second on.
_NOISE, _MOVED = 1.5 / 255, 5 / 255

#: Size of the area, in coarse pixels, over which changes are averaged to suppress noise.
_AROUND = 5

#: How far the network's drift is carried from still places to changed ones, as a fraction of the longer side.
_CARRIED_PART = 0.15

#: If less than the second share of a scene is still, a place counts as still only if everything within this fraction
#: of the longer side is still, because flat places do not seem to move in a pan. Below the first share this holds
#: fully.
_STILL_PART = 0.07
_PANS, _STANDS = 0.5, 0.8

#: Where there is no still place nearby, the kept correction fades by the first factor each frame, and has the second
#: weight relative to a still place.
_FADE, _LEAST = 0.9, 0.05

#: Largest correction of a place. The network's drift is smaller; a larger difference is a slow real change.
_MOST = 16 / 255

#: If both sources change at once by more than this fraction of their contrast, on average, there is a cut.
_CUT = 0.5


class Steady:
    """Keeps the coarse levels of results from frame to frame."""

    def __init__(self) -> None:
        self._held: Plane | None = None
        self._sources: Plane | None = None
        self._last: Plane | None = None
        self._correction: Plane | None = None

    def held(self, fused: Plane, thermal: Plane, visible: Plane) -> Plane:
        """Steadies the next frame.

        Args:
            fused: The network's result, [H, W] in [0, 1].
            thermal: The thermal source, [H, W].
            visible: The visible source, [H, W].
        """
        import cv2

        coarse = _coarse(fused)
        seen = np.stack([_smooth(_coarse(each)) for each in (thermal, visible)])
        if self._held is None or self._held.shape != coarse.shape or self._is_cut(seen):
            self._held, self._sources, self._last, self._correction = coarse, seen, seen, np.zeros_like(coarse)
            return fused
        assert self._sources is not None
        assert self._correction is not None
        self._last = seen
        change = np.abs(seen - self._sources).max(0)
        moved = np.clip((change - _NOISE) / (_MOVED - _NOISE), 0, 1)
        side = max(3, round(_STILL_PART * max(coarse.shape)) | 1)
        alone = 1 - moved * moved * (3 - 2 * moved)
        stands = np.clip((float(alone.mean()) - _PANS) / (_STANDS - _PANS), 0, 1)
        still = stands * alone + (1 - stands) * cv2.erode(alone, np.ones((side, side), np.uint8))
        off = self._held - coarse
        wide = _CARRIED_PART * max(coarse.shape)
        near, weight = (_spread(each, wide) for each in (off * still, still))
        carried = (near + _LEAST * _FADE * self._correction) / (weight + _LEAST)
        correction = np.clip(still * off + (1 - still) * carried, -_MOST, _MOST)
        self._held, self._correction = coarse + correction, correction
        self._sources = self._sources + (1 - still) * (seen - self._sources)
        height, width = fused.shape
        return np.asarray(fused + cv2.resize(correction, (width, height), interpolation=cv2.INTER_LINEAR))

    def state(self) -> dict[str, Plane]:
        """Returns the kept state, to continue from there."""
        held = {"held": self._held, "sources": self._sources, "last": self._last, "correction": self._correction}
        return {name: plane for name, plane in held.items() if plane is not None}

    def go_on(self, state: Mapping[str, Plane]) -> None:
        """Restores what `state` returned."""
        self._held, self._sources, self._last, self._correction = (
            state.get(name) for name in ("held", "sources", "last", "correction")
        )

    def _is_cut(self, seen: Plane) -> bool:
        assert self._last is not None
        change = np.abs(seen - self._last).mean((1, 2))
        contrast = np.maximum(self._last.std((1, 2)), seen.std((1, 2)))
        return bool((change > np.maximum(_CUT * contrast, _MOVED)).all())


def _coarse(plane: Plane) -> Plane:
    import cv2

    height, width = plane.shape
    small = (max(1, width // COARSE), max(1, height // COARSE))
    return np.asarray(cv2.resize(plane, small, interpolation=cv2.INTER_AREA))


def _spread(plane: Plane, sigma: float) -> Plane:
    """Blurs so widely that a quarter of the size does."""
    import cv2

    height, width = plane.shape
    small = cv2.resize(plane, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), max(sigma / 4, 0.5))
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))


def _smooth(plane: Plane) -> Plane:
    import cv2

    return np.asarray(cv2.blur(plane, (_AROUND, _AROUND), borderType=cv2.BORDER_REPLICATE))
