"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer


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


class Head(StrEnum):
    """Values of --head."""

    pyramid = "pyramid"
    paper = "paper"
    detail = "detail"


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
    typer.Option("--weights", help="Shipped weights by name, or a weights file.", rich_help_panel=MODEL_PANEL),
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
HeadOption = Annotated[
    Head | None,
    typer.Option(
        "--head",
        help="How the picture is made: pyramid, of the sources' own pixels; paper, by its P_r; detail, no network.",
        rich_help_panel=MODEL_PANEL,
    ),
]
TaskOption = Annotated[Task, typer.Option("--task", help="What kind of scene it is; auto sees by itself.")]
PaletteOption = Annotated[
    str,
    typer.Option(
        "--infrared-palette",
        help="False colour of a thermal source, such as iron; auto recognises it, none leaves it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def fuser_of(
    weights: str | None,
    engine: Engine | None,
    device: str | None,
    precision: Precision | None,
    task: Task,
    head: Head | None,
    infrared_palette: str,
) -> Any:
    """Loads a network as the options of a command ask for."""
    from defusion.api import Fuser

    return Fuser(
        weights=weights,
        engine=engine,
        device=device,
        precision=precision,
        task=task,
        head=head,
        infrared_palette=infrared_palette,
    )
