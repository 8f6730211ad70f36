"""Commands that measure and explain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from defusion.api.options import Options
from defusion.cli.app import app, explain_app
from defusion.cli.options import (
    ExplainPrecisionOption,
    ExplainWeightsOption,
    JsonOption,
    ProtocolName,
    Published,
    files_read,
    takes,
)
from defusion.cli.output import Talk, counted, fail, leaving_quietly, need, show_done, show_result, told


@app.command(rich_help_panel="Evaluation")
def evaluate(
    data_sets: Annotated[
        list[str],
        typer.Argument(metavar="DATASET", help="Folders of scenes or of data sets; NAME:FOLDER names the data set."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder for report and pictures.")],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            help="Comma-separated, or repeated: defusion, defusion@WEIGHTS, average, maximum, mertens, laplacian, "
            "guided, detail; NAME=FOLDER of pictures; NAME='COMMAND {a} {b} {out}'. "
            "Default: defusion, average, mertens, laplacian, detail.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", help="Comma-separated, or repeated. Default: those of the protocol."),
    ] = None,
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", help="toolkit: in colour; paper: the metrics of the paper's tables.")
    ] = ProtocolName.toolkit,
    published: Annotated[
        list[Published] | None, typer.Option("--published", help="Quote published tables in the report.")
    ] = None,
    scenes: Annotated[
        int | None,
        typer.Option("--scenes", min=1, help="Use at most this many scenes of each data set, evenly spread."),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(
            "--roles",
            metavar="ROLE=FOLDER,...",
            help="Folders of a data set by what they hold, such as ir=T,vis=RGB; gt=FOLDER for the ground truth.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Number of processes that measure. Default: one for each core."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure methods on data sets, our own and others, and write a report."""
    need("cv2", "matplotlib", "scipy", extra="evaluate")
    from defusion.evaluation.datasets import find_sets
    from defusion.evaluation.methods import DEFAULT_METHODS, parse_methods
    from defusion.evaluation.progress import progress_bar
    from defusion.evaluation.report import write_report
    from defusion.evaluation.run import evaluate as run_evaluation
    from defusion.system.machine import cores

    chosen = parse_methods(methods or DEFAULT_METHODS)
    sets = [each.spread(scenes) for each in find_sets(data_sets, _roles(roles))]
    with progress_bar(wanted=not Talk.quiet) as report:
        results = run_evaluation(
            sets,
            chosen,
            output,
            metrics=comma_separated(metrics),
            protocol=protocol.value,
            jobs=workers or cores(),
            report=report,
        )
    files = write_report(results, output, quoted=[each.value for each in published or ()])
    told(results.notes)
    measured = len(results.outcomes) - len(results.failures)
    done = f"{counted(measured, 'picture')} measured; look at {files[0]}"
    show_done({"outputs": [str(file) for file in files], **results.summary()}, as_json, done)
    if failed := results.failures:
        first = failed[0]
        where = f"{first.method} on {first.scene.data_set}/{first.scene.name}"
        are = "pictures are missing; the first is" if len(failed) > 1 else "picture is missing:"
        fail(f"{len(failed)} {are} {where}: {first.failure}", 1)


@app.command("metrics", rich_help_panel="Evaluation")
def measure(
    a: Annotated[Path, typer.Argument(metavar="A", help="First source.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Second source.")],
    fused: Annotated[Path, typer.Argument(metavar="FUSED", help="The fused picture.")],
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Ground truth for the fused picture, if there is one.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", metavar="NAME", help="Comma-separated, or repeated. Default: all."),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            "--protocol", help="toolkit: each metric decides about colour; paper: CE, QCV, SSIM and CC in grey."
        ),
    ] = ProtocolName.toolkit,
    as_json: JsonOption = False,
) -> None:
    """Measure a fused picture against its two sources, and against the ground truth if there is one."""
    need("cv2", "scipy", extra="evaluate")
    from defusion.evaluation.files import measure_files

    found = measure_files(a, b, fused, truth, names=comma_separated(metrics), protocol=protocol.value)
    told(found.notes)
    if as_json:
        show_result(found.facts(), as_json)
    else:
        _show_scores(found.scores)


@explain_app.command("toy")
@takes("engine", "device")
def explain_toy(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="Picture from which the sources are made.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to; created if needed.")
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of masks and noise.")] = 0,
    weights: ExplainWeightsOption = "paper",
    precision: ExplainPrecisionOption = "float32",
    *,
    options: Options,
    as_json: JsonOption = False,
) -> None:
    """Make five pairs of sources from one picture, decompose and fuse each, as in Fig. 7 of the paper."""
    need("cv2", "matplotlib", extra="evaluate")
    from defusion.api.fuser import Fuser
    from defusion.evaluation.explain.figures import files_of, save, toy_figure
    from defusion.evaluation.explain.toys import toy
    from defusion.imaging import check_folder, read

    options = options.changed(weights=weights, precision=precision)
    check_folder(output, [file.name for file in files_of(output, "toy").values()], files_read([picture], options))
    paper, pyramid = (Fuser(options, weights=each, infrared_palette="none", align="off") for each in (weights, None))
    scene = read(picture)
    made = toy(paper, pyramid, scene.pixels, seed=seed)
    files = save(toy_figure(made), output, "toy")
    height, width, _ = made.scene.shape
    facts = {
        "outputs": {suffix: str(file) for suffix, file in files.items()},
        **{"width": width, "height": height, "seed": seed},
        **paper.network,
        "cases": [asdict(row.statistics) for row in made.rows],
        "notes": told((*scene.notes, *made.notes)),
    }
    show_result(facts, as_json, *(row.statistics.line() for row in made.rows), f"the figure is {files['pdf']}")


@explain_app.command("pair")
@takes("engine", "device")
def explain_pair(
    a: Annotated[Path, typer.Argument(metavar="A", help="A picture of a scene.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another picture of the same scene and size.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to; created if needed.")
    ],
    weights: ExplainWeightsOption = "paper",
    precision: ExplainPrecisionOption = "float32",
    *,
    options: Options,
    as_json: JsonOption = False,
) -> None:
    """Show where the common and the unique embeddings of two sources are active, as in Fig. 8 of the paper."""
    need("cv2", "matplotlib", extra="evaluate")
    from defusion.api.fuser import Fuser
    from defusion.api.sources import frames_of
    from defusion.evaluation.explain.embeddings import pair
    from defusion.evaluation.explain.figures import files_of, pair_figure, save
    from defusion.imaging import check_folder

    options = options.changed(weights=weights, precision=precision)
    check_folder(output, [file.name for file in files_of(output, "pair").values()], files_read([a, b], options))
    paper = Fuser(options)
    frames = [frame.kept() for frame in frames_of([a, b])]
    made = pair(paper, frames)
    files = save(pair_figure(made), output, "pair")
    height, width, _ = made.a.shape
    facts = {
        "outputs": {suffix: str(file) for suffix, file in files.items()},
        **{"width": width, "height": height},
        **paper.network,
        **asdict(made.statistics),
        "notes": told(made.notes),
    }
    show_result(facts, as_json, *made.statistics.lines(), f"the figure is {files['pdf']}")


def _roles(given: str | None) -> dict[str, str] | None:
    """Parses --roles into the folder of each role."""
    if given is None:
        return None
    return {role.strip(): place.strip() for role, _, place in (each.partition("=") for each in given.split(","))}


def comma_separated(given: list[str] | None) -> list[str]:
    """Splits names at commas. The option may also be repeated."""
    return [name.strip() for each in given or () for name in each.split(",")]


def _show_scores(scores: dict[str, Any]) -> None:
    """Prints a table: name, value, better direction, description."""
    from rich.console import Console
    from rich.table import Table

    from defusion.evaluation.metrics import METRICS

    table = Table("metric", "value", "better", "what it is", box=None)
    table.columns[1].justify = "right"
    for name, found in scores.items():
        metric = METRICS[name]
        value = f"{found.value:.5g}" if found.reason is None else "-"
        table.add_row(
            name, value, metric.better, metric.title if found.reason is None else f"not defined: {found.reason}"
        )
    console = Console()
    if not console.is_terminal:
        console.width = 160  # a file or a pipe has no width of its own
    with leaving_quietly():
        console.print(table)
