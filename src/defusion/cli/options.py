"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from defusion.api.options import NETWORK, THERMAL, Options, default, says, values
from defusion.cli.app import set_signature
from defusion.errors import ImageError

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


class Orientation(StrEnum):
    """Values of --orientation."""

    apply = "apply"
    ignore = "ignore"


class ProtocolName(StrEnum):
    """Values of --protocol."""

    toolkit = "toolkit"
    paper = "paper"


class Published(StrEnum):
    """Values of --published."""

    paper = "paper"
    mefb = "mefb"
    vifb = "vifb"


class CommonProjection(StrEnum):
    """Values of --common-projection."""

    unique = "unique"
    common = "common"


MODEL_PANEL = "Model"
ALIGN_PANEL = "Alignment and motion"
_PANELS = {
    **dict.fromkeys(NETWORK, MODEL_PANEL),
    **dict.fromkeys(("align", "crop", "deghost"), ALIGN_PANEL),
    **dict.fromkeys(THERMAL, "Thermal cameras"),
}


def shared(name: str) -> Any:
    """Returns the type of a parameter for one of `Options`, with its help, its values and its panel."""
    allowed = values(name) if name not in ("infrared_palette", "palette") else ()  # listing these would import numpy
    kind: Any = Literal[allowed] if allowed else {"crop": bool, "plane": float}.get(name, str)
    words = "--crop/--no-crop" if name == "crop" else f"--{name.replace('_', '-')}"
    option = typer.Option(words, help=says(name), rich_help_panel=_PANELS.get(name))
    return Annotated[kind | None if default(name) is None else kind, option]


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command some of the shared options, as one parameter `options: Options`."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:
            command(options=Options(**{name: given.pop(name) for name in names}), **given)

        parameters: list[Parameter] = []
        for each in signature(command, eval_str=True).parameters.values():
            if each.name != "options":
                parameters.append(each)
                continue
            for name in names:
                parameters.append(each.replace(name=name, default=default(name), annotation=shared(name)))
        set_signature(called, parameters)
        return called

    return decorated


#: For commands whose numbers have to be the same on all machines.
ExplainPrecisionOption = Annotated[
    str, typer.Option("--precision", help="Precision of the network.", rich_help_panel=MODEL_PANEL)
]
#: For commands that show embeddings, which only the paper's network has.
ExplainWeightsOption = Annotated[
    str,
    typer.Option(
        "--weights", help="Weights of the paper's network: a shipped name, or a file.", rich_help_panel=MODEL_PANEL
    ),
]
MapsOption = Annotated[
    Path | None,
    typer.Option(
        "--maps",
        metavar="FOLDER",
        help="Write maps that explain the result: which frame shows each place, depth of a focus stack, motion.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
StepOption = Annotated[
    float | None,
    typer.Option(
        "--step",
        metavar="UM",
        min=1e-6,
        help="Micrometres between neighbouring frames of a focus stack, for its depth map.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
ByMapOption = Annotated[
    Path | None,
    typer.Option(
        "--by-map",
        metavar="FOLDER",
        help="Take each place from the frame that earlier maps name: for another channel, or after a retouch.",
        rich_help_panel=ALIGN_PANEL,
    ),
]
AlignmentOption = Annotated[
    Path | None,
    typer.Option(
        "--alignment",
        metavar="FILE",
        help="Apply a saved alignment. Give as many frames, in the same order.",
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
READING_PANEL = "How files are read"
_READING: dict[str, tuple[Any, Any]] = {
    "pages": (
        Annotated[
            str | None,
            typer.Option(
                "--pages",
                help="Pages of the files to use: all; 2-5,8; c2 for channel 2. Default for a single TIFF: all.",
                rich_help_panel=READING_PANEL,
            ),
        ],
        None,
    ),
    "orientation": (
        Annotated[
            Orientation,
            typer.Option(
                "--orientation",
                help="apply: turn pictures as their EXIF says; ignore: take them as stored.",
                rich_help_panel=READING_PANEL,
            ),
        ],
        Orientation.apply,
    ),
    "ranges": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--range",
                metavar="A:LO-HI",
                help="Black and white level of a source, such as 1:6800-7300; A is its number, letter or name.",
                rich_help_panel=READING_PANEL,
            ),
        ],
        None,
    ),
    "black_hot": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--black-hot",
                metavar="A",
                help="A thermal source that shows warm things dark; name it by number, letter or file name.",
                rich_help_panel=READING_PANEL,
            ),
        ],
        None,
    ),
}


class AskedReading(NamedTuple):
    """How sources are to be read, as it was given on the command line."""

    pages: str | None
    orientation: Orientation
    ranges: Sequence[str] | None
    black_hot: Sequence[str] | None

    def of(self, sources: Sequence[Path] | None) -> Any:
        """Returns it as `Reading`. Without `sources`, a source can be named only by number or letter.

        Raises:
            ImageError: A text is not understood.
        """
        from defusion.api.sources import Reading

        named = {}
        for text in self.ranges or ():
            found = re.fullmatch(rf"(.+):({_NUMBER})(?:-|\.\.)({_NUMBER})", text)
            if not found:
                raise ImageError(f"--range {text} is not understood; expected a range such as 1:6800-7300")
            named[_number_of(found[1], sources)] = (float(found[2]), float(found[3]))
        dark = tuple(sorted({_number_of(each, sources) for each in self.black_hot or ()}))
        return Reading(self.pages, self.orientation.value, ranges=named, black_hot=dark)


def reads(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command options for how sources are read, as one parameter `reading`: those named, or all of them."""
    chosen = names or tuple(_READING)

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:
            asked = {name: given.pop(name) if name in chosen else _READING[name][1] for name in _READING}
            command(reading=AskedReading(**asked), **given)

        parameters: list[Parameter] = []
        for each in signature(command, eval_str=True).parameters.values():
            if each.name != "reading":
                parameters.append(each)
                continue
            for name in chosen:
                kind, unless = _READING[name]
                parameters.append(each.replace(name=name, default=unless, annotation=kind))
        set_signature(called, parameters)
        return called

    return decorated


JpegQualityOption = Annotated[int, typer.Option("--jpeg-quality", min=1, max=100, help="Quality of a JPEG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def files_read(sources: Sequence[Path], options: Options) -> list[Path]:
    """Returns all files that a command reads, so that it overwrites none of them."""
    return [*sources, *([Path(options.weights)] if options.weights is not None else [])]


def known_alignment(
    options: Options, alignment: Path | None, save_alignment: Path | None, sources: Sequence[Path]
) -> Any:
    """Reads the file of --alignment; None without it. Raises if the alignment options contradict --align."""
    from defusion.alignment.record import Alignment
    from defusion.errors import DefusionError
    from defusion.system.files import unfit

    if options.align == "off" and (alignment or save_alignment):
        raise DefusionError("--align off leaves nothing to apply or to save; remove one of these options")
    if save_alignment is not None and (reason := unfit(save_alignment, sources)):
        raise DefusionError(f"{save_alignment} {reason}")
    if save_alignment is not None and not save_alignment.resolve().parent.is_dir():
        folder = save_alignment.resolve().parent
        raise DefusionError(
            f"{save_alignment} cannot be written, because the folder {folder} does not exist; create it first"
        )
    return None if alignment is None else Alignment.load(alignment)


def _number_of(source: str, sources: Sequence[Path] | None) -> int:
    """Returns the number, from 1, of a source that was named by number, letter or file name."""
    names = [str(path) for path in sources or ()]
    if source in names:
        return names.index(source) + 1
    number = int(source) if re.fullmatch(r"[0-9]{1,6}", source) else 0
    if re.fullmatch(r"[A-Za-z]", source):
        number = ord(source.upper()) - ord("A") + 1
    if sources is None and number < 1:
        raise ImageError(f"source {source} is not understood; expected a number from 1, or a letter")
    if sources is not None and not 1 <= number <= len(sources):
        raise ImageError(f"no source {source} came; expected a number from 1 to {len(sources)}, a letter or a name")
    return number
