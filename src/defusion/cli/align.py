"""The command that aligns frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defusion.api.options import Options
from defusion.cli.app import app
from defusion.cli.options import (
    AlignmentOption,
    AskedReading,
    JsonOption,
    SaveAlignmentOption,
    known_alignment,
    reads,
    takes,
)
from defusion.cli.output import counted, show_done, told
from defusion.errors import DefusionError


@app.command(rich_help_panel="Pictures")
@takes("align", "crop")
@reads("pages", "orientation")
def align(
    frames: Annotated[list[Path], typer.Argument(metavar="FRAME", help="Two or more pictures of one scene.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to; created if needed.")
    ],
    options: Options,
    reading: AskedReading,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="FRAME",
            help="The frame that the others are aligned to. Default: the larger of two, or the middle one of more.",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="FRAME", help="Only resize: make all frames as large as this one."),
    ] = None,
    alignment: AlignmentOption = None,
    save_alignment: SaveAlignmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Align pictures of one scene: a hand-held bracket, a focus stack, different sensors."""
    from defusion.api.align import align_files

    known = known_alignment(options, alignment, save_alignment, frames)
    if sum(each is not None for each in (reference, like, alignment)) > 1:
        raise DefusionError("--reference, --like and --alignment contradict each other; give one of them")
    made = align_files(
        frames,
        output,
        model=options.align,
        reference=_number(reference, frames),
        like=_number(like, frames),
        crop=options.crop,
        alignment=known,
        reading=reading.of(frames),
    )
    if save_alignment is not None:
        made.alignment.save(save_alignment)
    facts = {
        **made.alignment.facts(),
        "outputs": [str(path) for path in made.outputs],
        "notes": told(made.notes),
    }
    show_done(
        facts, as_json, f"{counted(len(made.outputs), 'frame')} in {output}, aligned to {made.alignment.reference}"
    )


def _number(frame: Path | None, frames: list[Path]) -> int | None:
    """Returns the index of a frame that was named on the command line."""
    if frame is None:
        return None
    if frame not in frames:
        raise DefusionError(f"{frame} is not one of the frames; name it as it was given")
    return frames.index(frame)
