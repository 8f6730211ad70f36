"""The functions most users need: fuse(), fuse_files() and decompose()."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Unpack, overload

from defusion.alignment.record import Alignment
from defusion.api.fuser import Fuser
from defusion.api.options import DEFAULTS, Choices, Options
from defusion.api.results import FusedFile, Parts
from defusion.api.sources import AS_USUAL, FusedArray, Paths, Reading, Source, Sources, SourceType, warn
from defusion.scene.maps import Maps
from defusion.tiles.progress import Report
from defusion.weights import resolve


@overload
def fuse(  # type: ignore[overload-overlap]  # sources of several types give an array
    sources: Iterable[SourceType],
    options: Options = ...,
    *,
    reading: Reading = ...,
    maps: bool = ...,
    by_map: Maps | None = ...,
    **choices: Unpack[Choices],
) -> SourceType: ...
@overload
def fuse(
    sources: Sources,
    options: Options = ...,
    *,
    reading: Reading = ...,
    maps: bool = ...,
    by_map: Maps | None = ...,
    **choices: Unpack[Choices],
) -> FusedArray: ...
def fuse(
    sources: Sources,
    options: Options = DEFAULTS,
    *,
    reading: Reading = AS_USUAL,
    maps: bool = False,
    by_map: Maps | None = None,
    **choices: Unpack[Choices],
) -> Any:
    """Fuses pictures of one scene into one.

    If one source is grey and the other in colour, as with infrared and visible light, the luminances are fused and
    the colour is kept. The network stays loaded for the next call.

    Args:
        sources: Two or more pictures of one scene, in any order. Sources that do not line up are aligned. A source is
            a path; an array HxW, HxWx1, HxWx3 (RGB) or HxWx4 of whole numbers or floats; a `Picture`; a PIL image; or
            a torch tensor on the CPU. Masked places of a masked array count for nothing. Instead of a list you can
            give one file with several pages, or one stack: ZxHxW, NxHxWxC or NxCxHxW.
        options: How to fuse.
        reading: Which pages to take, and how to read files and arrays that are unusual; see `Reading`.
        maps: Also compute which source each place comes from and, for a focus stack, its depth. The result then has
            an attribute `maps`; see `Maps`.
        by_map: Maps of an earlier result, or `Maps.load(folder)`. They replace the network's decision: each place is
            taken from the sources that it was taken from then.
        **choices: Single options by name, such as `align="off"`; they override `options`. See `Options`.

    Returns:
        An array as high and wide as the sources, or as the area that all sources cover if they were aligned and
        `crop` is set. Its dtype and range are those of the deepest source. It has three channels if any source has
        three, and is laid out like the deepest array otherwise; if all sources are files, a grey result is HxW. If
        all sources are of type `Picture`, PIL image or torch tensor, the result is of that type. The attribute
        `notes` of an array says what was changed on the way in; the same notes are given as warnings.

    Warns:
        FusionWarning: Something was changed on the way in.

    Raises:
        ImageError: There are fewer than two sources, a file cannot be read, samples are NaN, or sources differ in
            size and cannot be aligned. `SourceTypeError` if a source is not a picture at all.
        OptionError, WeightsError, EngineError: As for `Fuser`.
    """
    options = options.changed(**choices)
    return _loaded_for(options).fuse(sources, reading=reading, maps=maps, by_map=by_map, **options.of_scene())


def fuse_files(
    sources: Paths,
    output: str | os.PathLike[str],
    options: Options = DEFAULTS,
    *,
    report: Report | None = None,
    alignment: Alignment | None = None,
    reading: Reading = AS_USUAL,
    jpeg_quality: int = 95,
    maps: str | os.PathLike[str] | None = None,
    step_um: float | None = None,
    by_map: Maps | None = None,
    **choices: Unpack[Choices],
) -> FusedFile:
    """Fuses files into a file. The output is written while it is computed; it keeps profile and EXIF of the first
    source.

    The network stays loaded for the next call.

    Args:
        sources: Two or more picture files of one scene, or one file with several pages.
        output: File to write; its suffix names the format. The file appears complete or not at all. An existing file
            is replaced, unless it is one of the sources or not a regular file.
        options: How to fuse.
        report: Called with the progress of the work, which for a stack starts with reading the first frame.
        alignment: A known alignment of the sources; computed unless given.
        reading: Which pages to take, and how to read files that are unusual.
        jpeg_quality: Quality of a JPEG, from 1 to 100.
        maps: Folder for the maps of the result, as `Maps.save` writes them; created if needed.
        step_um: Micrometres between neighbouring frames of a focus stack, for its depth map; None measures depth in
            frames.
        by_map: Maps that replace the network's decision, as for `fuse`.
        **choices: Single options by name; they override `options`.

    Warns:
        FusionWarning: Something was changed on the way in or out; the notes of the result say it, too.

    Raises:
        ImageError: A source cannot be read, the sources cannot be fused, or the output cannot be written.
        OptionError, WeightsError, EngineError: As for `Fuser`. `EngineError` also if memory is too small.
    """
    options = options.changed(**choices)
    made = _loaded_for(options).fuse_files(
        sources,
        output,
        report=report,
        alignment=alignment,
        reading=reading,
        jpeg_quality=jpeg_quality,
        maps=maps,
        step_um=step_um,
        by_map=by_map,
        **options.of_scene(),
    )
    warn(made.notes)
    return made


@overload
def decompose(  # type: ignore[overload-overlap]  # the same
    a: SourceType, b: SourceType, options: Options = ..., *, reading: Reading = ..., **choices: Unpack[Choices]
) -> Parts[SourceType]: ...
@overload
def decompose(
    a: Source, b: Source, options: Options = ..., *, reading: Reading = ..., **choices: Unpack[Choices]
) -> Parts[FusedArray]: ...
def decompose(
    a: Source,
    b: Source,
    options: Options = DEFAULTS,
    *,
    reading: Reading = AS_USUAL,
    **choices: Unpack[Choices],
) -> Parts[Any]:
    """Decomposes two pictures of one scene into what they share and what each has alone (eq. 2 of the paper).

    Arguments, warnings and errors are those of `fuse`.

    Returns:
        Four pictures, each of the type that `fuse` would return: common, unique_a, unique_b and fused.
    """
    options = options.changed(**choices)
    return _loaded_for(options).decompose(a, b, reading=reading, **options.of_scene())


def _loaded_for(options: Options) -> Fuser:
    """Returns the network that the options name. It is loaded once, however the other options differ."""
    path = resolve(None if options.weights is None else os.fspath(options.weights))
    written = path.stat().st_mtime_ns if path.exists() else 0
    return _loaded(options.network().changed(weights=path), written)


@lru_cache(maxsize=4)
def _loaded(network: Options, written: int) -> Fuser:
    return Fuser(network)
