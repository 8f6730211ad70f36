"""Commands for weights, training and the machine."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from defusion.api.options import Options
from defusion.cli.app import app, weights_app
from defusion.cli.options import (
    CommonProjection,
    JsonOption,
    takes,
)
from defusion.cli.output import Talk, need, show_done, show_result
from defusion.errors import DefusionError


@app.command(rich_help_panel="Models")
@takes("weights")
def doctor(options: Options, as_json: JsonOption = False) -> None:
    """Show what this machine has, what would be used to fuse, and why."""
    from defusion.doctor import examine, lines_of

    found = {**examine(options.weights), "config_file": None if Talk.config is None else str(Talk.config)}
    show_result(found, as_json, *lines_of(found))


@app.command(rich_help_panel="Models")
def train(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS", help="Photographs, or folders that are searched for them.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="RUN", help="Folder for checkpoints, curves and weights.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="pyramid, close, paper, authors, quick or a TOML file. Default: pyramid, or that of a resumed run.",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Start from these: name of shipped weights, or a weights file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest checkpoint in RUN.")] = False,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[str, typer.Option("--devices", help="Number of devices on each node, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Number of machines.")] = 1,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Number of processes that load crops.")
    ] = None,
    every: Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")] = 500,
    as_json: JsonOption = False,
) -> None:
    """Train a network on unlabelled photographs by common and unique decomposition."""
    need("torch", "lightning", "tensorboard", extra="train")
    from defusion.training import load_recipe, recipe_of
    from defusion.training import train as run_training
    from defusion.training.progress import progress_bar
    from defusion.weights import WeightsFile

    chosen = recipe_of(output) if resume and recipe is None else load_recipe(recipe or "pyramid")
    with nullcontext() if Talk.quiet else progress_bar() as report:
        trained = run_training(
            list(photos),
            output,
            chosen,
            start=weights,
            resume=resume,
            accelerator=accelerator,
            devices=int(devices) if devices.isdigit() else devices,
            nodes=nodes,
            workers=workers,
            checkpoint_every=every,
            report=report,
        )
    data = WeightsFile.open(trained).about["data"]
    left_out = ", ".join(f"{count} {reason}" for reason, count in data["left_out"].items()) or "none"
    show_done(
        {"weights": str(trained), "recipe": chosen.name, "data": data},
        as_json,
        f"trained on {data['photographs']} photographs (left out: {left_out}); weights are in {trained}",
    )


class ExportFormat(StrEnum):
    """Values of --format."""

    onnx = "onnx"
    openvino = "openvino"
    torch_export = "torch-export"


@app.command(rich_help_panel="Models")
@takes("weights")
def export(
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="File to write: .onnx, .xml or .pt2, to match the format."
        ),
    ],
    format: Annotated[ExportFormat, typer.Option("--format", help="The runtime to write for.")],
    options: Options,
    size: Annotated[
        str,
        typer.Option(
            "--size",
            metavar="WxH",
            help="Size of the pictures. If the network cannot take it, the command names the nearest that it can.",
        ),
    ] = "768x512",
    sources: Annotated[int, typer.Option("--sources", min=2, help="Number of pictures that it fuses.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Export the network to another runtime, and check that it gives the same picture there."""
    need("torch", *([] if format == ExportFormat.torch_export else ["onnx", "onnxscript"]), extra="export")
    from defusion.export import export as write

    found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    if not found:
        raise DefusionError(f"--size {size} is not understood; expected a size such as 768x512")
    made = write(
        output, format.value, weights=options.weights, sources=sources, width=int(found[1]), height=int(found[2])
    )
    facts = {"outputs": [str(file) for file in made.files], "levels": made.levels, "difference": made.difference}
    show_done(facts, as_json, f"the network is in {output}; it differs from ours by {made.difference:.1e} at most")


@weights_app.command("list")
def list_weights(as_json: JsonOption = False) -> None:
    """List the weights that the package ships."""
    from defusion.weights import DEFAULT, WeightsFile, bundled

    files = {name: WeightsFile.open(path) for name, path in bundled().items()}
    rows = [
        {
            "name": name,
            "default": name == DEFAULT,
            "network": file.config.name,
            "heads": list(file.config.heads),
            "megabytes": round(file.path.stat().st_size / 1e6, 2),
            "scores": file.about.get("scores", {}),
            "licence": file.about.get("licence"),
            "path": str(file.path),
        }
        for name, file in files.items()
    ]
    lines = [
        f"{row['name']}{' (default)' if row['default'] else ''}: network {row['network']}, {row['megabytes']} MB, "
        f"{row['licence']}{''.join(f'; {name} {value}' for name, value in row['scores'].items())}"
        for row in rows
    ]
    show_result({"weights": rows}, as_json, *lines)


@weights_app.command("info")
def show_weights(
    weights: Annotated[
        str | None, typer.Argument(metavar="WEIGHTS", help="Name of shipped weights, or a weights file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how weights were made: their model card, or their metadata if they have no card."""
    from defusion.weights import WeightsFile, resolve

    file = WeightsFile.open(resolve(weights))
    facts = {
        "path": str(file.path),
        "sha256": file.sha256,
        "config": asdict(file.config),
        "about": file.about,
    }
    card = file.card() or json.dumps(facts, indent=2)
    show_result(facts, as_json, *card.splitlines())


@weights_app.command("convert")
def convert_weights(
    theirs: Annotated[Path, typer.Argument(metavar="THEIRS.pth", help="A checkpoint of the paper's authors.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OURS.safetensors", help="Weights file to write.")
    ],
    common_projection: Annotated[
        CommonProjection,
        typer.Option(
            "--common-projection",
            help="Head for f_c. unique: as in the authors' test code; common: as in the paper.",
        ),
    ] = CommonProjection.unique,
    as_json: JsonOption = False,
) -> None:
    """Convert a checkpoint of the paper's authors to a weights file."""
    need("torch", extra="torch")
    from defusion.weights.convert import convert

    file = convert(theirs, output, common_projection.value)
    head = "P_u, as the authors' test networks" if common_projection == "unique" else "P_c, as the paper"
    show_done(
        {"output": str(output), "layout": file.config.name, "common_projection": common_projection.value},
        as_json,
        f"layout `{file.config.name}`; f_c is projected by {head} does; written to {output}",
    )
