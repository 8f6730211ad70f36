"""Prevents flicker: what stands still in both sources stands still in the result.

The network decides on every frame from scratch. A hot thing that enters at one side changes its decision everywhere.
So the coarse levels of the result are kept where neither source has changed. Where a source has changed, the
network's drift, measured in the surroundings, is subtracted, too. If nothing stands still, as in a pan, this fades
out. Fine levels come from the frame itself. If something hides a place for a while, the place is remembered, and
shown as before once that thing has passed. After a cut nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

#: Side of the squares of pixels that become one pixel of the coarse planes.
COARSE = 2

#: Changes of a source, in [0, 1], are noise up to the first value, and motion from the second on.
_NOISE, _MOVED = 1.5 / 255, 5 / 255

#: Size of the area, in coarse pixels, over which changes are averaged to suppress noise.
_AROUND = 3

#: Frames after which a place that has not changed is remembered when something hides it.
_SETTLED = 5

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

#: Largest correction of a place that is not still: more than this is hardly drift of the network.
_MOST = 16 / 255

#: If both sources change at once by more than this fraction of their contrast, on average, there is a cut.
_CUT = 0.5


class _Kept(NamedTuple):
    """What is kept from frame to frame. All planes are coarse, [h, w] unless told; sources are [2, h, w]."""

    held: Plane
    """The result."""
    sources: Plane
    """The sources at the time from which the result is kept."""
    hidden: Plane
    """The last two results, newest first, that something then hid, [2, h, w]. Two, since the edge of what leaves a
    place may look as if something hid the thing itself."""
    hidden_sources: Plane
    """The sources at the times of these results, [2, 2, h, w]."""
    age: Plane
    """Frames since a place changed."""
    last: Plane
    """The sources of the frame before."""
    correction: Plane
    """The correction that was added to the last frame."""


class Steady:
    """Keeps the coarse levels of results from frame to frame."""

    def __init__(self) -> None:
        self._kept: _Kept | None = None

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
        kept = self._kept
        if kept is None or kept.held.shape != coarse.shape or _is_cut(kept.last, seen):
            none = np.zeros_like(coarse)
            hidden, hidden_sources = np.stack([coarse] * 2), np.stack([seen] * 2)
            self._kept = _Kept(coarse, seen, hidden, hidden_sources, none + _SETTLED, seen, none)
            return fused
        alike = _likeness(seen, kept.sources)
        # a plain float, since a scalar of NumPy would turn all planes into float64
        stands = min(max((float(alike.mean()) - _PANS) / (_STANDS - _PANS), 0.0), 1.0)
        hides = (alike < 0.5) & (kept.age >= _SETTLED)
        held, sources, passed = kept.held, kept.sources, np.zeros(alike.shape, np.bool_)
        for hidden, hidden_sources in zip(kept.hidden, kept.hidden_sources, strict=True):
            as_before = stands * _likeness(seen, hidden_sources)
            fits = as_before > alike
            held, sources = np.where(fits, hidden, held), np.where(fits, hidden_sources, sources)
            alike, passed = np.maximum(alike, as_before), passed | fits
        side = max(3, round(_STILL_PART * max(coarse.shape)) | 1)
        still = stands * alike + (1 - stands) * cv2.erode(alike, np.ones((side, side), np.uint8))
        off = held - coarse
        wide = _CARRIED_PART * max(coarse.shape)
        near, weight = (_spread(each, wide) for each in (off * still, still))
        carried = (near + _LEAST * _FADE * kept.correction) / (weight + _LEAST)
        correction = still * off + (1 - still) * np.clip(carried, -_MOST, _MOST)
        self._kept = _Kept(
            coarse + correction,
            sources + (1 - still) * (seen - sources),
            np.where(hides, np.stack([kept.held, kept.hidden[0]]), kept.hidden),
            np.where(hides, np.stack([kept.sources, kept.hidden_sources[0]]), kept.hidden_sources),
            np.where(passed, _SETTLED, np.where(alike < 0.5, 0, kept.age + 1)).astype(np.float32),
            seen,
            correction,
        )
        height, width = fused.shape
        return np.asarray(fused + cv2.resize(correction, (width, height), interpolation=cv2.INTER_LINEAR))

    def state(self) -> dict[str, Plane]:
        """Returns the kept state, to continue from there."""
        return {} if self._kept is None else self._kept._asdict()

    def go_on(self, state: Mapping[str, Plane]) -> None:
        """Restores what `state` returned."""
        self._kept = _Kept(**state) if state else None


def _likeness(seen: Plane, sources: Plane) -> Plane:
    """Returns how much places look like before, [h, w]: 1 if they differ only by noise, 0 if by motion."""
    change = np.abs(seen - sources).max(0)
    moved = np.clip((change - _NOISE) / (_MOVED - _NOISE), 0, 1)
    return np.asarray(1 - moved * moved * (3 - 2 * moved))


def _is_cut(last: Plane, seen: Plane) -> bool:
    change = np.abs(seen - last).mean((1, 2))
    contrast = np.maximum(last.std((1, 2)), seen.std((1, 2)))
    return bool((change > np.maximum(_CUT * contrast, _MOVED)).all())


def _coarse(plane: Plane) -> Plane:
    import cv2

    height, width = plane.shape
    small = (max(1, width // COARSE), max(1, height // COARSE))
    return np.asarray(cv2.resize(plane, small, interpolation=cv2.INTER_AREA))


def _spread(plane: Plane, sigma: float) -> Plane:
    """Blurs a plane at a quarter of its size, which is enough for a wide blur."""
    import cv2

    height, width = plane.shape
    small = cv2.resize(plane, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), max(sigma / 4, 0.5))
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))


def _smooth(plane: Plane) -> Plane:
    import cv2

    return np.asarray(cv2.blur(plane, (_AROUND, _AROUND), borderType=cv2.BORDER_REPLICATE))
