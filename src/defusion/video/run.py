"""fuse_video(): opens clips, aligns them, fuses them moment by moment, and writes the result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defusion.alignment.geometry import Shape, enlarged
from defusion.api.fuser import Fuser
from defusion.errors import ImageError
from defusion.imaging import Picture
from defusion.imaging.samples import Depth
from defusion.imaging.tone import Levels
from defusion.scene.frame import Frame
from defusion.scene.rig import Rig, calibrated
from defusion.scene.temperatures import NOT_MEASURED, Isotherm
from defusion.system.machine import in_order
from defusion.video.clip import Clip, Matched, matched
from defusion.video.film import Film
from defusion.video.output import PIPE, FrameForm, Output, check_video_output, opened_output
from defusion.video.pair import Meant, PairFuser, Prepared, grey_of, meaning_of
from defusion.video.quick import Plane
from defusion.video.segments import FRAMES, Record, Segments
from defusion.video.sequence import Sequence, is_sequence, share_numbers
from defusion.video.steady import Steady

#: Called with the number of frames done and about how many there are; None if unknown.
ClipReport = Callable[[int, int | None], None]

#: Number of moments that are looked at before fusing starts, and the seconds between them in a file.
_LOOKS = 8
_LOOK_STEP = 1

#: Sides whose ratios differ by no more than this have the same shape.
_SAME_RATIO = 0.015


class FusedVideo(NamedTuple):
    """A fused clip that has been written."""

    output: str
    facts: dict[str, Any]
    """What `--json` prints about it."""
    notes: tuple[str, ...]
    """What was changed on the way in and out, one short sentence each."""


def fuse_video(
    thermal: str | os.PathLike[str],
    visible: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    fuser: Fuser | None = None,
    rig: Rig | None = None,
    plane_m: float | None = None,
    align: str = "auto",
    rates: tuple[Fraction, Fraction] = (Fraction(25), Fraction(25)),
    offset: Fraction = Fraction(0),
    codec: str | None = None,
    infrared_palette: str = "auto",
    levels: tuple[float, float] | None = None,
    black_hot: bool = False,
    isotherm: Isotherm | None = None,
    quick: bool | None = None,
    report: ClipReport | None = None,
) -> FusedVideo:
    """Fuses a thermal and a visible clip of one scene. The result has the size and depth of the visible clip.

    Each frame of the visible clip is fused with the thermal frame that is nearest in time. What stands still in both
    stands still in the result. If a run is killed, its finished part stays in the folder `OUTPUT.parts`, and the next
    run continues from there.

    Args:
        thermal: A video file (extra `video`), a folder of numbered images, or a pattern such as "ir_*.png".
        visible: The same.
        output: A video file (.mp4, .mov, .mkv or .webm; extra `video`), a folder for numbered PNG images, or "-" for
            YUV4MPEG2 on stdout, to pipe to ffmpeg.
        fuser: The network; None loads the default one. Only its network options matter.
        rig: How thermal frames lie in visible ones. None finds out, from the first seconds of files or from all over
            a folder.
        plane_m: Distance in metres at which the cameras line up, for a rig that knows its parallax.
        align: How freely thermal frames are aligned to visible ones without a rig, as for `fuse`; "off" does not
            align.
        rates: Frames per second of the thermal and the visible clip, if they are numbered images.
        offset: How many seconds later the thermal clip starts than the visible one.
        codec: Codec of a video file: "h264", "h265", "vp9" or "ffv1". None chooses h264, h265 for more than 8 bits,
            or vp9 for WebM.
        infrared_palette: The false colour of the thermal clip; "auto" recognises it, "none" leaves it.
        levels: Black and white level of the thermal clip in its own values; None finds them from some frames.
        black_hot: The thermal clip shows warm things dark.
        isotherm: Range of measured values, in degrees or counts, that is painted.
        quick: Decide on each frame at half its size, which takes half of the time; None does so from 640x480 pixels
            on.
        report: Called with the progress of the work.

    Raises:
        ImageError: A clip cannot be read, the clips have no moment in common or cannot be aligned, or the output
            cannot be written.
        EngineError: There is too little memory.
    """
    began = time.monotonic()
    names = (os.fspath(thermal), os.fspath(visible))
    output = os.fspath(output)
    check_video_output(output, codec, names)
    clips = opened_clips(*names, rates)
    fuser = fuser or Fuser()
    notes: list[str] = []
    looks = looked(clips, offset)
    if not looks:
        for clip in clips:
            if next(clip.shots(), None) is None:
                raise ImageError(f"{clip.name} holds no complete frame; give a whole file.")
        raise ImageError(f"{names[0]} and {names[1]} have no moment in common; give the offset between them.")
    asked = None if levels is None else Levels(*levels)
    meant = meaning_of([hot for hot, _ in looks], infrared_palette, asked, black_hot=black_hot)
    rig = _rig(looks, meant, rig, align, names, notes)
    form = _form(looks[0][1], clips[1])
    if isotherm is not None:
        if not looks[0][0].grey or looks[0][0].depth == "uint8":
            raise ImageError(NOT_MEASURED)
        form = form._replace(channels=3)
    made_of = _made_of(clips, fuser, rig, plane_m, offset, codec, meant, form, isotherm, quick)
    suffix = ".nut" if Path(output).suffix and not Path(output).is_dir() else None
    with nullcontext() if output == PIPE else Segments(Path(output), made_of, suffix) as segments:
        sound = next((each for each in reversed(clips) if isinstance(each, Film) and each.sound), None)
        record = None if segments is None else segments.last
        out = opened_output(output, codec, form, segments, record.frames if record else 0, sound)
        steady = Steady()
        if record is not None:
            steady.go_on(record.state)
            notes.append(f"{output}: continued after the {record.frames} frames of an earlier run")
        del looks
        pair = PairFuser(fuser, rig, meant, steady, plane_m, isotherm, quick)
        done, frames = _made(clips, offset, pair, out, segments, steady, record, report)
        out.finish(done.first, done.last + clips[1].step)
        if segments is not None:
            segments.drop()
    took = time.monotonic() - began
    told = (*notes, *clips[0].notes, *clips[1].notes, *out.notes)
    facts = {
        "output": output,
        "frames": done.frames,
        "seconds": round(took, 3),
        "fps": round(frames / took, 3),
        "width": form.width,
        "height": form.height,
        "depth": form.depth,
        "palette": meant.palette,
        "range": None if meant.levels is None else [meant.levels.low, meant.levels.high],
        "rig": None if rig is None else rig.facts(),
        "notes": list(told),
    }
    return FusedVideo(output, facts, told)


def _made(
    clips: tuple[Clip, Clip],
    offset: Fraction,
    pair: PairFuser,
    out: Output,
    segments: Segments | None,
    steady: Steady,
    record: Record | None,
    report: ClipReport | None,
) -> tuple[Record, int]:
    """Fuses all moments after a record; returns how far it came, and the number of frames.

    One thread opens frames and makes them ready, one decides on them, one finishes and writes them.
    """

    def opened(moment: Matched) -> tuple[Fraction, Prepared]:
        return moment.time, pair.prepared(moment.other.open(), moment.lead.open())

    def decided() -> Iterator[tuple[Fraction, Prepared, Plane]]:
        count = 0 if record is None else record.frames
        left = (each for each in matched(clips[1], clips[0], offset) if record is None or each.time > record.last)
        for moment, prepared in in_order(opened, left, 1):
            yield moment, prepared, pair.decided(prepared)
            count += 1
            if count % FRAMES == 0:
                pair.begin_anew()  # as a run that continues from here does

    last = record

    def written(made: tuple[Fraction, Prepared, Plane]) -> Record:
        nonlocal last
        moment, prepared, plane = made
        frames, first = (0, moment) if last is None else (last.frames, last.first)
        pixels = pair.finished(prepared, plane)
        last = Record(frames + 1, first, moment, steady.state())
        out.add(moment - first, pixels)
        if segments is not None and last.frames % FRAMES == 0:
            out.seal()
            segments.keep(last)
        return last

    done = record
    for done in in_order(written, decided(), 1):
        if report is not None:
            report(done.frames, clips[1].count)
    assert done is not None
    if segments is not None and done is not record and done.frames % FRAMES:
        out.seal()
        segments.keep(done)
    return done, done.frames - (0 if record is None else record.frames)


def opened_clips(thermal: str, visible: str, rates: tuple[Fraction, Fraction]) -> tuple[Clip, Clip]:
    """Opens a thermal and a visible clip. Rates are frames per second of numbered images.

    Raises:
        ImageError: A clip does not exist, or is not a clip.
    """
    made: list[Clip] = []
    for source, rate in zip((thermal, visible), rates, strict=True):
        if not is_sequence(source) and not Path(source).is_file():
            raise ImageError(
                f"{source} does not exist; expected a video file, a folder of images, or a pattern such as ir_*.png."
            )
        made.append(Sequence(source, rate) if is_sequence(source) else Film(source))
    first, second = made
    if isinstance(first, Sequence) and isinstance(second, Sequence):
        share_numbers(first, second)
    return first, second


def looked(clips: tuple[Clip, Clip], offset: Fraction, most: int = _LOOKS) -> list[tuple[Picture, Picture]]:
    """Looks at some moments: all over the clips if they are images, in the first seconds if they are files.

    Returns:
        Pairs of thermal and visible pictures; empty if the clips have no moment in common.
    """
    if all(isinstance(each, Sequence) for each in clips):
        moments = list(matched(clips[1], clips[0], offset))
        chosen = sorted(set(np.linspace(0, len(moments) - 1, most).astype(int).tolist())) if moments else []
        return [(moments[index].other.open(), moments[index].lead.open()) for index in chosen]
    looks: list[tuple[Picture, Picture]] = []
    due = Fraction(-1)
    for moment in matched(clips[1], clips[0], offset):
        if moment.time >= due:
            looks.append((moment.other.open(), moment.lead.open()))
            due = moment.time + _LOOK_STEP
        if len(looks) == most:
            break
    return looks


def _rig(
    looks: list[tuple[Picture, Picture]],
    meant: Meant,
    rig: Rig | None,
    align: str,
    names: tuple[str, str],
    notes: list[str],
) -> Rig | None:
    """Finds how thermal frames lie in visible ones; None if they line up."""
    if rig is not None:
        rig.check(*looks[0])
        return rig
    shapes = [Shape(each.height, each.width) for each in looks[0]]
    if align != "off":
        pairs = [(Frame.of(names[0], grey_of(hot, meant)), Frame.of(names[1], seen)) for hot, seen in looks]
        try:
            found = calibrated(pairs, model=align)
        except ImageError as error:
            notes.append(f"{names[0]} is taken as it is: {error}")
        else:
            if found.model == "identity":
                return None
            notes.append(
                f"{names[0]}: lined up with {names[1]} by {found.pairs} of its frames, off by about "
                f"{found.off_px:.1f} px, confidence {found.confidence:.2f}"
            )
            return found
    hot, seen = shapes
    if hot == seen:
        return None
    if abs(np.log((hot.width * seen.height) / (hot.height * seen.width))) > _SAME_RATIO:
        raise ImageError(
            f"{names[0]} is {hot.width}x{hot.height} pixels, {names[1]} is {seen.width}x{seen.height}, and they "
            "could not be lined up; give a rig: defusion rig calibrate, with more pairs of these cameras."
        )
    resized = enlarged(hot.width / seen.width, hot.height / seen.height)
    return Rig(hot, seen, resized, "scale", 0.0, 0.0, 0.0, 0, 0)


def _form(visible: Picture, clip: Clip) -> FrameForm:
    colours = clip.colours if isinstance(clip, Film) else (2, 2)
    depth: Depth = "uint8" if visible.depth == "uint8" else "uint16"
    return FrameForm(visible.height, visible.width, visible.samples.shape[2], depth, 1 / clip.step, colours)


def _made_of(clips: tuple[Clip, Clip], fuser: Fuser, rig: Rig | None, *others: object) -> dict[str, Any]:
    """Returns all that a result depends on."""

    def told(clip: Clip) -> object:
        paths = clip.paths if isinstance(clip, Sequence) else [Path(clip.name)]
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (paths[0], paths[-1])]
        return [len(paths), str(clip.step), files]

    return {
        "version": version("defusion"),
        "clips": [told(each) for each in clips],
        "weights": str(fuser.weights.path),
        "precision": fuser.engine.precision,
        "rig": None if rig is None else rig.facts(),
        "others": [str(each) for each in others],
    }
