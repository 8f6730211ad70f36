"""Commands that make pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defusion.api.options import THERMAL, Options
from defusion.cli.app import app
from defusion.cli.options import (
    AlignmentOption,
    AskedReading,
    ByMapOption,
    JpegQualityOption,
    JsonOption,
    MapsOption,
    SaveAlignmentOption,
    StepOption,
    files_read,
    known_alignment,
    reads,
    takes,
)
from defusion.cli.output import bar_wanted, say, show_done, told
from defusion.errors import DefusionError


@app.command(rich_help_panel="Pictures")
@takes("task", "infrared_palette", "align", "crop", "deghost", *THERMAL, "weights", "engine", "device", "precision")
@reads()
def fuse(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="FRAME", help="Two or more pictures of one scene, or a file with several pages."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Picture to write: .tif, .png, .webp, .jpg, .avif, .jxl or .exr."
        ),
    ],
    options: Options,
    reading: AskedReading,
    alignment: AlignmentOption = None,
    save_alignment: SaveAlignmentOption = None,
    jpeg_quality: JpegQualityOption = 95,
    maps: MapsOption = None,
    step: StepOption = None,
    by_map: ByMapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fuse pictures of one scene into one: exposures, a focus stack, infrared and visible."""
    from defusion.api.fuser import Fuser
    from defusion.cli.progress import fusing_bar
    from defusion.imaging import check_output
    from defusion.scene.maps import Maps

    check_output(output, files_read(sources, options))  # before the network is loaded
    known = known_alignment(options, alignment, save_alignment, [*sources, output])
    if options.rig is not None and (known is not None or save_alignment is not None):
        raise DefusionError("--rig and --alignment both say how the sources lie; remove one of them")
    asked = reading.of(sources)
    chosen = None if by_map is None else Maps.load(by_map)
    fuser = Fuser(options)
    with fusing_bar(wanted=bar_wanted(as_json)) as report:
        made = fuser.fuse_files(
            sources,
            output,
            report=report,
            alignment=known,
            reading=asked,
            jpeg_quality=jpeg_quality,
            maps=maps,
            step_um=step,
            by_map=chosen,
        )
    told(made.notes)
    if save_alignment is not None and made.alignment is not None:
        made.alignment.save(save_alignment)
    show_done(made.facts, as_json, f"fused into {output} ({made.facts['task']}: {made.facts['why']})")


@app.command(rich_help_panel="Pictures")
@takes("task", "infrared_palette", "align", "weights", "engine", "device", "precision")
@reads()
def decompose(
    a: Annotated[Path, typer.Argument(metavar="A", help="A picture of a scene.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another picture of the same scene.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to; created if needed.")
    ],
    options: Options,
    reading: AskedReading,
    alignment: AlignmentOption = None,
    save_alignment: SaveAlignmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what two pictures share, what each has alone, and what they fuse to."""
    from defusion.api.fuser import Fuser
    from defusion.api.results import PartPictures
    from defusion.api.sources import frames_of
    from defusion.imaging import check_folder, write_together
    from defusion.imaging.figure import labelled_panels
    from defusion.system.cache import faults

    of_parts = [f"{name}{suffix}" for name in PartPictures._fields for suffix in (".png", ".tif")]
    check_folder(output, [*of_parts, "figure.png"], files_read([a, b], options))
    known = known_alignment(options, alignment, save_alignment, [a, b])
    frames = [frame.kept() for frame in frames_of([a, b], reading.of([a, b]))]
    decomposed = Fuser(options).decompose_frames(frames, known)
    parts = decomposed.parts._asdict()
    notes = told((*decomposed.notes, *faults()))
    suffix = ".tif" if decomposed.parts.fused.depth == "float32" else ".png"
    panels = {"source a": frames[0].open(), "source b": frames[1].open(), **parts}
    files = {name: f"{name}{suffix}" for name in parts} | {"figure": "figure.png"}
    pictures = [*parts.values(), labelled_panels(panels)]
    notes += told(write_together(output, dict(zip(files.values(), pictures, strict=True))))
    if save_alignment is not None and decomposed.alignment is not None:
        decomposed.alignment.save(save_alignment)
    named = {name: str(output / file) for name, file in files.items()}
    facts = {"outputs": named, **decomposed.facts(), "notes": notes}
    show_done(facts, as_json, f"parts are in {output}")


@app.command(rich_help_panel="Pictures")
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to.")] = Path(
        "demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Make an exposure, a focus and an infrared-like pair from free photographs, and fuse them."""
    from defusion.demo import run_demo

    written = run_demo(output, report=say)
    show_done({"outputs": [str(file) for file in written]}, as_json, f"look at {written[-1]}")
