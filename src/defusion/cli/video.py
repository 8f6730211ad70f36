"""Commands for thermal and visible cameras: clips, and rigs of two cameras."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from defusion.api.options import THERMAL, Options
from defusion.cli.app import App, app
from defusion.cli.options import (
    JsonOption,
    files_read,
    takes,
)
from defusion.cli.output import bar_wanted, counted, show_done, told
from defusion.errors import DefusionError

rig_app = App(help="Rigs: a thermal and a visible camera on one mount, calibrated once.", no_args_is_help=True)
app.add_typer(rig_app, name="rig", rich_help_panel="Pictures")

FpsOption = Annotated[
    str, typer.Option("--fps", metavar="N", help="Frame rate of numbered images; 9,30 if that of IR differs.")
]


@app.command(rich_help_panel="Pictures")
@takes("infrared_palette", "align", *THERMAL, "weights", "engine", "device", "precision")
def video(
    thermal: Annotated[
        str,
        typer.Argument(
            metavar="IR", help="A video file, a folder of numbered images, or a pattern such as 'ir_*.png'."
        ),
    ],
    visible: Annotated[
        str, typer.Argument(metavar="VIS", help="The same; colour, size, times and sound come from it.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Video file (.mp4, .mov, .mkv, .webm), folder for images, or - to pipe frames to ffmpeg.",
        ),
    ],
    *,
    options: Options,
    fps: FpsOption = "25",
    offset: Annotated[
        float, typer.Option("--offset", metavar="SECONDS", help="How much later IR starts than VIS.")
    ] = 0,
    codec: Annotated[
        str | None,
        typer.Option("--codec", help="h264, h265, vp9 or ffv1. Default: h264; h265 for more than 8 bits."),
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="LO-HI",
            help="Black and white level of IR, in its own values. Default: found from its frames.",
        ),
    ] = None,
    black_hot: Annotated[bool, typer.Option("--black-hot", help="IR shows warm things dark.")] = False,
    quick: Annotated[
        bool | None,
        typer.Option(
            "--quick/--fine",
            help="Decide on each frame at half its size, in half of the time, or at its full size. "
            "Default: quick from 640x480 pixels on.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fuse a thermal and a visible clip into one without flicker. An interrupted run continues where it was."""
    from defusion.api.fuser import Fuser
    from defusion.cli.progress import clip_bar
    from defusion.scene.rig import Rig
    from defusion.scene.temperatures import Isotherm
    from defusion.video import fuse_video
    from defusion.video.output import PIPE, check_video_output

    if output == PIPE and as_json:
        raise DefusionError("-o - sends the frames to stdout, where --json would print; remove one of them")
    rig = None if options.rig is None else Rig.load(options.rig)
    isotherm = None if options.isotherm is None else Isotherm.read(options.isotherm, options.palette)
    check_video_output(output, codec, [thermal, visible, *map(str, files_read([], options))])
    rates = _rates(fps)
    with clip_bar(wanted=bar_wanted(as_json)) as report:
        made = fuse_video(
            thermal,
            visible,
            output,
            fuser=Fuser(options),
            rig=rig,
            plane_m=options.plane,
            isotherm=isotherm,
            align=options.align,
            rates=rates,
            offset=Fraction(offset).limit_denominator(1_000_000),
            codec=codec,
            infrared_palette=options.infrared_palette,
            levels=None if range_ is None else _span(range_, "--range", "6800-7300"),
            black_hot=black_hot,
            quick=quick,
            report=report,
        )
    told(made.notes)
    if output != PIPE:
        facts = made.facts
        line = f"{counted(facts['frames'], 'frame')} fused into {output}, {facts['fps']:.1f} a second"
        show_done(facts, as_json, line)


@rig_app.command()
@takes("align")
def calibrate(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="IR VIS",
            help="Thermal and visible pictures in turn; or two clips or folders with equally many pictures.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to keep the rig, as JSON.")],
    *,
    options: Options,
    distance: Annotated[
        float | None,
        typer.Option("--distance", metavar="METRES", help="Distance of the scenes. Default: far away."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="X,Y",
            help="Position of the thermal camera as seen from behind the visible one, in millimetres right and down.",
        ),
    ] = None,
    hfov: Annotated[
        float | None,
        typer.Option("--hfov", metavar="DEGREES", help="Horizontal field of view of the visible camera."),
    ] = None,
    fps: FpsOption = "25",
    as_json: JsonOption = False,
) -> None:
    """Calibrate two fixed cameras by their pictures of some scenes. More edges in both give a better result."""
    from defusion.scene.rig import calibrated
    from defusion.system.files import unfit
    from defusion.video.pairs import pairs_of, parallax_of

    if reason := unfit(output, sources):
        raise DefusionError(f"{output} {reason}")
    if options.align == "off":
        raise DefusionError("--align off leaves nothing to calibrate; remove it")
    if (baseline is None) != (hfov is None):
        raise DefusionError("--baseline and --hfov belong together; give both, or neither")
    pairs = pairs_of(sources, _rates(fps))
    parallax = None
    if baseline is not None and hfov is not None:
        right, down = _two(baseline, "--baseline", "35,0")
        parallax = parallax_of(pairs[0][1].open().width, hfov, right / 1000, down / 1000)
    made = calibrated(pairs, model=options.align, distance_m=distance, parallax_px_m=parallax)
    made.save(output)
    line = (
        f"{output}: {counted(made.pairs, 'pair')}, {made.agreeing} agree with the others; "
        f"off by about {made.off_px:.1f} px, confidence {made.confidence:.2f}"
    )
    show_done({"output": str(output), **made.facts()}, as_json, line)


def _rates(fps: str) -> tuple[Fraction, Fraction]:
    parts = fps.split(",")
    try:
        rates = [Fraction(each) for each in parts]
    except (ValueError, ZeroDivisionError):
        rates = []
    if len(rates) not in (1, 2) or min(rates) <= 0:
        raise DefusionError(f"--fps {fps} is not understood; expected a rate such as 25, 30000/1001 or 9,30")
    return rates[0], rates[-1]


def _two(text: str, option: str, such_as: str) -> tuple[float, float]:
    try:
        first, second = map(float, text.split(","))
    except ValueError:
        raise DefusionError(f"{option} {text} is not understood; expected values such as {such_as}") from None
    return first, second


def _span(text: str, option: str, such_as: str) -> tuple[float, float]:
    number = r"-?[0-9]+(?:\.[0-9]+)?"
    found = re.fullmatch(rf"({number})(?:-|\.\.)({number})", text)
    if not found or float(found[1]) == float(found[2]):
        raise DefusionError(f"{option} {text} is not understood; expected values such as {such_as}")
    return float(found[1]), float(found[2])
