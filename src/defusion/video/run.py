"""fuse_video(): clips are opened, registered, fused moment by moment, and written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defusion import __version__
from defusion.alignment.geometry import Shape, enlarged
from defusion.errors import ImageError
from defusion.fuser import Fuser
from defusion.imaging import Picture
from defusion.imaging.picture import Depth
from defusion.imaging.tone import Levels
from defusion.rig import Rig, calibrated
from defusion.scene import Frame
from defusion.temperatures import NOT_MEASURED, Isotherm
from defusion.video.clip import Clip, matched
from defusion.video.film import Film
from defusion.video.output import PIPE, Form, Output, check_video_output, opened_output
from defusion.video.pair import Meant, PairFuser, grey_of, meaning_of
from defusion.video.segments import FRAMES, Record, Segments
from defusion.video.sequence import Sequence, is_sequence, share_numbers
from defusion.video.steady import Steady

#: Is told how many frames are done, and of about how many; None where that is not known.
ClipReport = Callable[[int, int | None], None]

#: Moments that are looked at before the first is fused, and how far they are apart in a file, in seconds.
_LOOKS = 8
_LOOK_STEP = 1

#: Sides whose ratios differ by no more are of one shape.
_SAME_RATIO = 0.015


class FusedVideo(NamedTuple):
    """A fused clip that has been written."""

    output: str
    facts: dict[str, Any]
    """What `--json` prints of it."""
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
    quick: bool = False,
    report: ClipReport | None = None,
) -> FusedVideo:
    """Fuses a thermal and a visible clip of one scene into one, as large and as deep as the visible one.

    Each frame of the visible clip is fused with the thermal one that is nearest in time. What stands still in both
    stands still in the result. A run that is killed leaves what is done in the folder `OUTPUT.parts`, and goes on
    there when it is started again.

    Args:
        thermal: A video file (extra `video`), a folder of numbered images, or a pattern such as "ir_*.png".
        visible: As well.
        output: A video file (.mp4, .mov, .mkv or .webm; extra `video`), a folder for numbered PNG images, or "-" for
            YUV4MPEG2 on stdout, for your own ffmpeg.
        fuser: The network; None loads the default one. Of its options only those of the network count.
        rig: How thermal frames lie in visible ones; None finds it from the first seconds of files, or all over
            folders.
        plane_m: Distance of what is to lie right, in metres, of a rig that knows how far its cameras are apart.
        align: How freely thermal frames are aligned to visible ones without a rig, as `fuse` takes it; "off" takes
            them as they are.
        rates: Frames per second of the thermal and the visible clip, where they are images.
        offset: Seconds by which the thermal clip began later than the visible one.
        codec: Of a video file: "h264", "h265", "vp9" or "ffv1"; None for h264, of more than 8 bits h265, in WebM vp9.
        infrared_palette: The false colour of the thermal clip; "auto" recognises it, "none" leaves it.
        levels: Black and white of the thermal clip in its own values; None finds them from some of its frames.
        black_hot: The thermal clip shows what is warm dark.
        isotherm: Is painted by what the thermal clip measures: degrees or counts.
        quick: Decide on each frame at half its size, in a third of the time.
        report: Is told how far the work has come.

    Raises:
        ImageError: A clip cannot be read, they have no moment in common or cannot be lined up, or the output cannot
            be written.
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
        raise ImageError(f"{names[0]} and {names[1]} have no moment in common; say by the offset when they began.")
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
    segments = None if output == PIPE else Segments(Path(output), made_of, suffix)
    sound = next((each for each in reversed(clips) if isinstance(each, Film) and each.sound), None)
    record = None if segments is None else segments.last
    out = opened_output(output, codec, form, segments, record.frames if record else 0, sound)
    steady = Steady()
    if record is not None:
        steady.go_on(record.state)
        notes.append(f"{output}: went on after the {record.frames} frames that an earlier run had made")
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
    """Fuses all moments after a record; returns how far it came, and by how many frames."""
    done, frames = record, 0
    sealed = record
    for moment in matched(clips[1], clips[0], offset):
        if record is not None and moment.time <= record.last:
            continue
        first = moment.time if done is None else done.first
        out.add(moment.time - first, pair.fused(moment.other.open(), moment.lead.open()))
        done = Record((0 if done is None else done.frames) + 1, first, moment.time, {})
        frames += 1
        if report is not None:
            report(done.frames, clips[1].count)
        if segments is not None and done.frames % FRAMES == 0:
            out.seal()
            sealed = done
            segments.keep(done._replace(state=steady.state()))
    assert done is not None
    if segments is not None and sealed is not done:
        out.seal()
        segments.keep(done._replace(state=steady.state()))
    return done, frames


def opened_clips(thermal: str, visible: str, rates: tuple[Fraction, Fraction]) -> tuple[Clip, Clip]:
    """Opens a thermal and a visible clip; rates are those of numbered images, in frames per second.

    Raises:
        ImageError: One is not there, or is no clip.
    """
    made: list[Clip] = []
    for source, rate in zip((thermal, visible), rates, strict=True):
        if not is_sequence(source) and not Path(source).is_file():
            raise ImageError(
                f"{source} is not there; expected a video file, a folder of images, or such as ir_*.png."
            )
        made.append(Sequence(source, rate) if is_sequence(source) else Film(source))
    first, second = made
    if isinstance(first, Sequence) and isinstance(second, Sequence):
        share_numbers(first, second)
    return first, second


def looked(clips: tuple[Clip, Clip], offset: Fraction, most: int = _LOOKS) -> list[tuple[Picture, Picture]]:
    """Looks at some moments: of images all over the clips, of files in the first seconds.

    Returns:
        Thermal and visible pictures; none where the clips have no moment in common.
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
    """Finds how thermal frames lie in visible ones; None where they are alike."""
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
                f"{names[0]}: lined up with {names[1]} by {found.pairs} of its frames, {found.residual_px:.1f} px "
                f"off, confidence {found.confidence:.2f}"
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
    return Rig(hot, seen, resized, "scale", 0.0, 0.0, 0, 0)


def _form(visible: Picture, clip: Clip) -> Form:
    colours = clip.colours if isinstance(clip, Film) else (2, 2)
    depth: Depth = "uint8" if visible.depth == "uint8" else "uint16"
    return Form(visible.height, visible.width, visible.samples.shape[2], depth, 1 / clip.step, colours)


def _made_of(clips: tuple[Clip, Clip], fuser: Fuser, rig: Rig | None, *others: object) -> dict[str, Any]:
    """All that a result depends on."""

    def told(clip: Clip) -> object:
        paths = clip.paths if isinstance(clip, Sequence) else [Path(clip.name)]
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (paths[0], paths[-1])]
        return [len(paths), str(clip.step), files]

    return {
        "version": __version__,
        "clips": [told(each) for each in clips],
        "weights": str(fuser.weights.path),
        "precision": fuser.engine.precision,
        "rig": None if rig is None else rig.facts(),
        "others": [str(each) for each in others],
    }
