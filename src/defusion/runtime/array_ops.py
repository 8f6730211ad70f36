"""`defusion.model.ops.PixelOps` on arrays, by numpy and OpenCV. Pixels are worked on plane by plane.

A batch holds the sources of one scene in order: [S, C, H, W], float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from defusion.runtime.engine import Planes

_QUARTER = np.array([0.25, 0.5, 0.25], np.float32)


class ArrayOps:
    """Operations on the sources of a scene."""

    def relu(self, x: Planes) -> Planes:
        return np.maximum(x, 0)

    def sigmoid(self, x: Planes) -> Planes:
        made = np.exp(np.minimum(-x, np.float32(80)))  # larger exponents would overflow
        made += 1
        return np.reciprocal(made, out=made)

    def log(self, x: Planes) -> Planes:
        return np.log(x)

    def exp(self, x: Planes) -> Planes:
        return np.exp(x)

    def sqrt(self, x: Planes) -> Planes:
        return np.sqrt(np.maximum(x, 0))

    def clamp(self, x: Planes, low: float, high: float) -> Planes:
        return np.clip(x, np.float32(low), np.float32(high))

    def channels(self, x: Planes, start: int, stop: int) -> Planes:
        return x[:, start:stop]

    def concat(self, planes: Sequence[Planes]) -> Planes:
        return np.concatenate(planes, 1)

    def mean(self, x: Planes) -> Planes:
        made: Planes = np.add.reduce(x, 1, keepdims=True)
        made *= np.float32(1 / x.shape[1])
        return made

    def most(self, x: Planes) -> Planes:
        most: Planes = np.maximum.reduce(x, 1, keepdims=True)
        return most

    def least(self, x: Planes) -> Planes:
        least: Planes = np.minimum.reduce(x, 1, keepdims=True)
        return least

    def halve(self, x: Planes) -> Planes:
        count, channels, height, width = x.shape
        made = np.empty((count, channels, height // 2, width // 2), np.float32)
        rows = made.reshape(-1, width // 2)  # no 2x2 pixels lie in two planes, so all planes are halved as one
        cv2.resize(x.reshape(-1, width), rows.shape[::-1], rows, interpolation=cv2.INTER_AREA)
        return made

    def double(self, x: Planes) -> Planes:
        size = (2 * x.shape[3], 2 * x.shape[2])
        return _each_plane(x, size, lambda plane, made: cv2.resize(plane, size, made, interpolation=cv2.INTER_LINEAR))

    def blur(self, x: Planes) -> Planes:
        size = (x.shape[3], x.shape[2])
        return _each_plane(
            x,
            size,
            lambda plane, made: cv2.sepFilter2D(
                plane, cv2.CV_32F, _QUARTER, _QUARTER, made, borderType=cv2.BORDER_REPLICATE
            ),
        )

    def fold(self, x: Planes) -> Planes:
        count, channels, height, width = x.shape
        made = np.empty((count, 4 * channels, height // 2, width // 2), np.float32)
        for pairs, planes in _pairs_of_pixels(x, made):
            cv2.split(pairs, planes)
        return made

    def unfold(self, x: Planes) -> Planes:
        count, channels, height, width = x.shape
        made = np.empty((count, channels // 4, 2 * height, 2 * width), np.float32)
        for pairs, planes in _pairs_of_pixels(made, x):
            cv2.merge(planes, pairs)
        return made

    def over_sources(self, x: Planes) -> Planes:
        if len(x) == 2:  # numpy's own sum took four times as long
            both: Planes = x[:1] + x[1:]
            return both
        total: Planes = np.add.reduce(x, 0, keepdims=True)
        return total

    def mean_over_sources(self, x: Planes) -> Planes:
        mean = self.over_sources(x)
        mean *= np.float32(1 / len(x))
        return mean

    def most_of_sources(self, x: Planes) -> Planes:
        most: Planes = np.maximum.reduce(x, 0, keepdims=True)
        return most

    def each_source(self, x: Planes) -> Planes:
        return x  # it broadcasts


class ArrayLayers(ArrayOps):
    """The operations that layers consist of. Convolutions work for kernels of one pixel only.

    Args:
        tensors: The weights, by their names.
    """

    def __init__(self, tensors: Mapping[str, Planes]) -> None:
        self._tensors = tensors

    def conv(self, x: Planes, name: str, *, dilation: int = 1) -> Planes:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        count, channels, height, width = x.shape
        # States have their channels last. Multiplied from this side, the result has its planes one after the other.
        pixels = x.transpose(0, 2, 3, 1).reshape(count, height * width, channels)
        made = weight[:, :, 0, 0] @ pixels.transpose(0, 2, 1)
        made += bias[:, None]
        return made.reshape(count, len(weight), height, width)

    def numbers(self, name: str) -> Sequence[float]:
        return [float(number) for number in self._tensors[name]]


def _pairs_of_pixels(whole: Planes, folded: Planes) -> Iterator[tuple[Planes, list[Planes]]]:
    """Yields the even and the odd rows of each plane as pairs of pixels, [h, w, 2], each with the two planes [h, w]
    that hold these pixels in the folded array.
    """
    count, channels, height, width = whole.shape
    rows = whole.reshape(count, channels, height // 2, 2, width // 2, 2)
    for source in range(count):
        for channel in range(channels):
            for row in range(2):
                first = 4 * channel + 2 * row
                yield rows[source, channel, :, row], [folded[source, first], folded[source, first + 1]]


def _each_plane(x: Planes, size: tuple[int, int], work: Callable[[Planes, Planes], object]) -> Planes:
    """Applies `work` to each plane of x. The results have the given size, (width, height)."""
    made = np.empty((*x.shape[:2], size[1], size[0]), np.float32)
    for planes, places in zip(x, made, strict=True):
        for plane, place in zip(planes, places, strict=True):
            work(plane, place)
    return made
