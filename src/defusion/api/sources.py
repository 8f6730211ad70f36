"""Turns what users give into frames, and results into the type that was given."""

from __future__ import annotations

import math
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from defusion.errors import FusionWarning, ImageError, SourceTypeError
from defusion.imaging import Picture, from_array, from_pillow, read, stack_in, to_array
from defusion.imaging.samples import DEPTH_OF
from defusion.imaging.tone import Levels
from defusion.scene.frame import Frame
from defusion.scene.maps import Maps

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Array: TypeAlias = NDArray[Any]


class HasArray(Protocol):
    """What numpy can turn into an array: an array, a torch tensor on the CPU, and others."""

    def __array__(self) -> Array: ...


#: A picture of a scene, as `fuse` takes it.
Source: TypeAlias = "str | os.PathLike[str] | Picture | Image | HasArray"
#: Picture files of a scene, or one file with several pages.
Paths: TypeAlias = "Sequence[str | os.PathLike[str]] | str | os.PathLike[str]"
#: The pictures of a scene: a list, a stack in one array, or one file with several pages.
Sources: TypeAlias = "Iterable[Source] | os.PathLike[str]"

#: Types that the result has, too, if all sources have it. Otherwise the result is an array.
SourceType = TypeVar("SourceType", Picture, "Image", "Tensor")

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Reading:
    """How to read sources that are unusual, or that leave something open.

    Raises:
        ImageError: A value is not allowed.
    """

    pages: str | None = None
    """Which pages of a file are sources: "all"; numbers from 1 such as "2-5,8"; or "c2" or "c2:2-5,8" for pages of
    the second channel. None takes all pages of a single file, and the first page of each of several files.
    """
    orientation: Literal["apply", "ignore"] = "apply"
    """"apply" turns pictures upright as their EXIF says; "ignore" takes them as they are stored."""
    bgr: bool = False
    """Arrays are in BGR order, as in OpenCV; results are, too."""
    ranges: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Black and white level of sources by their number, from 1, in the unit of their samples: counts, kelvin,
    degrees.
    """
    black_hot: Collection[int] = ()
    """Numbers, from 1, of thermal sources that show warm things dark."""

    def __post_init__(self) -> None:
        if self.orientation not in ("apply", "ignore"):
            raise ImageError(f"orientation {self.orientation!r} is not known; expected apply or ignore")
        for number, (low, high) in self.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high)) or low == high:
                raise ImageError(
                    f"the range of source {number} is {low:g} to {high:g}; expected two different numbers"
                )


#: Nothing unusual.
AS_USUAL = Reading()


class FusedArray(np.ndarray[Any, np.dtype[Any]]):
    """An array with notes and maps. Arrays that are computed from it have neither."""

    notes: tuple[str, ...] = ()
    """What was changed on the way in, one short sentence each."""
    maps: Maps | None = None
    """The maps of the picture, if they were asked for."""


def listed(sources: Any) -> list[Any]:
    """Returns sources as a list. A stack [Z, H, W], [N, H, W, C] or [N, C, H, W] gives its pictures.

    Raises:
        ImageError: There is only one picture.
    """
    if isinstance(sources, str | os.PathLike):
        return [sources]
    if isinstance(sources, bytes):
        raise SourceTypeError("bytes came; expected paths or arrays: decode them first")
    if isinstance(sources, Picture) or _is_image(sources):
        raise ImageError("one image came; expected a list of two or more pictures")
    shape = getattr(sources, "shape", None)
    if shape is None or not hasattr(sources, "__array__"):
        if not isinstance(sources, Iterable):
            raise SourceTypeError(f"one {type(sources).__name__} came; expected a list of two or more pictures")
        return list(sources)
    if len(shape) < 3 or (
        len(shape) == 3 and (shape[-1] in _CHANNELS or (_is_tensor(sources) and shape[0] in (1, 3)))
    ):
        raise ImageError(
            f"one source of shape {tuple(shape)} came; expected a list of two or more pictures, or one stack"
        )
    return list(sources)


def frames_of(sources: Sources, reading: Reading = AS_USUAL) -> list[Frame]:
    """Returns sources as frames. Files are opened when they are needed.

    Raises:
        ImageError: A source is of an unknown type, or pages do not exist.
    """
    given = listed(sources)
    frames: list[Frame] = []
    for number, source in enumerate(given, 1):
        if isinstance(source, str | os.PathLike):
            made = _frames_of_file(source, reading, alone=len(given) == 1)
        else:
            name = f"source {number}"
            made = [Frame.of(name, _picture(source, name, reading))]
        frames += [_as_read(frame, number, reading) for frame in made]
    return frames


def given_back(picture: Picture, sources: Sequence[Any], notes: Sequence[str], reading: Reading) -> Any:
    """Converts a picture to the type that all sources have: `Picture`, PIL image or torch tensor; otherwise to an
    array.

    An array has the dtype of the deepest source, or the picture's depth if a file is as deep as that. Whole numbers
    that are fused as floats are rounded.
    """
    if all(isinstance(each, Picture) for each in sources):
        return replace(picture, notes=tuple(notes))
    if all(map(_is_image, sources)):
        return _as_image(picture, notes)
    as_files = (str, os.PathLike, Picture)
    arrays = [_as_array(each) for each in sources if not (isinstance(each, as_files) or _is_image(each))]
    deepest = [each for each in arrays if from_array(each[:1, :1]).depth == picture.depth]
    dtypes = [each.dtype for each in deepest]
    if len(deepest) < len(sources):
        dtypes.append(np.dtype(picture.depth))
    dtype = max(dtypes, key=lambda each: (each.kind == "f", each.itemsize, each != np.bool_))
    flat = picture.grey and all(each.ndim == 2 for each in deepest)
    fused_as = dtype if dtype.name in DEPTH_OF else picture.depth
    array = to_array(picture, np.empty((1, 1) if flat else (1, 1, picture.samples.shape[2]), fused_as))
    if fused_as != dtype:
        limits = np.iinfo(dtype)
        array = np.rint(array).clip(limits.min, limits.max).astype(dtype)
    if reading.bgr and not picture.grey:
        array = array[..., ::-1].copy()
    if all(map(_is_tensor, sources)):
        import torch

        planes_first = array.ndim == 3 and all(_planes_first(each) for each in sources if each.ndim == 3)
        tensor = torch.from_numpy(np.moveaxis(array, 2, 0).copy() if planes_first else array)
        floats = [each.dtype for each in sources if each.is_floating_point()]
        return tensor.to(max(floats, key=lambda of: int(of.itemsize))) if tensor.is_floating_point() else tensor
    fused = array.view(FusedArray)
    fused.notes = tuple(notes)
    return fused


def warn(notes: Iterable[str]) -> None:
    """Gives notes as warnings that point at the line that called this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("defusion."):
        level, frame = level + 1, frame.f_back
    for note in notes:
        warnings.warn(note, FusionWarning, stacklevel=level)


def _as_read(frame: Frame, number: int, reading: Reading) -> Frame:
    """Applies the reading to a frame."""
    if reading.orientation == "apply" and number not in reading.ranges:
        return frame._replace(black_hot=number in reading.black_hot)
    levels = Levels(*reading.ranges[number]) if number in reading.ranges else None

    def opened() -> Picture:
        picture = frame.open()
        picture = picture.as_stored() if reading.orientation == "ignore" else picture
        return replace(picture, levels=levels or picture.levels)

    return frame._replace(open=opened, black_hot=number in reading.black_hot)


def _frames_of_file(path: str | os.PathLike[str], reading: Reading, *, alone: bool) -> list[Frame]:
    name = os.fspath(path)
    if reading.pages is None and not alone:
        return [Frame(name, partial(read, Path(path)))]
    pages = _pages(name, reading.pages)
    return [Frame(f"{name} page {page + 1}", partial(read, Path(path), page)) for page in pages]


def _pages(name: str, wanted: str | None) -> list[int]:
    """Returns the pages of a file that are sources."""
    stack = stack_in(name)
    if stack.pages == 1:
        raise ImageError(f"1 source came, {name} holds one picture; fusion needs at least two of one scene.")
    if wanted is None and stack.animated:
        raise ImageError(f"{name} holds {stack.pages} frames of an animation; --pages all fuses them.")
    channel, numbers = "", wanted or "all"
    if numbers.startswith("c"):
        channel, _, numbers = numbers.partition(":")
    if stack.channels > 1 and not channel:
        raise ImageError(
            f"{name} holds {stack.channels} channels of {len(stack.of_channel[0])} planes each, "
            "and channels are not mixed; choose one: --pages c1."
        )
    inside: Sequence[int] = range(stack.pages)
    if channel:
        if not re.fullmatch(r"c[0-9]{1,4}", channel) or not 1 <= int(channel[1:]) <= len(stack.of_channel):
            raise ImageError(f"{name} has no channel {channel}; expected c1 to c{max(1, len(stack.of_channel))}.")
        inside = stack.of_channel[int(channel[1:]) - 1]
    if not numbers or numbers == "all":
        return list(inside)
    chosen = []
    for part in numbers.split(","):
        span = re.fullmatch(r"\s*(\d{1,6})(?:\s*-\s*(\d{1,6}))?\s*", part)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (0, 0)
        if not 1 <= first <= last <= len(inside):
            raise ImageError(
                f"{name} has pages 1 to {len(inside)}, but {part!r} came; expected pages such as 2-5,8 or all."
            )
        chosen += [inside[number - 1] for number in range(first, last + 1)]
    return chosen


def _picture(source: Any, name: str, reading: Reading) -> Picture:
    if _is_image(source):
        return from_pillow(source, name)
    if isinstance(source, Picture):
        return source
    if not (isinstance(source, np.ndarray) or hasattr(source, "__array__")):
        raise SourceTypeError(
            f"{name} is of type {type(source).__name__}; expected a path, an array, a PIL image or a tensor"
        )
    if _is_tensor(source) and source.device.type != "cpu":
        raise ImageError(f"{name} is a tensor on {source.device}; expected one on the CPU: call .cpu() first")
    if _is_tensor(source) and str(source.layout) != "torch.strided":
        raise ImageError(f"{name} is a sparse tensor; expected a dense one: call .to_dense() first")
    masked = isinstance(source, np.ma.MaskedArray)
    array = _as_array(source.filled(0) if masked else source)
    if reading.bgr and array.ndim == 3 and array.shape[2] in (3, 4):
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]
    picture = from_array(array, name)
    return _masked(picture, _as_array(np.ma.getmaskarray(source)), name) if masked else picture


def _masked(picture: Picture, mask: NDArray[np.bool_], name: str) -> Picture:
    """Gives masked places of an array alpha 0. A place is masked if one of its channels is."""
    hidden = mask.reshape(*mask.shape[:2], -1).any(2, keepdims=True)
    if not hidden.any():
        return picture
    if hidden.all():
        raise ImageError(f"{name} is masked everywhere; expected places that are not")
    shown = np.uint8(255) if picture.alpha is None else np.asarray(picture.alpha)
    alpha = np.where(hidden, shown * np.uint8(0), shown)
    return replace(picture, alpha=alpha, notes=(*picture.notes, f"{name}: masked places count for nothing"))


def _as_array(source: Any) -> Array:
    """Returns an array [H, W] or [H, W, C] of a source that is not a file."""
    if _is_tensor(source):
        source = source.detach()
        source = source.float() if str(source.dtype) == "torch.bfloat16" else source
        array = source.numpy()
        return np.moveaxis(array, 0, 2) if _planes_first(source) else array
    array = np.asarray(source)
    if array.ndim == 3 and array.shape[2] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, 2)
    return array


def _planes_first(tensor: Any) -> bool:
    """Says whether a tensor is [C, H, W], which is torch's order."""
    return tensor.ndim == 3 and tensor.shape[0] in _CHANNELS


def _is_tensor(source: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def _is_image(source: object) -> bool:
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(source, pil.Image)


def _as_image(picture: Picture, notes: Sequence[str]) -> Any:
    """Converts a picture to a PIL image, which has 8 bits, or is grey with 16 bits or floats."""
    from PIL import Image

    depth = picture.depth if picture.grey else "uint8"
    samples = to_array(picture, np.empty((1, 1) if picture.grey else (1, 1, 3), depth))
    image = Image.fromarray(samples)
    kept = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp, "notes": tuple(notes)}
    image.info.update({key: value for key, value in kept.items() if value})
    return image
