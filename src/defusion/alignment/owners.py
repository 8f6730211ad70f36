"""Moving things in a focus stack, such as an insect, are shown by one frame. Otherwise each sharp frame would add its
own.

Focus explains that a frame looks like its neighbour, blurred. How strongly it is blurred changes slowly over a
picture, so the surroundings of a place tell. Where neither frame looks like the other one, blurred as much as in the
surroundings, something moved: an insect, a walker, or a near thing against a far one, because the camera moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, Samples, scaled

Pixels = NDArray[np.float32]
Places = NDArray[np.bool_]
Mask = NDArray[np.uint8]

#: How strongly a frame may be blurred against its neighbour: standard deviations, as fractions of the longest side.
_BLURS = (0.0, 0.0016, 0.0027, 0.0048, 0.008, 0.0135, 0.022)

#: Size of the surroundings that tell the blur, as a fraction of the longest side; differences are reduced by the
#: factor to find it, and count up to the limit, so that what moves hardly matters.
_AROUND_PART = 0.06
_REDUCED = 8
_LIMIT = 0.15

#: Tones that differ by this factor do not contradict each other: light and vignetting change a little.
_TONE = 0.05

#: Differences are means over this part of the longest side, and over this part of the blur. So neither noise nor the
#: shape of a lens's blur counts.
_MEAN_PART = 0.0045
_MEAN_OF_BLUR = 0.5

#: How strongly a place has to contradict, in [0, 1], to be part of a moving thing, and how strongly its surroundings
#: have to contradict to belong to it. In stacks of 5 to 15 frames that hold still, .09 was the maximum.
_STRONG, _WEAK = 0.1, 0.04

#: Things smaller than this part of the picture are ignored. Places that a thing encloses belong to it if they are
#: smaller than this part.
_LEAST_PART = 3e-4
_HOLE_PART = 0.1

#: By how much things are grown, and over which distance frames pass into each other, as fractions of the longest
#: side.
_GROWN_PART = 0.006
_FEATHER_PART = 0.004

#: Size of the surroundings whose detail decides which frame shows a place, as a fraction of the longest side. A frame
#: that wins so much of a thing shows all of it. A thing up to the last part of the picture is never shared.
_OWNER_PART = 0.03
_MAJORITY = 0.5
_WHOLE_PART = 0.03


def owned(frames: Sequence[Pixels], there: Sequence[Places | None]) -> list[Mask | None]:
    """Finds what moves in small pictures of a focus stack, and which frame shows each thing.

    Args:
        frames: [h, w, C] in [0, 1], in order of focus.
        there: Which places [h, w] a frame has; None for all.

    Returns:
        A mask for each frame, [h, w], 255 where another frame is shown; None if there is no such place.
    """
    import cv2

    everywhere = np.ones(frames[0].shape[:2], np.bool_)
    has = np.logical_and.reduce([everywhere if each is None else each for each in there])
    if not has.any():
        return [None] * len(frames)
    usual = float(np.mean([frame[has].mean() for frame in frames]))
    alike = [frame * np.float32(usual / max(float(frame[has].mean()), 1e-3)) for frame in frames]
    things = _things(np.maximum.reduce([_unexplained(a, b, has) for a, b in pairwise(alike)])) * has
    around = _OWNER_PART * max(has.shape)
    most_detail = np.stack([_blurred(_detail(frame), around) for frame in frames]).argmax(0)
    masks = np.zeros((len(frames), *has.shape), np.uint8)
    count, labels = cv2.connectedComponents(things, connectivity=8)
    for label in range(1, count):
        place = np.asarray(labels) == label
        wins = np.bincount(most_detail[place], minlength=len(frames))
        whole = wins.max() >= _MAJORITY * wins.sum() or wins.sum() <= _WHOLE_PART * has.size
        owner = wins.argmax() if whole else most_detail[place]
        masks[:, place] = np.where(np.arange(len(frames))[:, None] == owner, 0, 255)
    return [mask if mask.any() else None for mask in masks]


def _unexplained(a: Pixels, b: Pixels, has: Places) -> Pixels:
    """Returns how far two frames [h, w, C] contradict each other if each place is blurred as its surroundings are."""
    import cv2

    longest = max(has.shape)
    size = has.shape[::-1]
    a, b = (np.where(has[..., None], each, (a + b) / 2) for each in (a, b))
    frames, greys = ((a, b), (b, a)), [each.mean(2) for each in (a, b)]
    ways = [(0, blur * longest) for blur in _BLURS] + [(1, blur * longest) for blur in _BLURS[1:]]
    reduced = (max(1, size[0] // _REDUCED), max(1, size[1] // _REDUCED))
    around = _AROUND_PART * longest / _REDUCED
    costs = []
    for sharper, blur in ways:
        off = np.minimum(np.abs(_blurred(greys[sharper], blur) - greys[1 - sharper]), _LIMIT)
        costs.append(_blurred(np.asarray(cv2.resize(off, reduced, interpolation=cv2.INTER_AREA)), around))
    best = np.argmin(costs, 0)
    square = np.ones((2 * int(np.ceil(around)) + 1,) * 2, np.uint8)
    least = np.full(has.shape, np.inf, np.float32)
    for number in np.unique(best):  # at the border of a near thing, what serves either side will do
        sharper, blur = ways[number]
        sharp, soft = frames[sharper]
        serves = cv2.resize(
            cv2.dilate((best == number).astype(np.uint8), square), size, interpolation=cv2.INTER_NEAREST
        )
        off = _off(_blurred(sharp, blur), soft)
        off = np.abs(_blurred(off, max(_MEAN_PART * longest, _MEAN_OF_BLUR * blur)))
        most = np.maximum.reduce([off[..., channel] for channel in range(off.shape[2])])
        least = np.where(np.asarray(serves) > 0, np.minimum(least, most), least)
    return np.asarray(least * has, np.float32)


def _off(told: Pixels, shown: Pixels) -> Pixels:
    """Returns by how much pixels differ, beyond what a shift by one pixel does to either."""
    one, other = _outside(shown, told), _outside(told, shown)
    return np.where(np.abs(one) < np.abs(other), one, -other)


def _outside(pixels: Pixels, of: Pixels) -> Pixels:
    """Returns how far pixels are outside the range of others' surroundings."""
    import cv2

    square = np.ones((3, 3), np.uint8)
    lowest, highest = (np.asarray(each(of, square)).reshape(of.shape) for each in (cv2.erode, cv2.dilate))
    return np.asarray(pixels - pixels.clip(lowest * (1 - _TONE), highest * (1 + _TONE)), np.float32)


def _things(off: Pixels) -> Mask:
    """Returns whole things [h, w], 1 there: strong contradictions, weak ones around them, and what they enclose."""
    import cv2

    _, labels, sizes, _ = cv2.connectedComponentsWithStats((off > _WEAK).astype(np.uint8), connectivity=8)
    areas, labels = np.asarray(sizes)[:, cv2.CC_STAT_AREA], np.asarray(labels)
    moved = np.zeros(len(areas), np.bool_)
    moved[np.unique(labels[off > _STRONG])] = True
    moved &= areas >= _LEAST_PART * off.size
    moved[0] = False
    side = 2 * int(np.ceil(_GROWN_PART * max(off.shape))) + 1
    grown = cv2.dilate(moved[labels].astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    _, labels, sizes, _ = cv2.connectedComponentsWithStats(1 - np.asarray(grown), connectivity=4)
    areas, labels = np.asarray(sizes)[:, cv2.CC_STAT_AREA], np.asarray(labels)
    hole = areas < _HOLE_PART * off.size
    hole[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1], [0]])] = False
    return np.asarray(grown | hole[labels], np.uint8)


def without(picture: Picture, mask: Mask) -> Picture:
    """Returns a picture without the places that another frame shows.

    Args:
        picture: The frame.
        mask: [h, w] of a small picture of it, 255 at these places.
    """
    return replace(picture, alpha=_Rest(picture, mask))


class _Rest(LazySamples):
    """Alpha of a frame without the places that another frame shows."""

    def __init__(self, picture: Picture, mask: Mask) -> None:
        self.shape, self.dtype = (picture.height, picture.width, 1), np.dtype(np.uint8)
        self._own: Samples | None = picture.alpha
        self._mask = _blurred(mask.astype(np.float32), _FEATHER_PART * max(mask.shape))

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        """Computes alpha at some rows and columns."""
        import cv2

        height, width = self._mask.shape
        y = ((np.asarray(rows, np.float32) + 0.5) * height / self.shape[0] - 0.5)[:, None]
        x = ((np.asarray(columns, np.float32) + 0.5) * width / self.shape[1] - 0.5)[None]
        at_x, at_y = (np.array(np.broadcast_to(each, (len(rows), len(columns))), np.float32) for each in (x, y))
        mask = cv2.remap(self._mask, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        alpha = np.rint(255 - mask).astype(np.uint8)[..., None]
        if self._own is not None:
            region = slice(rows.start, rows.stop, rows.step), slice(columns.start, columns.stop, columns.step)
            alpha = np.minimum(alpha, np.rint(255 * scaled(np.asarray(self._own[region]))).astype(np.uint8))
        return np.asarray(alpha)


def _detail(frame: Pixels) -> Pixels:
    light = frame.mean(2)
    return np.asarray(np.square(light - _blurred(light, 1.5)), np.float32)


def _blurred(plane: Pixels, sigma: float) -> Pixels:
    import cv2

    if sigma == 0:
        return plane
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32).reshape(plane.shape)
