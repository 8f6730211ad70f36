"""The functions that users learn: fuse(), fuse_files() and decompose()."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Unpack

from defusion.alignment.record import Alignment
from defusion.fuser import Fuser
from defusion.maps import Maps
from defusion.options import DEFAULTS, Choices, Options
from defusion.results import FusedFile, Parts
from defusion.sources import AS_USUAL, Reading, Source
from defusion.tiling import Report
from defusion.weights import resolve


def fuse(
    sources: Iterable[Source],
    options: Options = DEFAULTS,
    *,
    reading: Reading = AS_USUAL,
    maps: bool = False,
    by_map: Maps | None = None,
    **choices: Unpack[Choices],
) -> Any:
    """Fuses pictures of one scene into one.

    Where one source is grey and the other in colour, as with infrared and visible light, the luminances are fused
    and the colour is kept. The network stays loaded for the next call.

    Args:
        sources: Two or more pictures of one scene, in any order; those that do not line up are aligned. Paths;
            arrays HxW, HxWx1, HxWx3 (RGB) or HxWx4 of uint8, uint16 or float; pictures; PIL images; torch tensors on
            the CPU. Or one file of several pages, or one stack of them: ZxHxW, NxHxWxC or NxCxHxW.
        options: How to fuse.
        reading: Which pages are taken, and what is not as files and arrays mostly have it: see `Reading`.
        maps: Say as well which source gave a place its detail, and how deep a focus stack is there: `maps` of the
            array, see `Maps`.
        by_map: The `maps` of an array, or `Maps.load` of a folder: each source counts where it did then.
        **choices: Options by name, such as `align="off"`; they go before `options`. See `Options`.

    Returns:
        An array of the same height and width, or of what all sources show where they had to be aligned and `crop`
        is set. It is as deep as the deepest source (its dtype and range), with three channels if a source has three,
        else one as the deepest array has it; HxW where all are files. Where all sources are pictures, PIL images, or
        torch tensors, such a one. The notes of an array say what was changed on the way in; they are given as
        warnings, too.

    Warns:
        FusionWarning: Something was changed on the way in.

    Raises:
        ImageError: Fewer than two sources, a file that cannot be read, NaNs, or sources of different size that cannot
            be aligned. `SourceTypeError` where a source is no picture at all.
        OptionError, WeightsError, EngineError: As for `Fuser`.
    """
    options = options.changed(**choices)
    return _loaded_for(options).fuse(sources, reading=reading, maps=maps, by_map=by_map, **options.of_scene())


def fuse_files(
    sources: Sequence[str | os.PathLike[str]],
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
    """Fuses files into a file, which is written while it is made and keeps the first source's profile and EXIF.

    The network stays loaded for the next call.

    Args:
        sources: Two or more picture files of one scene, or one of several pages.
        output: File to write, whole or not at all; its suffix names the format. One that is there is replaced, but
            never a source, nor what is no regular file.
        options: How to fuse.
        report: Is told how far the work has come: of a stack from the first frame that is looked at on.
        alignment: A known alignment of the sources; found unless given.
        reading: Which pages are taken, and what is not as files mostly have it.
        jpeg_quality: Of a JPEG, from 1 to 100.
        maps: Folder for what explains the result, as `Maps.save` writes it; made if need be.
        step_um: Micrometres from one frame of a focus stack to the next, for its depth map; None for frames.
        by_map: Maps by which each source counts where it did then.
        **choices: Options by name; they go before `options`.

    Raises:
        ImageError: A source cannot be read, they cannot be fused, or the output cannot be written.
        OptionError, WeightsError, EngineError: As for `Fuser`; or there is too little memory.
    """
    options = options.changed(**choices)
    return _loaded_for(options).fuse_files(
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


def decompose(
    a: Source,
    b: Source,
    options: Options = DEFAULTS,
    *,
    reading: Reading = AS_USUAL,
    **choices: Unpack[Choices],
) -> Parts:
    """Decomposes two pictures of one scene into what they share and what each has alone (paper, eq. 2).

    Args, raises, warns: as `fuse`.

    Returns:
        Four like the result of `fuse`: common, unique_a, unique_b and fused.
    """
    options = options.changed(**choices)
    return _loaded_for(options).decompose(a, b, reading=reading, **options.of_scene())


def _loaded_for(options: Options) -> Fuser:
    """The network that options ask for, loaded once, whatever the other options are."""
    path = resolve(None if options.weights is None else os.fspath(options.weights))
    written = path.stat().st_mtime_ns if path.exists() else 0
    return _loaded(options.network().changed(weights=path), written)


@lru_cache(maxsize=4)
def _loaded(network: Options, written: int) -> Fuser:
    return Fuser(network)
