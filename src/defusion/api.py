"""The names that users learn: fuse(), decompose(), and Fuser, which both use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion import stages, tiling
from defusion.alignment.frames import ALIGNS, Wanted
from defusion.alignment.motion import DEGHOSTS, write_masks
from defusion.alignment.record import Alignment
from defusion.cache import faults
from defusion.errors import EngineError, ImageError, WeightsError
from defusion.imaging import PALETTES, Picture, check_output, open_output
from defusion.imaging.picture import quantised
from defusion.machine import free_bytes, give_memory_back
from defusion.model.config import HeadName, PyramidConfig, TaskName
from defusion.runtime import Engine, load_engine
from defusion.scene import Form, Frame, Pixels, Scene
from defusion.sources import AS_USUAL, Array, Reading, Source, frames_of, given_back, listed, warn
from defusion.task import TASKS, Glance, recognise
from defusion.tiling import Band, Progress, Report, Size
from defusion.weights import WeightsFile, bundled, resolve


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


class Plan(NamedTuple):
    """How some sources are fused, and why so."""

    task: TaskName
    why: str
    head: HeadName


class Fused(NamedTuple):
    """A fused picture on its way: what it is like, and its pixels from top to bottom."""

    plan: Plan
    form: Form
    bands: Iterator[Pixels]
    """[h, W, C] in [0, 1], made as they are taken."""
    notes: tuple[str, ...]
    """What was changed on the way in, one short sentence each."""
    ranges: dict[str, tuple[float, float]]
    """Black and white of the sources that do not use all of their range, by name."""
    alignment: Alignment | None
    """How the sources lie in the result; None where alignment is off."""
    ghosts: dict[str, NDArray[np.uint8]]
    """Where something moved, 255 in a small picture [h, w], by the source's name."""

    def picture(self) -> Picture:
        """Makes the whole picture in memory."""
        return replace(self.form.picture(self.bands), notes=self.notes)


class Decomposed(NamedTuple):
    """What two sources decomposed into, as `Fused` says it."""

    plan: Plan
    form: Form
    parts: PartPictures
    notes: tuple[str, ...]
    alignment: Alignment | None


class FusedFile(NamedTuple):
    """A fused picture that has been written."""

    output: Path
    facts: dict[str, Any]
    """What `--json` prints of it: its file and form, how it was made, by which network, and the notes."""
    notes: tuple[str, ...]
    """What was changed on the way in and what the file cannot hold, one short sentence each."""
    alignment: Alignment | None
    """How the sources lie in the result; None where alignment is off."""


class Fuser:
    """A loaded network, ready for any number of scenes, from several threads at once.

    It can be pickled: whoever unpickles it loads the weights, which have to be where they were, on a machine that has
    the engine, device and precision. On Linux it has the C library give large blocks back when they are freed.

    Args:
        weights: Name of shipped weights or path of a weights file; None for "pyramid". "paper" makes the paper's P_r
            of two sources.
        engine: "openvino" or "torch"; None for openvino, or torch where the device is not the CPU.
        device: "cpu", or a torch device such as "cuda"; None for the CPU.
        precision: "float32", "bfloat16" or "float16"; None for the fastest that is good enough on this machine.
        task: What the result says that the scene is: "exposure", "focus", "infrared" or "generic"; None or "auto" to
            recognise it from the sources. The picture does not depend on it.
        infrared_palette: The false colour that one source is in, such as "iron": it is led back to temperature
            first. "auto" recognises it, "none" takes all colours as they are.
        align: Sources that do not line up are laid upon each other: "auto" as well as can be told, "translation",
            "similarity", "affine" or "homography" no more freely than that; "off" takes them as they are.
        crop: Where sources had to be aligned, the result is what all show; else all of the one that the others are
            laid upon.
        deghost: What moves between exposures is shown as the best exposed of them shows it: "low" where they
            contradict each other strongly, "high" where they do at all, "auto" that in three and more, "off" nowhere.

    Raises:
        WeightsError: No such weights.
        EngineError: The engine, device or precision is not there; none is replaced by another.
        ImageError: No such task, palette, way to align or to deghost.
    """

    def __init__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        task: str | None = None,
        infrared_palette: str = "auto",
        align: str = "auto",
        crop: bool = True,
        deghost: str = "auto",
    ) -> None:
        options: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        give_memory_back()
        path = resolve(None if weights is None else os.fspath(weights))
        self.weights: WeightsFile = WeightsFile.open(path.absolute())
        if task not in (None, "auto", *TASKS):
            raise ImageError(f"no task {task!r}; expected auto, {', '.join(TASKS)}")
        if infrared_palette not in ("auto", "none", *PALETTES):
            expected = ", ".join(("auto", "none", *PALETTES))
            raise ImageError(f"no palette {infrared_palette!r} is known; expected {expected}")
        if align not in ALIGNS:
            raise ImageError(f"no way to align is called {align!r}; expected {', '.join(ALIGNS)}")
        if deghost not in DEGHOSTS:
            raise ImageError(f"no way to deghost is called {deghost!r}; expected {', '.join(DEGHOSTS)}")
        self._palette = infrared_palette
        self._deghost = deghost
        self._align = Wanted(align, crop=crop)
        self._task = next((each for each in TASKS if each == task), None)
        self.engine: Engine = load_engine(self.weights, engine=engine, device=device, precision=precision)
        # Weights that are shipped lie elsewhere on another machine.
        options["weights"] = path.stem if path == bundled().get(path.stem) else path.absolute()
        self._options = options

    def __reduce__(self) -> tuple[Callable[[], Fuser], tuple[()]]:
        """Travels to another process as its options: there the network is loaded anew."""
        return partial(Fuser, **self._options), ()

    def fuse(self, sources: Iterable[Source], reading: Reading = AS_USUAL) -> Any:
        """Fuses sources into one picture of their kind; see `fuse`."""
        given = listed(sources)
        fused = self.fusing(frames_of(given, reading))
        picture = fused.picture()
        notes = (*fused.notes, *faults())
        warn(notes)
        return given_back(picture, given, notes, reading)

    def decompose(self, a: Source, b: Source, reading: Reading = AS_USUAL) -> Parts:
        """Decomposes two sources; see `decompose`."""
        made = self.decomposing([frame.kept() for frame in frames_of([a, b], reading)])
        warn((*made.notes, *faults()))
        return Parts(*(given_back(part, [a, b], made.notes, reading) for part in made.parts))

    def fuse_pictures(self, pictures: Sequence[Picture]) -> Picture:
        """Fuses pictures of one scene; the result has the profile and EXIF of the first.

        Raises:
            ImageError: Fewer than two pictures, or they differ in size and cannot be aligned.
        """
        return self.fusing([Frame.of(f"source {number}", each) for number, each in enumerate(pictures, 1)]).picture()

    def plan(self, pictures: Sequence[Picture]) -> Plan:
        """Says how pictures of a scene would be fused, and why."""
        frames = [Frame.of(f"source {number}", each) for number, each in enumerate(pictures, 1)]
        scene = Scene(frames, self._palette, align=self._align)
        scene.leave_out_blank()
        if self._task in (None, "focus"):
            scene.level()
        return self._plan(scene.glances)

    def fusing(
        self, frames: Sequence[Frame], report: Report | None = None, alignment: Alignment | None = None
    ) -> Fused:
        """Fuses frames that are opened when they are needed, and gives the result band by band.

        Two are opened once. More are opened one after the other: to see what they are, to make a reference of them
        where the network is asked, and to be taken apart, of a large scene once for each of its slabs.

        Args:
            frames: Two or more.
            report: Is told how far the work has come: of a stack from the first frame that is looked at on.
            alignment: How they lie upon each other, where that is known; else it is found.

        Raises:
            ImageError: Fewer than two frames, one that cannot be read, or they differ in size and cannot be aligned.
        """
        if len(frames) < 2:
            raise ImageError(f"{len(frames)} source came, fusion needs at least two pictures of one scene.")
        if len(frames) == 2:
            frames = [frame.kept() for frame in frames]
        scene = Scene(frames, self._palette, report if len(frames) > 2 else None, alignment or self._align)
        scene.leave_out_blank()
        scene.leave_out_copies()
        if self._task in (None, "focus"):
            scene.level()
        plan = self._plan(scene.glances)
        size, count = scene.form.size, len(scene.frames)
        if plan.task == "exposure" and self._deghost != "off" and (count > 2 or self._deghost != "auto"):
            scene.hold_still("low" if self._deghost == "low" else "high")
        self._check_memory(size, count)
        if scene.one_left:
            made = stages.alone(next(scene.sources()), size)
        elif plan.head == "pyramid":
            made = stages.fuse(self.engine, scene.sources, count, size, report)
        else:
            made = _reported(tiling.paint(self.engine, *scene.pair(), size), size, report)
        painted = (rows for band in made for _, rows in scene.painted(band, band.planes[0], keep_chroma=True))
        return Fused(plan, scene.form, painted, scene.notes, scene.ranges, scene.alignment, scene.ghosts)

    def decompose_pictures(self, a: Picture, b: Picture) -> PartPictures:
        """Decomposes two pictures of one scene; all parts have the profile and EXIF of the first."""
        return self.decomposing([Frame.of("source 1", a), Frame.of("source 2", b)]).parts

    def decomposing(self, frames: Sequence[Frame], alignment: Alignment | None = None) -> Decomposed:
        """Decomposes two frames, which are opened several times: give kept ones.

        Args:
            frames: Two.
            alignment: How they lie upon each other, where that is known; else it is found.

        Raises:
            ImageError: One cannot be read, or they differ in size and cannot be aligned.
        """
        scene = Scene(frames, self._palette, align=alignment or self._align)
        plan, form, size = self._plan(scene.glances), scene.form, scene.form.size
        self._check_memory(size, 2)
        if isinstance(self.weights.config, PyramidConfig):
            return Decomposed(plan, form, self._divided(scene), scene.notes, scene.alignment)
        parts = [np.empty((*size, form.channels), form.depth) for _ in PartPictures._fields]
        a, b = scene.views()
        for band in tiling.parts(self.engine, a, b, size):
            for part, planes in zip(parts, band.planes, strict=False):  # the last part is the fused picture
                for rows, pixels in scene.painted(band, planes, keep_chroma=False):
                    part[rows] = quantised(pixels, form.depth, form.levels)
        for band in tiling.paint(self.engine, a, b, size):
            for rows, pixels in scene.painted(band, band.planes[0], keep_chroma=True):
                parts[-1][rows] = quantised(pixels, form.depth, form.levels)
        like = replace(form.picture([]), notes=scene.notes)
        pictures = PartPictures(*(replace(like, samples=part) for part in parts))
        return Decomposed(plan, form, pictures, scene.notes, scene.alignment)

    def _divided(self, scene: Scene) -> PartPictures:
        """Divides the fused picture into what both sources share and what each has alone: shares of its pixels."""
        form = scene.form
        parts = [np.empty((*form.size, form.channels), form.depth) for _ in PartPictures._fields]
        for band in stages.fuse(self.engine, scene.sources, 2, form.size, parts=True):
            common, uniques = band.planes
            shares = np.clip(np.concatenate([common, uniques]), 0, None)
            total = shares.sum(0, keepdims=True)
            shares = np.where(total > 0, shares / np.maximum(total, 1e-6), [[[[1.0]]], [[[0.0]]], [[[0.0]]]])
            for rows, pixels in scene.painted(band, common + uniques.sum(0, keepdims=True), keep_chroma=True):
                inside = slice(rows.start - band.rows.start, rows.stop - band.rows.start)
                upto = np.cumsum(shares[:, :, inside], 0).transpose(0, 2, 3, 1)
                if pixels.shape[2] == 1:
                    upto = upto.mean(3, keepdims=True)
                # Each part is what is left of the sum so far, so that rounded parts add up to the rounded picture.
                sums = [quantised(share * pixels, form.depth, form.levels) for share in upto[:2]]
                sums.append(quantised(pixels, form.depth, form.levels))
                parts[0][rows], parts[3][rows] = sums[0], sums[2]
                parts[1][rows], parts[2][rows] = sums[1] - sums[0], sums[2] - sums[1]
        like = replace(form.picture([]), notes=scene.notes)
        return PartPictures(*(replace(like, samples=part) for part in parts))

    def _check_memory(self, size: Size, count: int) -> None:
        if isinstance(self.weights.config, PyramidConfig):
            needed = stages.needed_bytes(size, count)
        else:
            needed = tiling.needed_bytes(self.weights.config, size)
        free = free_bytes()
        if self.engine.device == "cpu" and needed > free:
            raise EngineError(
                f"fusing takes about {needed // 10**6} MB of memory at once and {free // 10**6} MB are free; "
                "close other programs, or use a machine with more"
            )

    def _plan(self, glances: Sequence[Glance]) -> Plan:
        """Says what sources are, and how they are fused."""
        (head,) = self.weights.config.heads
        task, why = recognise(glances) if self._task is None else (self._task, "it was asked for")
        if len(glances) > 2 and head == "paper":
            raise WeightsError(
                f"{len(glances)} sources came, but weights {self.weights.path.stem!r} fuse two; give two, "
                "or weights that fuse any number"
            )
        return Plan(task, why, head)


def fuse(
    sources: Iterable[Source],
    *,
    weights: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    task: str | None = None,
    infrared_palette: str = "auto",
    align: str = "auto",
    crop: bool = True,
    deghost: str = "auto",
    reading: Reading = AS_USUAL,
) -> Any:
    """Fuses pictures of one scene into one.

    Where one source is grey and the other in colour, as with infrared and visible light, the luminances are fused
    and the colour is kept.

    Args:
        sources: Two or more pictures of one scene, in any order; those that do not line up are aligned. Paths;
            arrays HxW, HxWx1, HxWx3 (RGB) or HxWx4 of uint8, uint16 or float; PIL images; torch tensors on the CPU.
            Or one file of several pages, or one stack of them: ZxHxW, NxHxWxC or NxCxHxW.
        weights: As for `Fuser`; the network stays loaded for the next call.
        engine: As for `Fuser`.
        device: As for `Fuser`.
        precision: As for `Fuser`.
        task: As for `Fuser`.
        infrared_palette: As for `Fuser`.
        align: As for `Fuser`.
        crop: As for `Fuser`.
        deghost: As for `Fuser`.
        reading: Which pages are taken, and what is not as files and arrays mostly have it: see `Reading`.

    Returns:
        An array of the same height and width, or of what all sources show where they had to be aligned and `crop`
        is set. It is as deep as the deepest source (its dtype and range), with three channels if a source has three,
        else one as the deepest array has it; HxW where all are files. Where all sources are PIL images, or torch
        tensors, such a one. The notes of an array say what was changed on the way in; they are given as warnings.

    Warns:
        FusionWarning: Something was changed on the way in.

    Raises:
        ImageError: Fewer than two sources, a file that cannot be read, NaNs, or sources of different size that cannot
            be aligned.
        WeightsError, EngineError: As for `Fuser`.
    """
    fuser = _loaded(*_state(weights), engine, device, precision, task, infrared_palette, align, crop, deghost)
    return fuser.fuse(sources, reading)


def fuse_files(
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    fuser: Fuser,
    report: Report | None = None,
    alignment: Alignment | None = None,
    reading: Reading = AS_USUAL,
    jpeg_quality: int = 95,
    maps: str | os.PathLike[str] | None = None,
) -> FusedFile:
    """Fuses files into a file, which is written while it is made and keeps the first source's profile and EXIF.

    Args:
        sources: Two or more picture files of one scene, or one of several pages.
        output: File to write, whole or not at all; its suffix names the format. One that is there is replaced, but
            never a source, nor what is no regular file.
        fuser: The network.
        report: Is told how far the work has come, as `Fuser.fusing` does.
        alignment: As `Fuser.fusing` takes it.
        reading: Which pages are taken, and what is not as files mostly have it.
        jpeg_quality: Of a JPEG, from 1 to 100.
        maps: Folder for masks of what moved, a PNG for each source in which something did; made if need be.

    Raises:
        ImageError: A source cannot be read, they cannot be fused, or the output cannot be written.
        WeightsError: The weights do not fuse so many sources.
        EngineError: There is too little memory.
    """
    check_output(output, [*sources, fuser.weights.path])
    frames = frames_of(sources, reading)
    fused = fuser.fusing(frames, report, alignment)
    form = fused.form
    with open_output(
        output,
        height=form.size.height,
        width=form.size.width,
        channels=form.channels,
        depth=form.depth,
        icc=form.icc,
        exif=form.exif,
        levels=form.levels,
        xmp=form.xmp,
        jpeg_quality=jpeg_quality,
    ) as out:
        for band in fused.bands:
            out.append(band)
    masks = {} if maps is None else write_masks(fused.ghosts, maps)
    notes = (*fused.notes, *out.notes, *faults())
    made = facts_of(fuser, fused.plan, fused.form, fused.alignment)
    ranges = {name: list(each) for name, each in fused.ranges.items()}
    facts = {"output": os.fspath(output), "sources": len(frames), **made, "ranges": ranges}
    facts |= {"ghosts": {name: str(mask) for name, mask in masks.items()}, "notes": list(notes)}
    return FusedFile(Path(output), facts, notes, fused.alignment)


def facts_of(fuser: Fuser, plan: Plan, form: Form, alignment: Alignment | None) -> dict[str, Any]:
    """Returns what `--json` says of a result: its form, how it was made, and by which network."""
    return {
        "width": form.size.width,
        "height": form.size.height,
        "depth": form.depth,
        "task": plan.task,
        "why": plan.why,
        "head": plan.head,
        **network_facts(fuser),
        "alignment": None if alignment is None else alignment.facts(),
    }


def network_facts(fuser: Fuser) -> dict[str, Any]:
    """Returns which network runs, and where."""
    return {
        "weights": fuser.weights.path.stem,
        "engine": fuser.engine.name,
        "device": fuser.engine.device,
        "precision": fuser.engine.precision,
    }


def decompose(
    a: Source,
    b: Source,
    *,
    weights: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    task: str | None = None,
    infrared_palette: str = "auto",
    align: str = "auto",
    reading: Reading = AS_USUAL,
) -> Parts:
    """Decomposes two pictures of one scene into what they share and what each has alone (paper, eq. 2).

    Args, raises, warns: as `fuse`.

    Returns:
        Four arrays like the result of `fuse`: common, unique_a, unique_b and fused.
    """
    fuser = _loaded(*_state(weights), engine, device, precision, task, infrared_palette, align, True, "off")
    return fuser.decompose(a, b, reading)


def _state(weights: str | os.PathLike[str] | None) -> tuple[Path, int]:
    """The file of weights, and when it was written last."""
    path = resolve(None if weights is None else os.fspath(weights))
    return path, path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=4)
def _loaded(
    weights: Path,
    written: int,
    engine: str | None,
    device: str | None,
    precision: str | None,
    task: str | None,
    infrared_palette: str,
    align: str,
    crop: bool,
    deghost: str,
) -> Fuser:
    return Fuser(
        weights=weights,
        engine=engine,
        device=device,
        precision=precision,
        task=task,
        infrared_palette=infrared_palette,
        align=align,
        crop=crop,
        deghost=deghost,
    )


def _reported(bands: Iterator[Band], size: Size, report: Report | None) -> Iterator[Band]:
    """Reports bands of a pair as they are used, and the beginning where there will be several."""
    if report is not None and size.height * size.width > tiling.WHOLE_PX:
        report(Progress(0, size.height))
    for band in bands:
        yield band
        if report is not None:
            report(Progress(band.rows.stop, size.height))
