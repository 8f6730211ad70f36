"""Moving things in a bracket: finds where frames contradict each other, and shows what one frame shows there.

A monotone tone curve predicts what a frame shows from what its neighbour shows. It accounts for exposure. Apart from
noise and clipped places, frame and prediction have to agree. Where they do not, something moved, and the frame gets
the reference's content there, through the curve. Frames are repaired from the reference outwards, each by the one
before it. So where the reference is clipped, the next frame that is not clipped decides. If something stands in front
of a place that is clipped in the reference, such as a person in front of a window, that next frame shows what is
behind.

Curves and masks are computed on small pictures. Pixels are repaired at full size, when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, quantised

Pixels = NDArray[np.float32]
Places = NDArray[np.bool_]
Strength = Literal["low", "high"]

#: Number of values at which a curve is stored.
_KNOTS = 129

#: Least number of pixels in a bin for it to define the curve.
_ENOUGH = 12

#: Rounds of estimating curve and mask, because moving things must not bend the curve.
_ROUNDS = 3

#: Beyond these values a frame is clipped, and says nothing about others.
_BLACK, _WHITE = 0.03, 0.965

#: Tolerance for tones that do not move: noise, rounding, and a pixel of misalignment.
_NOISE = 0.025

#: By strength: how strongly a place has to contradict to be part of a moving thing, and how strongly its surroundings
#: have to contradict to belong to it.
_CONTRADICTS: dict[Strength, tuple[float, float]] = {"low": (0.18, 0.07), "high": (0.10, 0.04)}

#: Areas with fewer pixels are ignored.
_LEAST_PX = 30
_GROWN_PX = 3
_FEATHER_PX = 2.0


class Curve(NamedTuple):
    """Maps a tone of one frame to what another frame shows there, for each channel."""

    values: Pixels
    """[C, 129] in [0, 1], rising."""

    def of(self, pixels: Pixels) -> Pixels:
        """Returns what the frame would show, [..., C], where the other frame shows these pixels."""
        at = np.linspace(0, 1, _KNOTS)
        shown = [np.interp(pixels[..., channel], at, values) for channel, values in enumerate(self.values)]
        return np.stack(shown, -1).astype(np.float32)


class Patch(NamedTuple):
    """Places of a frame that show what another frame shows there."""

    by: int
    """The other frame."""
    repaired: bool
    """The other frame is taken as it is repaired, not as it is."""
    curve: Curve
    mask: NDArray[np.uint8]
    """[h, w] of the small picture, 255 at these places."""


class Repair(NamedTuple):
    """What has to be done to a frame."""

    patches: tuple[Patch, ...] = ()
    """The later ones cover the earlier ones."""

    @property
    def mask(self) -> NDArray[np.uint8] | None:
        """Where something moved, [h, w], 255 there; None if nothing did."""
        return self.patches[0].mask if self.patches else None


def reference_of(frames: Sequence[Pixels]) -> int:
    """Returns the frame with neither many black places nor many white ones, where motion cannot be seen."""
    brightest = [frame.max(2) for frame in frames]
    return int(np.argmin([max((each < _BLACK).mean(), (each > _WHITE).mean()) for each in brightest]))


def repairs(
    frames: Sequence[Pixels], strength: Strength, there: Sequence[Places | None] | None = None
) -> list[Repair]:
    """Finds what moves in small pictures [h, w, C] of the frames of a bracket.

    Args:
        frames: Frames of equal size in any order, in [0, 1].
        strength: "low" repairs strong contradictions, "high" all of them.
        there: Which places [h, w] a frame has, None for all. Missing places contradict nothing.

    Returns:
        One repair for each frame. The reference, and frames without motion, have no mask.
    """
    reference = reference_of(frames)
    order = [int(each) for each in np.argsort([frame.mean() for frame in frames], kind="stable")]
    middle = order.index(reference)
    found = [Repair() for _ in frames]
    everywhere = np.ones(frames[0].shape[:2], np.bool_)
    has = [everywhere if each is None else each for each in there or [None] * len(frames)]
    for outward in (order[middle + 1 :], order[:middle][::-1]):
        before, shown, known = reference, frames[reference], has[reference]
        for index, beyond in zip_longest(outward, outward[1:]):
            curve, mask = _contradiction(shown, frames[index], known & has[index], strength)
            patches = [Patch(before, True, curve, mask)] if mask.any() else []
            unsaid = (mask > 0) & _clipped(shown, frames[index])
            if unsaid.any() and beyond is not None:
                agrees = has[beyond] & ~(_contradiction(shown, frames[beyond], known & has[beyond], strength)[1] > 0)
                behind = Patch(
                    beyond, False, _between(frames, beyond, index, agrees & ~(mask > 0)), _mask(unsaid & agrees)
                )
                patches += [behind] if behind.mask.any() else []
                unsaid &= ~agrees
            told = np.where(has[index][..., None], frames[index], curve.of(shown))
            for patch in patches:
                told = _patched(told, patch, shown if patch.repaired else frames[patch.by])
            found[index] = Repair(tuple(patches))
            before, shown, known = index, told, (known | has[index]) & ~unsaid
    return found


def repaired(open_frame: Callable[[int], Picture], index: int, of_all: Sequence[Repair]) -> Picture:
    """Returns a frame that shows the reference's content where something moved.

    Args:
        open_frame: Opens an aligned frame.
        index: Number of the frame.
        of_all: The result of `repairs`.
    """
    picture = open_frame(index)
    for patch in of_all[index].patches:
        by = repaired(open_frame, patch.by, of_all) if patch.repaired else open_frame(patch.by)
        picture = replace(picture, samples=_Repaired(picture, by, patch))
    return picture


class _Repaired(LazySamples):
    """Samples of a frame, or where something moved, samples of another frame through a curve."""

    def __init__(self, picture: Picture, by: Picture, patch: Patch) -> None:
        height, width, channels = picture.samples.shape
        self.shape, self.dtype = (height, width, channels), np.dtype(picture.samples.dtype)
        self._picture, self._by, self._curve = picture, by, patch.curve
        self._mask = _feathered(patch.mask)

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes the samples at some rows and columns."""
        import cv2

        region = slice(rows.start, rows.stop, rows.step), slice(columns.start, columns.stop, columns.step)
        samples = np.asarray(self._picture.samples[region])
        height, width = self._mask.shape
        y = ((np.asarray(rows, np.float32) + 0.5) * height / self.shape[0] - 0.5)[:, None]
        x = ((np.asarray(columns, np.float32) + 0.5) * width / self.shape[1] - 0.5)[None]
        at_x, at_y = (np.array(np.broadcast_to(each, samples.shape[:2]), np.float32) for each in (x, y))
        mask = np.asarray(cv2.remap(self._mask, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        if not mask.any():
            return samples
        told = self._curve.of(self._by.region(*region))
        pixels = self._picture.region(*region)
        pixels += (told - pixels) * mask[..., None]
        made = quantised(self._picture.tone.shares(pixels), self.dtype, self._picture.levels)
        return np.where(mask[..., None] > 0, made, samples)  # all others stay the same, to the last bit


def _contradiction(near: Pixels, frame: Pixels, there: Places, strength: Strength) -> tuple[Curve, NDArray[np.uint8]]:
    """Returns the curve from one frame to another, and a mask of where the other shows something else."""
    import cv2

    if not there.any():
        rising = np.tile(np.linspace(0, 1, _KNOTS, dtype=np.float32), (frame.shape[2], 1))
        return Curve(rising), np.zeros(there.shape, np.uint8)
    inner = np.asarray(cv2.erode(there.astype(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)
    keep: Places | None = None
    for _ in range(_ROUNDS):
        curve = _curve(near[there], frame[there], None if keep is None else keep[there])
        distance = _blurred(_distance(near, frame, curve) * inner, 1.0)
        keep = distance < 0.03
    return curve, _things(distance, strength)


def _clipped(shown: Pixels, frame: Pixels) -> Places:
    """Says where a picture is clipped and so says nothing about a frame: white for a darker one, black for a
    brighter one.
    """
    brightest = shown.max(2)
    return np.asarray(brightest > _WHITE if frame.mean() < shown.mean() else brightest < _BLACK)


def _between(frames: Sequence[Pixels], here: int, there: int, places: Places) -> Curve:
    """Estimates the curve from one frame to another at places where nothing moves."""
    near, frame = (
        frames[each][places if places.any() else ...].reshape(-1, frames[each].shape[2]) for each in (here, there)
    )
    return _curve(near, frame, np.ones(len(near), np.bool_))


def _patched(pixels: Pixels, patch: Patch, by: Pixels) -> Pixels:
    soft = _feathered(patch.mask)[..., None]
    return np.asarray(pixels * (1 - soft) + patch.curve.of(by) * soft, np.float32)


def _mask(places: Places) -> NDArray[np.uint8]:
    return places.astype(np.uint8) * np.uint8(255)


def _curve(near: Pixels, frame: Pixels, keep: Places | None) -> Curve:
    """Estimates a curve from histograms, which need no places, and then from medians of places [N] that agree."""
    at = np.linspace(0, 1, _KNOTS)
    parts = np.linspace(0, 1, 513)
    curves = []
    for channel in range(near.shape[-1]):
        here, there = near[..., channel], frame[..., channel]
        levels, first = np.unique(np.quantile(here, parts), return_index=True)
        values = np.interp(at, levels, np.quantile(there, parts)[first])
        counts = np.full(_KNOTS, 0.5)
        if keep is not None:
            bins = np.rint(here[keep] * (_KNOTS - 1)).astype(int)
            sorting = np.argsort(bins, kind="stable")
            shown = there[keep][sorting]
            starts = np.searchsorted(bins[sorting], np.arange(_KNOTS + 1))
            for knot in np.flatnonzero(np.diff(starts) >= _ENOUGH):
                values[knot] = np.median(shown[starts[knot] : starts[knot + 1]])
                counts[knot] = starts[knot + 1] - starts[knot]
        rising = _rising(values, counts)
        curves.append(np.convolve(np.pad(rising, 2, mode="edge"), np.full(5, 0.2), "valid"))
    return Curve(np.stack(curves).astype(np.float32))


def _rising(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the nearest values that never fall, by pooling neighbours (isotonic regression)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pool = (float(value), float(weight), 1)
        while pools and pools[-1][0] > pool[0]:
            other = pools.pop()
            total = pool[1] + other[1]
            pool = ((pool[0] * pool[1] + other[0] * other[1]) / total, total, pool[2] + other[2])
        pools.append(pool)
    return np.repeat([pool[0] for pool in pools], [pool[2] for pool in pools])


def _distance(near: Pixels, frame: Pixels, curve: Curve) -> Pixels:
    """Returns how far a frame is outside the range predicted from a pixel's surroundings, the maximum
    over channels.
    """
    import cv2

    square = np.ones((3, 3), np.uint8)
    lowest = np.asarray(cv2.erode(near, square)).reshape(near.shape)
    highest = np.asarray(cv2.dilate(near, square)).reshape(near.shape)
    least = np.where(lowest < _BLACK, 0, curve.of(np.clip(lowest - _NOISE, 0, 1)))
    most = np.where(highest > _WHITE, 1, curve.of(np.clip(highest + _NOISE, 0, 1)))
    return np.asarray(np.maximum(least - frame, frame - most).max(2).clip(0), np.float32)


def _things(distance: Pixels, strength: Strength) -> NDArray[np.uint8]:
    """Returns masks of whole things: strong contradictions, and weak ones connected to them."""
    import cv2

    strong, weak = _CONTRADICTS[strength]
    parts = cv2.morphologyEx((distance > weak).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, sizes, _ = cv2.connectedComponentsWithStats(parts, connectivity=8)
    moved = np.zeros(count, bool)
    moved[np.unique(np.asarray(labels)[distance > strong])] = True
    moved[0] = False
    moved &= np.asarray(sizes)[:, cv2.CC_STAT_AREA] >= _LEAST_PX
    grown = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _GROWN_PX + 1,) * 2)
    return np.asarray(cv2.dilate(moved[np.asarray(labels)].astype(np.uint8) * 255, grown), np.uint8)


def _feathered(mask: NDArray[np.uint8]) -> Pixels:
    return _blurred(mask * np.float32(1 / 255), _FEATHER_PX)


def _blurred(plane: Pixels, sigma: float) -> Pixels:
    import cv2

    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
