"""The `defusion` command: parse, call, show. Results go to stdout, talk to stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from defusion.errors import DefusionError

app = typer.Typer(
    name="defusion",
    help="One picture out of several of a scene.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = typer.Typer(help="Weights: what there is, what made it, and the authors' files.", no_args_is_help=True)
app.add_typer(weights_app, name="weights", rich_help_panel="Models")
explain_app = typer.Typer(help="Figures of what the network sees: toy cases and embeddings.", no_args_is_help=True)
app.add_typer(explain_app, name="explain", rich_help_panel="Evaluation")


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


_MODEL = "Model"
WeightsOption = Annotated[
    str | None,
    typer.Option("--weights", help="Shipped weights by name, or a weights file.", rich_help_panel=_MODEL),
]
EngineOption = Annotated[
    Engine | None,
    typer.Option(
        "--engine", help="openvino, or torch where --device is not cpu, unless given.", rich_help_panel=_MODEL
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="cpu (default), or a torch device such as cuda.", rich_help_panel=_MODEL),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="The fastest that is good enough here, unless given.", rich_help_panel=_MODEL),
]
#: Of commands that give numbers: they are to be the same on all machines.
ExplainPrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="What the network computes in.", rich_help_panel=_MODEL)
]
HeadOption = Annotated[
    Head | None,
    typer.Option(
        "--head",
        help="How the picture is made: pyramid, of the sources' own pixels; paper, by its P_r; detail, no network.",
        rich_help_panel=_MODEL,
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


def _version(wanted: bool) -> None:
    if wanted:
        from defusion import __version__

        typer.echo(f"defusion {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Keep the traceback of every failure.")] = False,
) -> None:
    pass


@app.command(rich_help_panel="Pictures")
def fuse(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FRAME...", help="Two or more pictures of one scene, of one size.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Picture to write: .tif, .png, .webp, .jpg or .exr.")
    ],
    task: TaskOption = Task.auto,
    infrared_palette: PaletteOption = "auto",
    weights: WeightsOption = None,
    engine: EngineOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    head: HeadOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fuse pictures of one scene into one: exposures, a focus stack, infrared and visible."""
    from defusion.api import frames_of
    from defusion.imaging import check_output, open_output
    from defusion.machine import give_memory_back
    from defusion.progress import fusing_bar

    check_output(output)
    give_memory_back()
    fuser = _fuser(weights, engine, device, precision, task, head, infrared_palette)
    with fusing_bar(wanted=not as_json) as report:
        fused = fuser.fusing(frames_of(sources), report)
        notes = _told(fused.notes)
        form = fused.form
        with open_output(
            output,
            height=form.size.height,
            width=form.size.width,
            channels=form.channels,
            depth=form.depth,
            icc=form.icc,
            exif=form.exif,
        ) as out:
            for band in fused.bands:
                out.append(band)
    notes += _told(out.notes)
    facts = {
        "output": str(output),
        "sources": len(sources),
        **_facts(fuser, fused.plan, form),
        "notes": notes,
    }
    _result(facts, as_json, f"fused into {output} ({fused.plan.task}: {fused.plan.why})")


@app.command(rich_help_panel="Pictures")
def decompose(
    a: Annotated[Path, typer.Argument(help="A picture of a scene.")],
    b: Annotated[Path, typer.Argument(help="Another of the same scene, of the same size.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to; made if need be.")
    ],
    task: TaskOption = Task.auto,
    infrared_palette: PaletteOption = "auto",
    weights: WeightsOption = None,
    engine: EngineOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    head: HeadOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what two pictures share, what each has alone, and what they fuse to."""
    from defusion.api import frames_of
    from defusion.imaging import make_folder, write
    from defusion.imaging.figure import labelled_panels

    make_folder(output)
    fuser = _fuser(weights, engine, device, precision, task, head, infrared_palette)
    frames = [frame.kept() for frame in frames_of([a, b])]
    decomposed = fuser.decomposing(frames)
    parts = decomposed.parts
    notes = _told(decomposed.notes)
    suffix = ".tif" if parts.fused.depth == "float32" else ".png"
    files = {name: output / f"{name}{suffix}" for name in parts._fields}
    if {each.resolve() for each in (a, b)} & {file.resolve() for file in (*files.values(), output / "figure.png")}:
        raise DefusionError(f"a source in {output} has the name of a part; choose another folder")
    for name, file in files.items():
        notes += _told(write(file, getattr(parts, name)))
    files["figure"] = output / "figure.png"
    panels = {"source a": frames[0].open(), "source b": frames[1].open(), **parts._asdict()}
    write(files["figure"], labelled_panels(panels))
    named = {name: str(file) for name, file in files.items()}
    facts = {"outputs": named, **_facts(fuser, decomposed.plan, decomposed.form), "notes": notes}
    _result(facts, as_json, f"parts are in {output}")


@app.command(rich_help_panel="Pictures")
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to.")] = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """Make an exposure, a focus and an infrared-like pair from free photographs, and fuse them."""
    from defusion.demo import run_demo

    written = run_demo(output, report=_say)
    _result({"outputs": [str(file) for file in written]}, as_json, f"look at {written[-1]}")


@app.command(rich_help_panel="Evaluation")
def evaluate(
    data_sets: Annotated[
        list[str],
        typer.Argument(metavar="DATASET...", help="Folders of scenes or of sets; NAME:FOLDER says which set it is."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="REPORT", help="Folder for report and pictures.")],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            help="Parted by commas, or given again: defusion, defusion:HEAD@WEIGHTS, average, maximum, mertens, "
            "laplacian, guided, detail; NAME=FOLDER of pictures; NAME='COMMAND {a} {b} {out}'. "
            "Unless given: defusion, average, mertens, laplacian, detail.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", help="Parted by commas, or given again; those of the protocol, unless given."),
    ] = None,
    protocol: Annotated[
        Protocol, typer.Option("--protocol", help="toolkit: in colour; paper: metrics of the paper's tables.")
    ] = Protocol.toolkit,
    published: Annotated[
        list[Published] | None, typer.Option("--published", help="Quote published tables in the report.")
    ] = None,
    scenes: Annotated[
        int | None, typer.Option("--scenes", min=1, help="At most so many of each set, spread evenly.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Processes that measure; one a core, unless given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure methods on data sets, ours and others', and write a report."""
    _need("cv2", "matplotlib", "scipy", extra="evaluate")
    from defusion.evaluation.datasets import find_sets
    from defusion.evaluation.methods import DEFAULT_METHODS, parse_methods
    from defusion.evaluation.progress import progress_bar
    from defusion.evaluation.report import write_report
    from defusion.evaluation.run import evaluate as run_evaluation
    from defusion.machine import cores

    chosen = parse_methods(methods or DEFAULT_METHODS)
    sets = [each.spread(scenes) for each in find_sets(data_sets)]
    with progress_bar() as report:
        results = run_evaluation(
            sets,
            chosen,
            output,
            metrics=_parted(metrics),
            protocol=protocol.value,
            jobs=jobs or cores(),
            report=report,
        )
    files = write_report(results, output, quoted=[each.value for each in published or ()])
    _told(results.notes)
    done = f"{len(results.outcomes) - len(results.failures)} pictures measured; look at {files[0]}"
    _result({"outputs": [str(file) for file in files], **results.summary()}, as_json, done)
    if failed := results.failures:
        first = failed[0]
        where = f"{first.method} on {first.scene.data_set}/{first.scene.name}"
        _fail(f"{len(failed)} pictures are missing; the first is {where}: {first.failure}", 1)


@app.command("metrics", rich_help_panel="Evaluation")
def measure(
    a: Annotated[Path, typer.Argument(help="A source.")],
    b: Annotated[Path, typer.Argument(help="The other source.")],
    fused: Annotated[Path, typer.Argument(help="The fused picture.")],
    reference: Annotated[
        Path | None, typer.Option("--reference", help="What the fused picture should be, where that is known.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="Parted by commas, or given again. All, unless given."),
    ] = None,
    protocol: Annotated[
        Protocol,
        typer.Option("--protocol", help="toolkit: colour as each metric takes it; paper: grey, CE QCV SSIM CC."),
    ] = Protocol.toolkit,
    as_json: JsonOption = False,
) -> None:
    """Measure a fused picture against its two sources, and against the truth where that is known."""
    _need("cv2", "scipy", extra="evaluate")
    from defusion.evaluation.files import measure_files

    found = measure_files(a, b, fused, reference, names=_parted(metric), protocol=protocol.value)
    _told(found.notes)
    if as_json:
        _result(found.facts(), as_json)
    else:
        _show_scores(found.scores)


@app.command(rich_help_panel="Models")
def doctor(weights: WeightsOption = None, as_json: JsonOption = False) -> None:
    """Show what this machine has, what would be used to fuse, and why."""
    from defusion.doctor import examine, lines_of

    found = examine(weights)
    _result(found, as_json, *lines_of(found))


@app.command(rich_help_panel="Models")
def train(
    photos: Annotated[list[Path], typer.Argument(help="Photographs, or folders that hold some at any depth.")],
    run: Annotated[Path, typer.Option("-o", "--run", metavar="RUN", help="Folder for checkpoints, curves, weights.")],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="paper, quick, or a TOML file; quick, or that of the run with --resume."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Begin from these: shipped weights by name, or a weights file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in RUN.")] = False,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[str, typer.Option("--devices", help="Number of devices on each node, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Number of machines.")] = 1,
    workers: Annotated[int | None, typer.Option("--workers", min=0, help="Processes that cut crops.")] = None,
    every: Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")] = 500,
    as_json: JsonOption = False,
) -> None:
    """Train a network on unlabelled photographs by common and unique decomposition."""
    _need("torch", "lightning", "tensorboard", extra="train")
    from defusion.training import load_recipe, recipe_of
    from defusion.training import train as run_training
    from defusion.training.progress import progress_bar
    from defusion.weights import WeightsFile

    chosen = recipe_of(run) if resume and recipe is None else load_recipe(recipe or "quick")
    with progress_bar() as report:
        trained = run_training(
            list(photos),
            run,
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
    _result(
        {"weights": str(trained), "recipe": chosen.name, "data": data},
        as_json,
        f"trained on {data['photographs']} photographs (left out: {left_out}); weights are in {trained}",
    )


@explain_app.command("toy")
def explain_toy(
    picture: Annotated[Path, typer.Argument(help="A picture, from which sources are made.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to; made if need be.")
    ],
    head: Annotated[
        Head,
        typer.Option(
            "--head", help="Whose fused picture is shown; figures are of others too.", rich_help_panel=_MODEL
        ),
    ] = Head.paper,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of masks and noise.")] = 0,
    weights: WeightsOption = None,
    engine: EngineOption = None,
    device: DeviceOption = None,
    precision: ExplainPrecisionOption = Precision.float32,
    as_json: JsonOption = False,
) -> None:
    """Have five pairs of sources made from one picture taken apart and fused, as in Fig. 7 of the paper."""
    _need("matplotlib", extra="evaluate")
    from defusion.evaluation.explain import toy
    from defusion.evaluation.explain_figures import save, toy_figure
    from defusion.imaging import make_folder, read

    fuser = _fuser(weights, engine, device, precision, Task.auto, None, "none")
    scene = read(picture)
    make_folder(output)
    made = toy(fuser, scene.pixels, head=head, seed=seed)
    files = save(toy_figure(made), output, "toy")
    height, width, _ = made.scene.shape
    facts = {
        "outputs": {suffix: str(file) for suffix, file in files.items()},
        **{"width": width, "height": height, "seed": seed, "head": made.head},
        **_network_facts(fuser),
        "cases": [asdict(row.statistics) for row in made.rows],
        "notes": _told((*scene.notes, *made.notes)),
    }
    _result(facts, as_json, *(row.statistics.line() for row in made.rows), f"the figure is {files['pdf']}")


@explain_app.command("pair")
def explain_pair(
    a: Annotated[Path, typer.Argument(help="A picture of a scene.")],
    b: Annotated[Path, typer.Argument(help="Another of the same scene, of the same size.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to; made if need be.")
    ],
    weights: WeightsOption = None,
    engine: EngineOption = None,
    device: DeviceOption = None,
    precision: ExplainPrecisionOption = Precision.float32,
    as_json: JsonOption = False,
) -> None:
    """Map where the common and the unique embeddings of two sources are activated, as in Fig. 8 of the paper."""
    _need("matplotlib", extra="evaluate")
    from defusion.api import frames_of
    from defusion.evaluation.explain import pair
    from defusion.evaluation.explain_figures import pair_figure, save
    from defusion.imaging import make_folder

    fuser = _fuser(weights, engine, device, precision, Task.auto, None, "auto")
    frames = [frame.kept() for frame in frames_of([a, b])]
    make_folder(output)
    made = pair(fuser, frames)
    files = save(pair_figure(made), output, "pair")
    height, width, _ = made.a.shape
    facts = {
        "outputs": {suffix: str(file) for suffix, file in files.items()},
        **{"width": width, "height": height},
        **_network_facts(fuser),
        **asdict(made.statistics),
        "notes": _told(made.notes),
    }
    _result(facts, as_json, *made.statistics.lines(), f"the figure is {files['pdf']}")


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
    _result({"weights": rows}, as_json, *lines)


@weights_app.command("info")
def show_weights(
    weights: Annotated[str | None, typer.Argument(help="Shipped weights by name, or a weights file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what made some weights: their model card, or their metadata where they have no card."""
    from defusion.weights import WeightsFile, resolve

    file = WeightsFile.open(resolve(weights))
    facts = {
        "path": str(file.path),
        "sha256": file.sha256,
        "config": asdict(file.config),
        "about": file.about,
    }
    _result(facts, as_json, file.card() or json.dumps(facts, indent=2))


@weights_app.command("convert")
def convert_weights(
    theirs: Annotated[Path, typer.Argument(metavar="THEIRS.pth", help="A checkpoint of the paper's authors.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OURS.safetensors", help="Weights file to write.")
    ],
    common_projection: Annotated[
        Projection,
        typer.Option(
            "--common-projection",
            help="Head for f_c: unique as in the authors' test code, common as in the paper.",
        ),
    ] = Projection.unique,
    as_json: JsonOption = False,
) -> None:
    """Turn a checkpoint of the paper's authors into a weights file."""
    _need("torch", extra="torch")
    from defusion.model.convert import convert

    file = convert(theirs, output, common_projection.value)
    head = "P_u, as the authors' test networks" if common_projection == "unique" else "P_c, as the paper"
    _result(
        {"output": str(output), "layout": file.config.name, "common_projection": common_projection.value},
        as_json,
        f"layout `{file.config.name}`; f_c is projected by {head} does; written to {output}",
    )


class _Interrupted(BaseException):
    """A signal that ends the run; whoever has begun a file takes it away."""


class _Interruption:
    """What signals do that end a run: a process that was forked off by a library leaves that to the first one."""

    def __init__(self) -> None:
        self.number = 0
        self._process = os.getpid()
        for number in (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")):
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, self._came)

    def _came(self, number: int, frame: object) -> None:
        if os.getpid() == self._process:
            self.number = number
            raise _Interrupted
        if number == signal.SIGTERM:
            os._exit(128 + number)


def main() -> None:
    """Runs the command; ends with 2 and one sentence where the user can mend what is wrong."""
    interruption = _Interruption()
    try:
        app()
    except (_Interrupted, Exception) as error:
        if interruption.number:  # whatever it made of other processes
            _fail("interrupted; no file was left half written", 128 + interruption.number)
        if "--debug" in sys.argv:
            raise
        if isinstance(error, DefusionError):
            _fail(str(error), 2)
        if isinstance(error, MemoryError) or "can't start new thread" in str(error):  # there is none for its stack
            _fail(f"there is too little memory ({error}); close other programs, or use a machine with more", 2)
        _fail(f"unexpected {type(error).__name__}: {error}; run `defusion --debug ...` for the traceback", 1)


def _fuser(
    weights: str | None,
    engine: Engine | None,
    device: str | None,
    precision: Precision | None,
    task: Task,
    head: Head | None,
    infrared_palette: str,
) -> Any:
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


def _facts(fuser: Any, plan: Any, form: Any) -> dict[str, Any]:
    return {
        "width": form.size.width,
        "height": form.size.height,
        "depth": form.depth,
        "task": plan.task,
        "why": plan.why,
        "head": plan.head,
        **_network_facts(fuser),
    }


def _network_facts(fuser: Any) -> dict[str, Any]:
    return {
        "weights": fuser.weights.path.stem,
        "engine": fuser.engine.name,
        "device": fuser.engine.device,
        "precision": fuser.engine.precision,
    }


def _result(facts: dict[str, Any], as_json: bool, *lines: str) -> None:
    try:
        for line in [json.dumps(facts, indent=2)] if as_json else lines:
            typer.echo(line)
    except BrokenPipeError:  # whoever read this has left; what was made is there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parted(given: list[str] | None) -> list[str]:
    """Names that are parted by commas, or given again."""
    return [name.strip() for each in given or () for name in each.split(",")]


def _show_scores(scores: dict[str, Any]) -> None:
    """Prints a table: name, value, direction, what it is."""
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
        console.width = 160  # a file or a pipe has no width to wrap at
    console.print(table)


def _told(notes: Iterable[str]) -> list[str]:
    """Says notes on stderr and returns them."""
    kept = list(notes)
    for note in kept:
        _say(f"note: {note}")
    return kept


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _fail(message: str, code: int) -> None:
    typer.echo(f"defusion: {message}", err=True)
    raise SystemExit(code)


def _need(*modules: str, extra: str) -> None:
    from importlib import import_module
    from importlib.util import find_spec

    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise DefusionError(f'this needs {", ".join(missing)}: pip install "defusion[{extra}]"')
    for module in modules:
        try:
            import_module(module)
        except (ImportError, OSError) as error:
            raise DefusionError(f"{module} is installed, but cannot be loaded ({error}); install it anew") from error
