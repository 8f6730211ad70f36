"""Moving things in a focus stack, such as an insect, are shown by one frame. Otherwise each sharp frame would add its
own.

Focus explains that a frame looks like its neighbour, blurred. How strongly it is blurred changes slowly over a
picture, so the surroundings of a place tell. Where neither frame looks like the other one, blurred as much as in the
surroundings, something moved: an insect, a walker, or a near thing against a far one, because the camera moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

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

#: Places that a thing encloses belong to it if they are smaller than this part of the picture.
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

#: A blur reaches so many of its standard deviations, and larger ones are done at half the size.
_REACH = 3
_BY_HALVES_PX = 4.0


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
    off = np.zeros(has.shape, np.float32)
    for a, b in pairwise(_looks(frames, has)):
        off = np.maximum(off, _unexplained(a, b))
    things = _things(off * has) * has
    count, labels = cv2.connectedComponents(things, connectivity=8)
    if count == 1:
        return [None] * len(frames)
    most_detail = _most_detail(frames)
    masks = np.zeros((len(frames), *has.shape), np.uint8)
    for label in range(1, count):
        place = np.asarray(labels) == label
        wins = np.bincount(most_detail[place], minlength=len(frames))
        whole = wins.max() >= _MAJORITY * wins.sum() or wins.sum() <= _WHOLE_PART * has.size
        owner = wins.argmax() if whole else most_detail[place]
        masks[:, place] = np.where(np.arange(len(frames))[:, None] == owner, 0, 255)
    return [mask if mask.any() else None for mask in masks]


class _Look(NamedTuple):
    """What is compared of a frame."""

    pixels: Pixels
    """[h, w, C], as bright as other frames."""
    lowest: Pixels
    """[h, w, C], the least of a pixel and its neighbours, and a little less."""
    highest: Pixels
    greys: list[Pixels]
    """[h/2, w/2], blurred by each of `_BLURS`."""


def _looks(frames: Sequence[Pixels], has: Places) -> Iterator[_Look]:
    """Looks at one frame after the other. Places that not all frames have look the same in all."""
    import cv2

    height, width = has.shape
    inside = has.astype(np.uint8)
    means = [float(np.mean(cv2.mean(frame, inside)[: frame.shape[2]])) for frame in frames]
    of_all = None if has.all() else np.mean(frames, 0)
    for frame, mean in zip(frames, means, strict=True):
        pixels = frame * np.float32(np.mean(means) / max(mean, 1e-3))
        if of_all is not None:
            pixels = np.where(has[..., None], pixels, of_all)
        half = _resized(_grey(pixels), (height + 1) // 2, (width + 1) // 2)
        yield _Look(pixels, *_ranges(pixels), [_blurred(half, blur * max(has.shape) / 2) for blur in _BLURS])


def _unexplained(a: _Look, b: _Look) -> Pixels:
    """Returns how far two frames contradict each other if each place is blurred as its surroundings are, [h, w].

    Where that is less than `_WEAK`, it may be even less.
    """
    import cv2

    height, width = a.pixels.shape[:2]
    longest = max(height, width)
    ways = [(a, b, number) for number in range(len(_BLURS))] + [(b, a, number) for number in range(1, len(_BLURS))]
    around = _AROUND_PART * longest / _REDUCED
    costs = []
    for sharp, soft, number in ways:
        off = np.minimum(np.abs(sharp.greys[number] - soft.greys[0]), _LIMIT)
        costs.append(_blurred(_resized(off, max(1, height // _REDUCED), max(1, width // _REDUCED)), around))
    best = np.argmin(costs, 0)
    square = np.ones((2 * int(np.ceil(around)) + 1,) * 2, np.uint8)
    least = np.full((height, width), np.inf, np.float32)
    for way in np.argsort(-np.bincount(best.ravel()), kind="stable"):
        around_it = cv2.dilate((best == way).astype(np.uint8), square)  # at a border, what serves either side will do
        serves = np.asarray(cv2.resize(around_it, (width, height), interpolation=cv2.INTER_NEAREST))
        serves[least < _WEAK] = 0
        left, top, across, down = cv2.boundingRect(serves)
        if not across:
            continue
        part = slice(top, top + down), slice(left, left + across)
        sharp, soft, number = ways[way]
        off = _off(sharp, soft, _BLURS[number] * longest, part)
        np.minimum(least[part], off, out=least[part], where=serves[part] > 0)
    return least


def _off(sharp: _Look, soft: _Look, blur: float, part: tuple[slice, slice]) -> Pixels:
    """Returns how far the soft frame is from the sharp one, blurred, in a part: the maximum over channels [h, w].

    Only what is beyond a shift by one pixel of either counts.
    """
    import cv2

    mean = max(_MEAN_PART * max(sharp.pixels.shape), _MEAN_OF_BLUR * blur)
    halo = int(np.ceil(_REACH * (blur + mean))) + 1
    seen = tuple(slice(max(0, each.start - halo), each.stop + halo) for each in part)
    inner = tuple(slice(each.start - of.start, each.stop - of.start) for each, of in zip(part, seen, strict=True))
    told, shown = _blurred(sharp.pixels[seen], blur), soft.pixels[seen]
    lowest, highest = _ranges(told)
    more = np.minimum(shown - highest, soft.lowest[seen] - told)
    less = np.minimum(lowest - shown, told - soft.highest[seen])
    off = _blurred(np.maximum(more, 0) - np.maximum(less, 0), mean)
    return np.asarray(np.maximum.reduce(cv2.split(np.abs(off[inner]))), np.float32)


def _ranges(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Returns the least and the greatest of each pixel and its neighbours, with a margin for tones."""
    import cv2

    square = np.ones((3, 3), np.uint8)
    lowest, highest = (np.asarray(each(pixels, square)).reshape(pixels.shape) for each in (cv2.erode, cv2.dilate))
    return lowest * np.float32(1 - _TONE), highest * np.float32(1 + _TONE)


def _things(off: Pixels) -> Mask:
    """Returns whole things [h, w], 1 there: strong contradictions, weak ones around them, and what they enclose."""
    import cv2

    count, labels = cv2.connectedComponents((off > _WEAK).astype(np.uint8), connectivity=8)
    labels = np.asarray(labels)
    moved = np.zeros(count, np.bool_)
    moved[np.unique(labels[off > _STRONG])] = True
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


def _most_detail(frames: Sequence[Pixels]) -> NDArray[np.intp]:
    """Returns the number of the frame that has most detail around each place, [h, w]."""
    height, width = frames[0].shape[:2]
    details = []
    for frame in frames:
        light = _grey(frame)
        detail = np.square(light - _blurred(light, 1.5))
        around = _OWNER_PART * max(height, width) / _REDUCED
        details.append(_blurred(_resized(detail, max(1, height // _REDUCED), max(1, width // _REDUCED)), around))
    return np.asarray(np.stack([_resized(each, height, width) for each in details]).argmax(0))


def _grey(pixels: Pixels) -> Pixels:
    import cv2

    height, width, channels = pixels.shape
    equally = np.full((1, channels), 1 / channels, np.float32)
    return np.asarray(cv2.transform(pixels, equally), np.float32).reshape(height, width)


def _resized(plane: Pixels, height: int, width: int) -> Pixels:
    import cv2

    way = cv2.INTER_AREA if height < len(plane) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (width, height), interpolation=way), np.float32)


def _blurred(plane: Pixels, sigma: float) -> Pixels:
    import cv2

    if sigma == 0:
        return plane
    if sigma > _BY_HALVES_PX and min(plane.shape[:2]) > 1:
        height, width = plane.shape[:2]
        half = _blurred(_resized(plane, (height + 1) // 2, (width + 1) // 2), sigma / 2)
        return _resized(half, height, width).reshape(plane.shape)
    side = 2 * int(np.ceil(_REACH * sigma)) + 1
    return np.asarray(cv2.GaussianBlur(plane, (side, side), sigma), np.float32).reshape(plane.shape)
