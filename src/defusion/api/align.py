"""align(): moves pictures of one scene until they line up with one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.frames import Wanted, aligned, resized_like
from defusion.alignment.geometry import Shape
from defusion.alignment.look import Look
from defusion.alignment.record import Alignment
from defusion.alignment.warp import warped_picture
from defusion.api.options import ALIGNS
from defusion.api.sources import AS_USUAL, Reading, Source, frames_of
from defusion.errors import ImageError, OptionError
from defusion.imaging import Picture, check_folder, in_folder, open_for, to_array
from defusion.imaging.levels import used
from defusion.imaging.samples import bands
from defusion.scene.frame import Frame, meaning
from defusion.system.files import unfit

Array = NDArray[Any]


class Aligned(NamedTuple):
    """Aligned frames."""

    frames: list[Array]
    """Like their sources. Frames that were left out of a stack are missing."""
    alignment: Alignment
    """How each frame was moved, and how far that can be trusted."""


class AlignedFiles(NamedTuple):
    """Files of aligned frames."""

    outputs: list[Path]
    alignment: Alignment
    notes: tuple[str, ...]
    """What was changed on the way in, how frames were moved, and what the files cannot hold."""


def align(
    sources: Iterable[Source],
    *,
    model: str = "auto",
    reference: int | None = None,
    like: int | None = None,
    crop: bool = True,
    alignment: Alignment | None = None,
) -> Aligned:
    """Aligns pictures of one scene to one of them: exposures, a focus stack, pictures of different sensors.

    Args:
        sources: Two or more arrays or paths, as `fuse` takes them; sizes may differ.
        model: The most general motion allowed: "translation", "similarity", "affine" or "homography". "auto" allows a
            homography. Blocks of the picture that were not used for fitting decide how general the motion has to be.
        reference: Number of the source that the others are aligned to, from 0. By default the larger of two sources;
            of more, the middle one, sorted by exposure if that differs.
        like: Number of a source to whose size all are resized. Nothing else is done then.
        crop: Keep the area that all frames cover. Otherwise keep all of the reference; a frame that does not reach so
            far repeats its edge there.
        alignment: A known alignment to apply.

    Returns:
        Arrays of equal height and width, each with the depth and channels of its source, and the alignment. A frame
        that cannot be lined up stays as it was if there are two, and is left out if there are more; `alignment` says
        so.

    Raises:
        ImageError: There are fewer than two sources, one cannot be read, or sources of different shape cannot be
            lined up.
        OptionError: The model is unknown.
    """
    frames = frames_of(sources)
    made = _alignment(frames, model, reference, like, crop, alignment)
    arrays = []
    given = list(sources) if isinstance(sources, Sequence) else [None] * len(frames)
    for source, (_, picture) in zip(
        [each for each, found in zip(given, made.frames, strict=True) if not found.left_out],
        _pictures(frames, made),
        strict=True,
    ):
        like_array = (
            source if isinstance(source, np.ndarray) else np.empty((1, 1, picture.samples.shape[2]), picture.depth)
        )
        arrays.append(to_array(picture, like_array[:1, :1]))
    return Aligned(arrays, made)


def align_files(
    sources: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    model: str = "auto",
    reference: int | None = None,
    like: int | None = None,
    crop: bool = True,
    alignment: Alignment | None = None,
    reading: Reading = AS_USUAL,
) -> AlignedFiles:
    """Aligns picture files to one of them, and writes them into a folder under their own names.

    The files are PNG, or TIFF if samples are floats. Either all appear or none does, and no source is overwritten.
    Arguments and errors are those of `align`, apart from these.

    Args:
        sources: Two or more files.
        folder: Folder to write to; created if needed.
        model: As for `align`.
        reference: As for `align`.
        like: As for `align`.
        crop: As for `align`.
        alignment: As for `align`.
        reading: How to read files that are unusual.

    Raises:
        ImageError: As for `align`; or the folder cannot be written to.
    """
    frames = frames_of(sources, reading)
    check_folder(folder, ())
    made = _alignment(frames, model, reference, like, crop, alignment)
    outputs: list[Path] = []
    notes = list(made.notes)
    taken = {Path(source).resolve() for source in sources}
    with in_folder(folder), ExitStack() as files:
        for frame, picture in _pictures(frames, made):
            stem = Path(frame.name).stem
            path = Path(folder) / f"{stem}{'.tif' if picture.depth == 'float32' else '.png'}"
            number = 2
            while path.resolve() in taken or unfit(path, sources):
                path = path.with_stem(f"{stem}-{number}")
                number += 1
            taken.add(path.resolve())
            out = files.enter_context(open_for(path, picture))
            for rows in bands(picture.height, picture.width):
                # samples are written as they are, whatever they measure
                out.append(np.asarray(picture.samples[rows, :]))
            out.finish()
            outputs.append(path)
            notes += [*picture.notes, *out.notes]
    return AlignedFiles(outputs, made, tuple(notes))


def _alignment(
    frames: Sequence[Frame],
    model: str,
    reference: int | None,
    like: int | None,
    crop: bool,
    alignment: Alignment | None,
) -> Alignment:
    if len(frames) < 2:
        raise ImageError(f"{len(frames)} source came, aligning needs at least two pictures of one scene.")
    if model not in ALIGNS or model == "off":
        expected = ", ".join(each for each in ALIGNS if each != "off")
        raise OptionError(f"model came as {model!r}; expected {expected}")
    for number in (reference, like):
        if number is not None and not 0 <= number < len(frames):
            raise ImageError(f"source number {number} was asked for; expected 0 to {len(frames) - 1}")
    names = [frame.name for frame in frames]
    if alignment is not None or like is not None:
        shapes = [Shape(picture.height, picture.width) for picture in (frame.open() for frame in frames)]
        return (
            alignment.for_frames(names, shapes) if alignment is not None else resized_like(names, shapes, like or 0)
        )
    looks = [Look.of(_shown(frame), len(frames)) for frame in frames]
    return aligned(names, looks, lambda index: _shown(frames[index]), Wanted(model, reference, crop))


def _shown(frame: Frame) -> Picture:
    """Returns a frame with the meaning of its samples: counts, degrees and light are compared by how they look."""
    picture = frame.open()
    found = used(picture)
    return meaning(frame, found.levels, found, is_light=found.kind == "light").of(picture)


def _pictures(frames: Sequence[Frame], alignment: Alignment) -> Iterator[tuple[Frame, Picture]]:
    for frame, found in zip(frames, alignment.frames, strict=True):
        if not found.left_out:
            yield frame, warped_picture(frame.open(), found.matrix, alignment.shape, found.local)
