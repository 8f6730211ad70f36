"""Fuses frames of two cameras as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from defusion.api.fuser import Fuser
from defusion.api.sources import AS_USUAL, Array, Reading, Source, frames_of
from defusion.imaging import Picture, to_array
from defusion.imaging.tone import Levels
from defusion.scene.rig import Rig
from defusion.system.machine import in_order
from defusion.video.pair import PairFuser, Prepared, meaning_of
from defusion.video.quick import Plane
from defusion.video.steady import Steady


class Live:
    """Fuses frames of a thermal and a visible camera, without flicker: one pair by `fuse`, or a stream of pairs by
    `frames`, which is faster.

    The first thermal frame decides what the values of all thermal frames mean.

    Args:
        fuser: The network; None loads the default one.
        rig: How thermal frames lie in visible ones; None if they have one size and already line up.
        plane_m: Distance in metres at which the cameras line up, for a rig that knows its parallax.
        infrared_palette: The false colour of thermal frames; "auto" recognises it, "none" leaves it.
        levels: Black and white level of thermal frames in their own values; None takes those of the first frame.
        black_hot: Thermal frames show warm things dark.
        quick: Decide at half the size, which takes half of the time; None does so from 640x480 pixels on.

    Example:
        >>> live = Live()
        >>> thermal, visible = np.zeros((48, 64), np.uint8), np.full((48, 64, 3), 90, np.uint8)
        >>> live.fuse(thermal, visible).shape
        (48, 64, 3)
    """

    def __init__(
        self,
        fuser: Fuser | None = None,
        rig: Rig | None = None,
        *,
        plane_m: float | None = None,
        infrared_palette: str = "auto",
        levels: tuple[float, float] | None = None,
        black_hot: bool = False,
        quick: bool | None = None,
    ) -> None:
        self._fuser, self._rig, self._plane_m = fuser or Fuser(), rig, plane_m
        self._palette, self._black_hot, self._quick = infrared_palette, black_hot, quick
        self._levels = None if levels is None else Levels(*levels)
        self._pair: PairFuser | None = None

    def fuse(self, thermal: Source, visible: Source, reading: Reading = AS_USUAL) -> Array:
        """Fuses the next two frames.

        Args:
            thermal: An array, or anything else that `defusion.fuse` takes.
            visible: The same.
            reading: `Reading(bgr=True)` for arrays of OpenCV.

        Returns:
            An array [H, W, C] with the size, channels and depth of the visible frame.

        Raises:
            ImageError: The frames cannot be fused, or do not have the sizes of the rig.
        """
        moment = self._prepared(reading, (thermal, visible))
        return self._finished(reading, (moment, self._decided(moment)))

    def frames(self, pairs: Iterable[tuple[Source, Source]], reading: Reading = AS_USUAL) -> Iterator[Array]:
        """Fuses pairs of frames as they come. Three pairs are in work at once, so several cores are used.

        Args:
            pairs: Pairs of a thermal and a visible frame, in the order of time. Two more are taken before the first
                result comes.
            reading: As for `fuse`.

        Yields:
            What `fuse` returns for each pair.

        Raises:
            ImageError: As for `fuse`.
        """
        prepared = in_order(partial(self._prepared, reading), pairs, 1)
        decided = ((moment, self._decided(moment)) for moment in prepared)
        yield from in_order(partial(self._finished, reading), decided, 1)

    def _prepared(self, reading: Reading, pair: tuple[Source, Source]) -> Prepared:
        hot, seen = (frame.open() for frame in frames_of(pair, reading))
        if self._pair is None:
            meant = meaning_of([hot], self._palette, self._levels, black_hot=self._black_hot)
            self._pair = PairFuser(self._fuser, self._rig, meant, Steady(), self._plane_m, quick=self._quick)
        return self._pair.prepared(hot, seen)

    def _decided(self, moment: Prepared) -> Plane:
        assert self._pair is not None
        return self._pair.decided(moment)

    def _finished(self, reading: Reading, made: tuple[Prepared, Plane]) -> Array:
        assert self._pair is not None
        moment, plane = made
        seen = moment.visible
        picture = Picture.of_pixels(self._pair.finished(moment, plane), seen.depth)
        array = to_array(picture, np.empty((1, 1, seen.samples.shape[2]), seen.depth))
        return np.ascontiguousarray(array[..., ::-1]) if reading.bgr else array
