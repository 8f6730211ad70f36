"""What frames of a scene have in common, whatever took them: detail relative to its contrast, or the direction of
edges.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Shape, enlarged, scale_of

Plane: TypeAlias = NDArray[np.float32]
Item = TypeVar("Item")
Kind = Literal["detail", "edges"]
"""detail: for one sensor; exposure and focus may differ. edges: for any sensors; it ignores which side is
brighter.
"""

#: Longest side of the smallest level.
_SMALLEST_SIDE = 40

#: Frames with fewer rows or columns have no room for two blocks that could vote.
_FEWEST_ROWS = 24

#: Contrast that counts as noise, as a fraction of the range in use.
_NOISE = 1.5 / 255

#: Samples beyond these are clipped, and say nothing about positions.
_BLACK, _WHITE = 1.5 / 255, 250 / 255


class Seen(NamedTuple):
    """A representation of a plane."""

    values: Plane
    """[H, W, C], zero where nothing is known."""
    told: Plane
    """[H, W] in [0, 1]: where something is known."""


class LuminancePyramid:
    """The luminance of a frame at its own size, half of it, and so on.

    Args:
        luminance: [H, W] in [0, 1].
        told: [H, W]: where it says something; by default where it is neither black nor white.
    """

    def __init__(self, luminance: Plane, told: NDArray[np.bool_] | None = None) -> None:
        top = float(np.percentile(luminance[::4, ::4], 99.5))
        self.brightness = float(luminance.mean())
        """The mean, in [0, 1]."""
        self.shown: NDArray[np.bool_] = luminance > _BLACK * min(1, 2 * top)
        """[H, W]: where the frame is not black."""
        told = self.shown & (luminance < _WHITE) if told is None else told
        self.planes = [np.ascontiguousarray(luminance / max(top, 1e-4), np.float32)]
        self.told = [told.astype(np.float32)]
        while min(self.planes[-1].shape) // 2 >= _SMALLEST_SIDE:
            self.planes.append(_halved(self.planes[-1]))
            self.told.append(_halved(self.told[-1]))
        self._kept: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def shape(self) -> Shape:
        """Size of the largest level."""
        return Shape(*self.planes[0].shape)

    def shape_of(self, level: int) -> Shape:
        """Returns the size of a level."""
        return Shape(*self.planes[level].shape)

    def level_of(self, px: float) -> int:
        """Returns the finest level with no more than about this many pixels."""
        return next((level for level, each in enumerate(self.planes) if each.size <= px), len(self) - 1)

    def halved(self) -> LuminancePyramid:
        """Returns the pyramid of the frame at half the size."""
        return LuminancePyramid(self.planes[1] if len(self) > 1 else _halved(self.planes[0]))

    @cached_property
    def textureless(self) -> bool:
        """Whether there is nothing to align by: too few pixels, or hardly any with contrast above noise."""
        if min(self.shape) < _FEWEST_ROWS:
            return True
        seen = self.seen(self.level_of(3e5), "detail")
        return bool((np.abs(seen.values[..., 0]) > 0.5).mean() < 0.005)

    def seen(self, level: int, kind: Kind) -> Seen:
        """Returns a representation of a level."""
        return self.kept((level, kind), lambda: represented(self.planes[level], self.told[level], kind))

    def kept(self, key: Hashable, made: Callable[[], Item]) -> Item:
        """Returns what was made for a key; it is made only once."""
        if key not in self._kept:
            self._kept[key] = made()
        return cast(Item, self._kept[key])

    def warped(self, matrix: Matrix, shape: Shape, kind: Kind) -> Seen:
        """Returns a representation of the frame in the coordinates of a reference.

        Args:
            matrix: Maps pixels of the reference to those of the largest level.
            shape: Size of the reference.
            kind: Which representation.
        """
        import cv2

        level = int(np.clip(np.floor(np.log2(max(scale_of(matrix, shape), 1e-3)) + 0.3), 0, len(self) - 1))
        to_level = at_level(level) @ matrix
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        both = [
            cv2.warpPerspective(each, to_level, (shape.width, shape.height), flags=flags, borderMode=border)
            for each, border in ((self.planes[level], cv2.BORDER_REPLICATE), (self.told[level], cv2.BORDER_CONSTANT))
        ]
        return represented(_floats(both[0]), _floats(both[1]), kind)


def at_level(level: int) -> Matrix:
    """Returns the matrix that maps pixels of a frame to those of one of its levels."""
    return enlarged(0.5**level, 0.5**level)


def represented(plane: Plane, told: Plane, kind: Kind) -> Seen:
    """Computes a representation of luminance [H, W]; `told` says in [0, 1] where it is valid."""
    import cv2

    planes = [_detail(plane)] if kind == "detail" else _edges(plane)
    if told.min() >= 1:
        return Seen(_floats(cv2.merge(planes)).reshape(*plane.shape, -1), _floats(told))
    inner = np.clip(2 * cv2.erode(_blurred(told, 1.5), np.ones((3, 3), np.uint8)) - 1, 0, 1)
    for each in planes:
        each *= inner
    return Seen(_floats(cv2.merge(planes)).reshape(*plane.shape, -1), _floats(inner))


# Planes are changed in place where that is possible: fresh memory costs several times what the arithmetic does.


def _detail(plane: Plane, spread_px: float = 3.0) -> Plane:
    detail = _blurred(plane, 0.7)
    detail -= _blurred(detail, spread_px)
    contrast = _blurred(detail * detail, spread_px)
    contrast += _NOISE**2
    detail /= np.sqrt(contrast, out=contrast)
    return detail


def _edges(plane: Plane) -> list[Plane]:
    """Returns the direction of edges, doubled so that both sides are equal, relative to local contrast; and where
    edges are.
    """
    import cv2

    smooth = _blurred(plane, 0.7)
    x, y = (_floats(cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8)) for dx in (1, 0))
    size = _floats(cv2.magnitude(x, y))
    safe = np.add(size, 1e-6, out=smooth)
    twice = x * y
    twice *= 2
    x *= x
    x -= np.multiply(y, y, out=y)
    x /= safe
    twice /= safe
    planes = [x, twice, size]
    for each in planes:
        cv2.GaussianBlur(each, (0, 0), 1.0, dst=each, borderType=cv2.BORDER_REPLICATE)
    around = _blurred(size, 3.0)
    around += _NOISE / 3
    for each in planes:
        each /= around
    size -= _blurred(size, 6.0)
    return planes


def gradients(values: Plane) -> tuple[Plane, Plane]:
    """Returns the changes to the right and down, for each pixel of [H, W, C]."""
    import cv2

    kernel = np.array([[-0.5, 0, 0.5]], np.float32)
    right, down = (
        cv2.filter2D(values, cv2.CV_32F, each, borderType=cv2.BORDER_REPLICATE) for each in (kernel, kernel.T)
    )
    return _floats(right).reshape(values.shape), _floats(down).reshape(values.shape)


def _blurred(plane: Plane, sigma: float) -> Plane:
    import cv2

    return _floats(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def _halved(plane: Plane) -> Plane:
    height, width = (side // 2 * 2 for side in plane.shape)
    even = plane[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return _floats(even.mean((1, 3)))


def _floats(array: Any) -> Plane:
    return np.asarray(array, np.float32)
