"""Fuser: a loaded network that fuses and decomposes any number of scenes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, cast, overload

import numpy as np

from defusion.alignment.frames import FUSED_WHOLE_PX, Wanted
from defusion.alignment.record import Alignment
from defusion.api.options import DEFAULTS, NETWORK, Choices, Options, SceneChoices
from defusion.api.results import Decomposed, Fused, FusedFile, PartPictures, Parts, Plan
from defusion.api.sources import (
    AS_USUAL,
    FusedArray,
    Paths,
    Reading,
    Source,
    Sources,
    SourceType,
    frames_of,
    given_back,
    listed,
    warn,
)
from defusion.errors import ImageError, OptionError, WeightsError
from defusion.imaging import check_folder, check_output, open_output
from defusion.imaging.samples import quantised
from defusion.imaging.thumbnail import Thumbnail, thumbnail_of
from defusion.model.config import PyramidConfig, TaskName
from defusion.runtime import Engine, load_engine
from defusion.scene import corrections
from defusion.scene.form import Pixels
from defusion.scene.frame import Frame, kept
from defusion.scene.kind import SceneKind, SourceStatistics, recognise
from defusion.scene.maps import DEPTH, FACTS, MOVED, RESIDUAL, SOURCE, SOURCE_IN_COLOUR, Maps, Watch
from defusion.scene.rig import Rig
from defusion.scene.scene import Scene
from defusion.scene.temperatures import NOT_MEASURED, Heat, Isotherm, check_sidecar, has_pages, write_sidecar
from defusion.system.cache import faults
from defusion.system.machine import check_free, give_memory_back
from defusion.tiles import paper, stages
from defusion.tiles.grid import Band, Size
from defusion.tiles.progress import FusingProgress, Report
from defusion.weights import WeightsFile, bundled, resolve


class Fuser:
    """A loaded network for any number of scenes. Several threads may use it at once.

    A `Fuser` can be pickled. Unpickling loads the weights again, so the receiving machine needs the same weights
    file, engine, device and precision. On Linux, creating one makes the C library return large freed blocks to the
    system.

    Args:
        options: How to fuse.
        **choices: Single options by name; they override `options`. See `Options`.

    Raises:
        OptionError: An option has a value that is not allowed.
        WeightsError: The weights do not exist.
        EngineError: The engine, device or precision is not available; no other is used in its place.
    """

    def __init__(self, options: Options = DEFAULTS, **choices: Unpack[Choices]) -> None:
        options = options.changed(**choices)
        give_memory_back()
        path = resolve(None if options.weights is None else os.fspath(options.weights))
        self.weights: WeightsFile = WeightsFile.open(path.absolute())
        self.engine: Engine = load_engine(
            self.weights, engine=options.engine, device=options.device, precision=options.precision
        )
        # Shipped weights have another path on another machine, so they travel by name.
        shipped = path == bundled().get(path.stem)
        self.options: Options = options.changed(weights=path.stem if shipped else path.absolute())

    def __reduce__(self) -> tuple[type[Fuser], tuple[Options]]:
        """Travels to another process as its options; the network is loaded anew there."""
        return Fuser, (self.options,)

    @property
    def network(self) -> dict[str, str]:
        """Names the network that runs: its weights, engine, device and precision."""
        return {
            "weights": self.weights.path.stem,
            "engine": self.engine.name,
            "device": self.engine.device,
            "precision": self.engine.precision,
        }

    @overload
    def fuse(  # type: ignore[overload-overlap]  # sources of several types give an array
        self,
        sources: Iterable[SourceType],
        *,
        reading: Reading = ...,
        maps: bool = ...,
        by_map: Maps | None = ...,
        **choices: Unpack[SceneChoices],
    ) -> SourceType: ...
    @overload
    def fuse(
        self,
        sources: Sources,
        *,
        reading: Reading = ...,
        maps: bool = ...,
        by_map: Maps | None = ...,
        **choices: Unpack[SceneChoices],
    ) -> FusedArray: ...
    def fuse(
        self,
        sources: Sources,
        *,
        reading: Reading = AS_USUAL,
        maps: bool = False,
        by_map: Maps | None = None,
        **choices: Unpack[SceneChoices],
    ) -> Any:
        """Fuses sources into one picture of their type; see the function `fuse`. Choices override the options of this
        object. Each call begins anew; `Live` fuses the pairs of two cameras several times as fast.
        """
        given = listed(sources)
        fused = self.fuse_frames(frames_of(given, reading), maps=maps, by_map=by_map, **choices)
        picture = fused.picture()
        notes = (*fused.notes, *faults())
        warn(notes)
        made = given_back(picture, given, notes, reading)
        if maps:
            if not isinstance(made, FusedArray):
                raise OptionError("maps were asked for, and only arrays can have them; give arrays or paths")
            made.maps = fused.maps()
        return made

    def fuse_files(
        self,
        sources: Paths,
        output: str | os.PathLike[str],
        *,
        report: Report | None = None,
        alignment: Alignment | None = None,
        reading: Reading = AS_USUAL,
        jpeg_quality: int = 95,
        maps: str | os.PathLike[str] | None = None,
        step_um: float | None = None,
        by_map: Maps | None = None,
        thumbnail_px: int | None = None,
        **choices: Unpack[SceneChoices],
    ) -> FusedFile:
        """Fuses files into a file; see the function `fuse_files`. Choices override the options of this object.

        If `thumbnail_px` is given, small copies of the first source and of the result come back, too, with sides of
        at most this many pixels. They are taken from what is in memory; no file is read again for them.
        """
        sources = listed(sources)
        check_output(output, [*sources, self.weights.path])
        if maps is not None:
            check_folder(maps, [FACTS, SOURCE, SOURCE_IN_COLOUR, DEPTH, MOVED, RESIDUAL], [*sources, output])
        frames = kept(frames_of(sources, reading))
        fused = self.fuse_frames(frames, report, alignment, maps=maps is not None, by_map=by_map, **choices)
        form, heat = fused.form, fused.heat
        lost = check_sidecar(output, sources, heat)
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
            small = Thumbnail(*form.size, thumbnail_px) if thumbnail_px is not None else None
            for band in fused.bands:
                out.append(band)
                if small is not None:
                    small.add(band)
            of_heat = heat.added_to(out, form.size.height) if heat is not None and has_pages(output) else None
            out.finish()  # so that the maps are only written when the output is complete and only has to be renamed
            shown, files, masks = fused.maps(), {}, {}
            if maps is not None and shown is not None:
                files = shown.save(maps, step_um, [*sources, output])
                masks = {name: str(Path(maps) / file) for name, file in shown.mask_files.items()}
        if of_heat is not None:
            write_sidecar(output, of_heat)
        notes = (*fused.notes, *lost, *out.notes, *faults())
        ranges = {name: list(each) for name, each in fused.ranges.items()}
        facts = {"output": os.fspath(output), "sources": len(frames), **fused.facts(), "ranges": ranges}
        facts |= {"maps": files, "ghosts": masks, "temperatures": of_heat}
        facts["notes"] = list(notes)
        made = FusedFile(Path(output), facts, notes, fused.alignment)
        if small is None or thumbnail_px is None:
            return made
        return made._replace(thumbnails=(thumbnail_of(frames[0].open(), thumbnail_px), small.samples))

    @overload
    def decompose(  # type: ignore[overload-overlap]  # the same
        self, a: SourceType, b: SourceType, *, reading: Reading = ..., **choices: Unpack[SceneChoices]
    ) -> Parts[SourceType]: ...
    @overload
    def decompose(
        self, a: Source, b: Source, *, reading: Reading = ..., **choices: Unpack[SceneChoices]
    ) -> Parts[FusedArray]: ...
    def decompose(
        self, a: Source, b: Source, *, reading: Reading = AS_USUAL, **choices: Unpack[SceneChoices]
    ) -> Parts[Any]:
        """Decomposes two sources; see the function `decompose`. Choices override the options of this object."""
        made = self.decompose_frames([frame.kept() for frame in frames_of([a, b], reading)], **choices)
        warn((*made.notes, *faults()))
        return Parts(*(given_back(part, [a, b], made.notes, reading) for part in made.parts))

    def plan(self, sources: Sources, **choices: Unpack[SceneChoices]) -> Plan:
        """Says how sources would be fused, and why, without fusing them."""
        options = self._options(choices)
        scene = Scene(frames_of(sources), options.infrared_palette, align=_wanted(options))
        scene.leave_out_blank()
        if options.task in ("auto", "focus"):
            corrections.level(scene)
        return self._plan(scene.statistics, options.task)

    def fuse_frames(
        self,
        frames: Sequence[Frame],
        report: Report | None = None,
        alignment: Alignment | None = None,
        *,
        maps: bool = False,
        by_map: Maps | None = None,
        **choices: Unpack[SceneChoices],
    ) -> Fused:
        """Fuses frames that are opened when they are needed, and returns the result band by band.

        Each frame is decoded once, and warped once if it has to be aligned. The frames of large stacks are kept in a
        temporary file, not in memory, from which they are read for each slab.

        Args:
            frames: Two or more.
            report: Called with the progress of the work, which for a stack starts with reading the first frame.
            alignment: A known alignment of the frames; computed unless given.
            maps: Also make maps.
            by_map: Maps that replace the network's decision; their alignment is used, too.
            **choices: Single options; they override the options of this object.

        Raises:
            ImageError: There are fewer than two frames, one cannot be read, they differ in size and cannot be
                aligned, or their number or size is not that of the maps.
            WeightsError: Maps are wanted, but this network has no weights to make them from.
        """
        options = self._options(choices)
        isotherm = None if options.isotherm is None else Isotherm.read(options.isotherm, options.palette)
        if len(frames) < 2:
            raise ImageError(f"{len(frames)} source came, fusion needs at least two pictures of one scene.")
        align = alignment or _wanted(options)
        if options.rig is not None:
            frames, align = Rig.load(options.rig).aligned_frames(frames, options.plane), Wanted("off")
        frames = [frame.kept() for frame in frames] if len(frames) == 2 else kept(frames)
        if by_map is not None and alignment is None and options.rig is None:
            align = by_map.alignment or Wanted("off")
        scene = Scene(frames, options.infrared_palette, report if len(frames) > 2 else None, align)
        if by_map is not None:
            scene.take_as(by_map)
        else:
            scene.leave_out_blank()
            scene.leave_out_copies()
        if options.task in ("auto", "focus"):
            corrections.level(scene)
        plan = self._plan(scene.statistics, options.task)
        if plan.head != "pyramid" and (maps or by_map is not None):
            raise WeightsError(f"weights {self.weights.path.stem!r} paint pixels anew, of which there are no maps")
        size, count = scene.form.size, len(scene.frames)
        watch = Watch(*size, scene.numbers, deep=plan.task == "focus") if maps else None
        if by_map is None and options.deghost != "off":
            if plan.task == "exposure" and (count > 2 or options.deghost != "auto"):
                corrections.hold_still(scene, "low" if options.deghost == "low" else "high")
            elif plan.task == "focus":
                corrections.give_movers_away(scene)
        self._check_memory(size, count)
        if scene.one_left:
            made = stages.alone(next(scene.sources()), size)
        elif plan.head == "pyramid":
            made = stages.fuse(
                self.engine, scene.sources, count, size, report, saw=None if watch is None else watch.saw
            )
        else:
            made = _reported(paper.paint(self.engine, *scene.pair(), size), size, report)
        heat = Heat.among(scene.frames) if plan.task == "infrared" else None
        bands = (each for band in made for each in scene.painted(band, band.planes[0], keep_chroma=True))
        form = scene.form
        painted: Iterator[Pixels] = (pixels for _, pixels in bands)
        if isotherm is not None:
            if heat is None:
                raise ImageError(NOT_MEASURED)
            form, painted = form._replace(channels=3), isotherm.painted_bands(bands, heat)
        notes, ranges = scene.notes, scene.ranges
        return Fused(
            plan, form, painted, notes, ranges, scene.alignment, scene.ghosts, scene.names, watch, self.network, heat
        )

    def decompose_frames(
        self, frames: Sequence[Frame], alignment: Alignment | None = None, **choices: Unpack[SceneChoices]
    ) -> Decomposed:
        """Decomposes two frames. They are opened several times, so give frames that are kept in memory.

        Args:
            frames: Two.
            alignment: A known alignment of the frames; computed unless given.
            **choices: Single options; they override the options of this object.

        Raises:
            ImageError: A frame cannot be read, or the two differ in size and cannot be aligned.
        """
        options = self._options(choices)
        scene = Scene(frames, options.infrared_palette, align=alignment or _wanted(options))
        plan, form, size = self._plan(scene.statistics, options.task), scene.form, scene.form.size
        self._check_memory(size, 2)
        if isinstance(self.weights.config, PyramidConfig):
            return Decomposed(plan, form, self._divided(scene), scene.notes, scene.alignment, self.network)
        parts = [np.empty((*size, form.channels), form.depth) for _ in PartPictures._fields]
        a, b = scene.views()
        for band in paper.parts(self.engine, a, b, size):
            for part, planes in zip(parts, band.planes, strict=False):  # the last part is the fused picture
                for rows, pixels in scene.painted(band, planes, keep_chroma=False):
                    part[rows] = quantised(pixels, form.depth, form.levels)
        for band in paper.paint(self.engine, a, b, size):
            for rows, pixels in scene.painted(band, band.planes[0], keep_chroma=True):
                parts[-1][rows] = quantised(pixels, form.depth, form.levels)
        like = replace(form.picture([]), notes=scene.notes)
        pictures = PartPictures(*(replace(like, samples=part) for part in parts))
        return Decomposed(plan, form, pictures, scene.notes, scene.alignment, self.network)

    def _divided(self, scene: Scene) -> PartPictures:
        """Divides the fused picture's pixels into what both sources share and what each has alone."""
        form = scene.form
        parts = [np.empty((*form.size, form.channels), form.depth) for _ in PartPictures._fields]
        for band in stages.fuse(self.engine, scene.sources, 2, form.size, parts=True):
            common, uniques = band.planes
            shares = np.clip(np.concatenate([common, uniques]), 0, None)
            total = shares.sum(0, keepdims=True)
            shares = np.where(total > 0, shares / np.maximum(total, 1e-6), [[[[1.0]]], [[[0.0]]], [[[0.0]]]])
            for rows, pixels in scene.painted(band, common + uniques.sum(0, keepdims=True), keep_chroma=True):
                inside = slice(rows.start - band.rows.start, rows.stop - band.rows.start)
                upto = np.cumsum(shares[:, :, inside], 0).clip(max=1).transpose(0, 2, 3, 1)  # never above the whole
                upto = upto.astype(pixels.dtype)  # so that a part rounds as the whole does
                if pixels.shape[2] == 1:
                    upto = upto.mean(3, keepdims=True)
                # Each part is the rest of the running sum, so that the rounded parts add up to the rounded picture.
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
            needed = paper.needed_bytes(self.weights.config, size)
        if self.engine.device == "cpu":
            check_free(needed)

    def _options(self, choices: SceneChoices) -> Options:
        """Returns the options for one call."""
        if fixed := [name for name in choices if name in NETWORK]:
            raise OptionError(f"{fixed[0]} came in a call, but a Fuser has one network; make another Fuser for it")
        return self.options.changed(**choices)

    def _plan(self, statistics: Sequence[SourceStatistics], task: str) -> Plan:
        """Says what kind of scene the sources show, and how they are fused."""
        (head,) = self.weights.config.heads
        kind = recognise(statistics) if task == "auto" else SceneKind(cast(TaskName, task), "it was asked for")
        if len(statistics) > 2 and head == "paper":
            raise WeightsError(
                f"{len(statistics)} sources came, but weights {self.weights.path.stem!r} fuse two; give two, "
                "or weights that fuse any number"
            )
        return Plan(*kind, head)


def _reported(bands: Iterator[Band], size: Size, report: Report | None) -> Iterator[Band]:
    """Reports bands of a pair as they are used; reports the start, too, if there will be several."""
    if report is not None and size.height * size.width > paper.WHOLE_PX:
        report(FusingProgress(0, size.height))
    for band in bands:
        yield band
        if report is not None:
            report(FusingProgress(band.rows.stop, size.height))


def _wanted(options: Options) -> Wanted:
    """Says how frames that are fused are to be aligned."""
    return Wanted(options.align, crop=options.crop, whole_px=FUSED_WHOLE_PX)
