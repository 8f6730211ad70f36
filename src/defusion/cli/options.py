"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from defusion.errors import ImageError

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


class Engine(StrEnum):
    """Values of --engine."""

    openvino = "openvino"
    torch = "torch"


class Precision(StrEnum):
    """Values of --precision."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Task(StrEnum):
    """Values of --task."""

    auto = "auto"
    exposure = "exposure"
    focus = "focus"
    infrared = "infrared"
    generic = "generic"


class Align(StrEnum):
    """Values of --align."""

    auto = "auto"
    off = "off"
    translation = "translation"
    similarity = "similarity"
    affine = "affine"
    homography = "homography"


class Orientation(StrEnum):
    """Values of --orientation."""

    apply = "apply"
    ignore = "ignore"


class Deghost(StrEnum):
    """Values of --deghost."""

    auto = "auto"
    off = "off"
    low = "low"
    high = "high"


class Protocol(StrEnum):
    """Values of --protocol."""

    toolkit = "toolkit"
    paper = "paper"


class Published(StrEnum):
    """Values of --published."""

    paper = "paper"
    mefb = "mefb"
    vifb = "vifb"


class Projection(StrEnum):
    """Values of --common-projection."""

    unique = "unique"
    common = "common"


MODEL_PANEL = "Model"
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Shipped weights by name, or a weights file. pyramid, unless given; paper makes the paper's P_r.",
        rich_help_panel=MODEL_PANEL,
    ),
]
EngineOption = Annotated[
    Engine | None,
    typer.Option(
        "--engine", help="openvino, or torch where --device is not cpu, unless given.", rich_help_panel=MODEL_PANEL
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="cpu (default), or a torch device such as cuda.", rich_help_panel=MODEL_PANEL),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        "--precision", help="The fastest that is good enough here, unless given.", rich_help_panel=MODEL_PANEL
    ),
]
#: Of commands that give numbers: they are to be the same on all machines.
ExplainPrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="What the network computes in.", rich_help_panel=MODEL_PANEL)
]
#: Of commands that show embeddings, which the pyramid network has none of.
ExplainWeightsOption = Annotated[
    str,
    typer.Option(
        "--weights", help="Of the paper's network: shipped ones by name, or a file.", rich_help_panel=MODEL_PANEL
    ),
]
TaskOption = Annotated[
    Task,
    typer.Option("--task", help="What the report calls the scene; auto sees by itself. The picture is the same."),
]
PaletteOption = Annotated[
    str,
    typer.Option(
        "--infrared-palette",
        help="False colour of a thermal source, such as iron; auto recognises it, none leaves it.",
    ),
]
ALIGN_PANEL = "Alignment and motion"
DeghostOption = Annotated[
    Deghost,
    typer.Option(
        "--deghost",
        help="Exposures: show what moves as the best exposed frame does; auto in three and more, low less of it.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
MapsOption = Annotated[
    Path | None,
    typer.Option(
        "--maps", metavar="FOLDER", help="Write masks of what moved, one a frame.", rich_help_panel=ALIGN_PANEL
    ),
]
AlignOption = Annotated[
    Align,
    typer.Option(
        "--align",
        help="Lay frames upon each other: auto as well as can be told, others no more freely than that; off not.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
KeepOption = Annotated[
    bool,
    typer.Option(
        "--keep",
        help="Keep all of the frame that the others are laid upon, not only what all frames cover.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
AlignmentOption = Annotated[
    Path | None,
    typer.Option(
        "--alignment",
        metavar="FILE",
        help="Apply an alignment that was saved, to as many frames in the same order.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
SaveAlignmentOption = Annotated[
    Path | None,
    typer.Option(
        "--save-alignment",
        metavar="FILE",
        help="Save the alignment as JSON, to apply it to other frames.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
READING_PANEL = "What the files mean"
PagesOption = Annotated[
    str | None,
    typer.Option(
        "--pages",
        help="Pages of the files that are sources: all; 2-5,8; c2 for channel 2. A single TIFF gives all.",
        rich_help_panel=READING_PANEL,
    ),
]
OrientationOption = Annotated[
    Orientation,
    typer.Option(
        "--orientation",
        help="Turn pictures as their EXIF says, or take them as stored.",
        rich_help_panel=READING_PANEL,
    ),
]
RangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        metavar="A:LO-HI",
        help="Black and white of a source, in its own values: 1:6800-7300. A is its number, letter or name.",
        rich_help_panel=READING_PANEL,
    ),
]
BlackHotOption = Annotated[
    list[str] | None,
    typer.Option(
        "--black-hot",
        metavar="A",
        help="A thermal source that shows what is warm dark, by its number, letter or name.",
        rich_help_panel=READING_PANEL,
    ),
]
JpegQualityOption = Annotated[int, typer.Option("--jpeg-quality", min=1, max=100, help="Of a JPEG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def files_read(sources: Sequence[Path], weights: str | None) -> list[Path]:
    """Returns all files that a command reads, so that it writes over none of them."""
    return [*sources, *([Path(weights)] if weights is not None else [])]


def fuser_of(
    weights: str | None,
    engine: Engine | None,
    device: str | None,
    precision: Precision | None,
    task: Task,
    infrared_palette: str,
    align: str = "auto",
    deghost: str = "auto",
    *,
    keep: bool = False,
) -> Any:
    """Loads a network as the options of a command ask for."""
    from defusion.api import Fuser

    return Fuser(
        weights=weights,
        engine=engine,
        device=device,
        precision=precision,
        task=task,
        infrared_palette=infrared_palette,
        align=align,
        crop=not keep,
        deghost=deghost,
    )


def known_alignment(
    align: Align, alignment: Path | None, save_alignment: Path | None, sources: Sequence[Path]
) -> Any:
    """Reads --alignment, None without it; the options that go with it must not contradict --align."""
    from defusion.alignment.record import Alignment
    from defusion.errors import DefusionError
    from defusion.files import unfit

    if align == Align.off and (alignment or save_alignment):
        raise DefusionError("--align off leaves nothing to apply or to save; leave it away, or the other option")
    if save_alignment is not None and (reason := unfit(save_alignment, sources)):
        raise DefusionError(f"{save_alignment} {reason}")
    if save_alignment is not None and not save_alignment.resolve().parent.is_dir():
        folder = save_alignment.resolve().parent
        raise DefusionError(f"{save_alignment} cannot be written, there is no folder {folder}; create it first")
    return None if alignment is None else Alignment.load(alignment)


def reading_of(
    sources: Sequence[Path],
    pages: str | None,
    orientation: Orientation,
    ranges: Sequence[str] | None,
    black_hot: Sequence[str] | None,
) -> Any:
    """Says how sources are to be read, as the options of a command ask for; `ImageError` if they mean nothing."""
    from defusion.sources import Reading

    named = {}
    for text in ranges or ():
        found = re.fullmatch(rf"(.+):({_NUMBER})-({_NUMBER})", text)
        if not found:
            raise ImageError(f"--range {text} is not understood; expected such as 1:6800-7300")
        named[_number_of(found[1], sources)] = (float(found[2]), float(found[3]))
    return Reading(
        pages, orientation.value, ranges=named, black_hot={_number_of(each, sources) for each in black_hot or ()}
    )


def _number_of(source: str, sources: Sequence[Path]) -> int:
    """The number of a source, from 1, that was named by number, letter or file."""
    names = [str(path) for path in sources]
    if source in names:
        return names.index(source) + 1
    number = int(source) if re.fullmatch(r"[0-9]{1,6}", source) else 0
    if re.fullmatch(r"[A-Za-z]", source):
        number = ord(source.upper()) - ord("A") + 1
    if not 1 <= number <= len(sources):
        raise ImageError(f"no source {source} came; expected a number from 1 to {len(sources)}, a letter or a name")
    return number
