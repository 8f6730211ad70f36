"""The names that users learn: fuse(), decompose(), and Fuser, which both use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion import tiling
from defusion.errors import ImageError, WeightsError
from defusion.imaging import Picture, check_sources, from_array, luminance, read, to_array, with_luminance
from defusion.model.config import HeadName
from defusion.runtime import Engine, Planes, load_engine
from defusion.weights import WeightsFile, resolve

Array = NDArray[Any]
Source = Array | str | os.PathLike[str]

#: Sample types from shallow to deep: a result is as deep as its deepest source.
_DEPTHS = ("uint8", "uint16", "float32")

#: Grey pictures whose tones correlate less than this come from different sensors: focus pairs were seen at .87 to
#: .99, infrared and visible at -.88 to .02, medical pairs at .43 to .45.
_SAME_SENSOR_CORRELATION = 0.7


class Parts(NamedTuple):
    """What two sources decompose into, and what they fuse to; arrays like the sources.

    `common` is what both sources show, a `unique` what its source alone shows; black elsewhere.
    """

    common: Array
    unique_a: Array
    unique_b: Array
    fused: Array


class PartPictures(NamedTuple):
    """`Parts` as pictures, with depth and colour profile."""

    common: Picture
    unique_a: Picture
    unique_b: Picture
    fused: Picture


class Fuser:
    """A loaded network, ready for any number of pairs, from several threads at once.

    Args:
        weights: Name of shipped weights or path of a weights file; None for the default.
        engine: "openvino" or "torch"; None for openvino, or torch where the device is not the CPU.
        device: "cpu", or a torch device such as "cuda"; None for the CPU.
        precision: "float32" or "bfloat16"; None for float32.
        head: "blend", "pyramid" or "paper" (the paper's P_r); None for what suits the sources: see `head_for`.

    Raises:
        WeightsError: No such weights, or no such head in them.
        EngineError: The engine, device or precision is not there; none is replaced by another.
    """

    def __init__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        head: str | None = None,
    ) -> None:
        path = resolve(None if weights is None else os.fspath(weights))
        self.weights: WeightsFile = WeightsFile.open(path)
        heads = self.weights.config.heads
        if head is not None and head not in heads:
            raise WeightsError(f"{path.name} has no head {head!r}; expected {' or '.join(heads)}")
        self._head = next((each for each in heads if each == head), None)
        self.engine: Engine = load_engine(self.weights, engine=engine, device=device, precision=precision)

    def head_for(self, a: Picture, b: Picture) -> HeadName:
        """Returns the head that fuses two pictures: the one asked for, or the one for their kind.

        Where none was asked for, pictures from sensors of different kinds get "pyramid" if the weights hold it,
        and all others the weights' first head.
        """
        heads = self.weights.config.heads
        if self._head is None and "pyramid" in heads and of_different_sensors(a, b):
            return "pyramid"
        return self._head or heads[0]

    def fuse(self, sources: Sequence[Source]) -> Array:
        """Fuses two sources into one array; see `fuse`."""
        pictures = _pictures(sources)
        return _like(self.fuse_pictures(pictures), sources)

    def decompose(self, a: Source, b: Source) -> Parts:
        """Decomposes two sources; see `decompose`."""
        parts = self.decompose_pictures(*_pictures([a, b]))
        return Parts(*(_like(part, [a, b]) for part in parts))

    def fuse_pictures(self, pictures: Sequence[Picture]) -> Picture:
        """Fuses two pictures of one size; the result has the profile and EXIF of the first.

        Raises:
            ImageError: Not two pictures, or they differ in size.
        """
        a, b = _pair(pictures)
        planes_a, planes_b, visible = _planes(a, b)
        return _painted(tiling.fuse(self.engine, planes_a, planes_b, self.head_for(a, b)), a, b, visible)

    def decompose_pictures(self, a: Picture, b: Picture) -> PartPictures:
        """Decomposes two pictures of one size; all parts have the profile and EXIF of the first."""
        _pair([a, b])
        planes_a, planes_b, visible = _planes(a, b)
        made = tiling.decompose(self.engine, planes_a, planes_b, self.head_for(a, b))
        return PartPictures(
            common=_painted(made.common, a, b, None),
            unique_a=_painted(made.unique_a, a, b, None),
            unique_b=_painted(made.unique_b, a, b, None),
            fused=_painted(made.fused, a, b, visible),
        )


def fuse(
    sources: Sequence[Source],
    *,
    weights: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    head: str | None = None,
) -> Array:
    """Fuses two pictures of one scene into one.

    Where one source is grey and the other in colour, as with infrared and visible light, the luminances are fused
    and the colour is kept.

    Args:
        sources: Two arrays or paths, of one height and width. Arrays are HxW, HxWx1 or HxWx3 (RGB), of uint8,
            uint16, or float in [0, 1].
        weights: As for `Fuser`; the network stays loaded for the next call.
        engine: As for `Fuser`.
        device: As for `Fuser`.
        precision: As for `Fuser`.
        head: As for `Fuser`.

    Returns:
        An array of the same height and width, as deep as the deepest source (its dtype and range), with three
        channels if a source has three.

    Raises:
        ImageError: Not two sources, a file that cannot be read, NaNs, or sources of different size.
        WeightsError, EngineError: As for `Fuser`.
    """
    return _loaded(_key(weights), engine, device, precision, head).fuse(sources)


def decompose(
    a: Source,
    b: Source,
    *,
    weights: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    head: str | None = None,
) -> Parts:
    """Decomposes two pictures of one scene into what they share and what each has alone (paper, eq. 2).

    Args, raises: as `fuse`.

    Returns:
        Four arrays like the result of `fuse`: common, unique_a, unique_b and fused.
    """
    return _loaded(_key(weights), engine, device, precision, head).decompose(a, b)


@lru_cache(maxsize=4)
def _loaded(
    weights: str | None, engine: str | None, device: str | None, precision: str | None, head: str | None
) -> Fuser:
    return Fuser(weights=weights, engine=engine, device=device, precision=precision, head=head)


def _key(weights: str | os.PathLike[str] | None) -> str | None:
    return None if weights is None else os.fspath(weights)


def _pictures(sources: Sequence[Source]) -> list[Picture]:
    if isinstance(sources, str | os.PathLike | np.ndarray) and not (
        isinstance(sources, np.ndarray) and sources.ndim > 3
    ):
        raise ImageError("one source came; expected a list of two arrays or paths")
    names = [f"source {number}" for number in range(1, len(sources) + 1)]
    pictures = [
        from_array(source, name) if isinstance(source, np.ndarray) else read(Path(source))
        for source, name in zip(sources, names, strict=True)
    ]
    check_sources(pictures, names)
    return pictures


def _pair(pictures: Sequence[Picture]) -> tuple[Picture, Picture]:
    check_sources(pictures, [f"source {number}" for number in range(1, len(pictures) + 1)])
    if len(pictures) > 2:
        raise ImageError(f"{len(pictures)} sources came; expected two")
    return pictures[0], pictures[1]


def _planes(a: Picture, b: Picture) -> tuple[Planes, Planes, Picture | None]:
    """Makes the network's input, and says which picture lends its colour, if only one has any."""
    coloured = [picture for picture in (a, b) if not _is_colourless(picture)]
    visible = coloured[0] if len(coloured) == 1 else None
    planes = [np.repeat(luminance(each.pixels), 3, axis=2) if each is visible else each.pixels for each in (a, b)]
    first, second = (each.transpose(2, 0, 1)[None] for each in planes)
    return first, second, visible


def of_different_sensors(a: Picture, b: Picture) -> bool:
    """Says whether two pictures of one scene come from sensors of different kinds.

    They do if one alone has colour, or if neither has any and their tones hardly go together.
    """
    colourless = [_is_colourless(picture) for picture in (a, b)]
    if colourless != [True, True]:
        return any(colourless)
    tone_a, tone_b = (picture.pixels[::4, ::4, 0].ravel() for picture in (a, b))
    if min(tone_a.std(), tone_b.std()) == 0:
        return False
    return bool(np.corrcoef(tone_a, tone_b)[0, 1] < _SAME_SENSOR_CORRELATION)


def _is_colourless(picture: Picture) -> bool:
    red, green, blue = np.moveaxis(picture.pixels, 2, 0)
    return picture.grey or (np.array_equal(red, green) and np.array_equal(green, blue))


def _painted(planes: Planes, a: Picture, b: Picture, visible: Picture | None) -> Picture:
    """Makes the network's output a picture: as deep as the deepest source, with the first one's metadata."""
    pixels = np.clip(planes[0].transpose(1, 2, 0), 0, 1)
    if visible is not None:
        pixels = with_luminance(visible.pixels, luminance(pixels))
    elif _is_colourless(a) and _is_colourless(b):
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, axis=2)
    return Picture.of_pixels(
        pixels,
        depth=max(a.depth, b.depth, key=_DEPTHS.index),
        grey=a.grey and b.grey,
        icc=a.icc,
        exif=a.exif,
    )


def _like(picture: Picture, sources: Sequence[Source]) -> Array:
    """Gives a picture as an array of the deepest source's dtype, or of its own depth where sources are files."""
    arrays = [source for source in sources if isinstance(source, np.ndarray)]
    matching = [each for each in arrays if from_array(each[:1, :1]).depth == picture.depth]
    like = max(matching, key=np.ndim) if matching else np.empty((1, 1, 3), picture.depth)
    if not picture.grey and (like.ndim == 2 or like.shape[2] == 1):
        like = np.empty((1, 1, 3), like.dtype)
    return to_array(picture, like)
