"""The training loop, on Lightning Fabric: any accelerator, several devices and nodes, resumable to the bit."""

from __future__ import annotations

import atexit
import math
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import lightning
import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import defusion.weights as weights
from defusion.errors import TrainingError
from defusion.model.config import PyramidConfig
from defusion.system.files import unfit
from defusion.system.machine import cores
from defusion.system.spreadsheet import write_rows
from defusion.training.checkpoints import WEIGHTS_NAME, check_same_run, newest_checkpoint, origin, restore, save
from defusion.training.photos import Crops, Photos, crop_batches, describe, find_photos, split
from defusion.training.recipe import Recipe
from defusion.training.task import Task, task_of
from defusion.weights import WeightsFile

#: Steps between two readings of the errors. Each reading waits for the device.
READ_EVERY = 10


Averaged = tuple[Tensor, ...] | list[Tensor]


class TrainingProgress(NamedTuple):
    """How far training has come after a step."""

    step: int
    steps: int
    samples_per_second: float
    errors: dict[str, float]
    """Read at the first and the last step and each `READ_EVERY` steps; other steps repeat those read last."""


def train(
    places: list[str | Path],
    run: str | Path,
    recipe: Recipe,
    *,
    start: str | Path | None = None,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int | str = "auto",
    nodes: int = 1,
    workers: int | None = None,
    checkpoint_every: int = 500,
    report: Callable[[TrainingProgress], None] | None = None,
) -> Path:
    """Trains a network on photographs and writes its weights.

    Args:
        places: Photographs, or folders with photographs at any depth.
        run: Folder for checkpoints, curves and weights.
        recipe: How to train.
        start: Weights to begin from, of the recipe's network: a shipped name or a file. None begins anew.
        resume: Continue from the newest checkpoint in `run`.
        accelerator: "cpu", "cuda", "mps" or "auto", as Lightning names them.
        devices: Devices on each node; "auto" takes all GPUs, or one CPU process.
        nodes: Number of machines. Start the command on each, as Lightning's cluster environments expect.
        workers: Processes that cut crops, for each device; None for a number that suits the machine.
        checkpoint_every: Steps between two checkpoints, each with a picture and held-back errors.
        report: Called after each step of the first process.

    Returns:
        The weights file: averaged (EMA) weights, float16.

    Raises:
        TrainingError: There are no usable photographs; `run` holds another run; there is nothing to resume, or it
            was trained in another number of processes; `start` came with `resume`, is of another network or would be
            overwritten; or an error became NaN or infinite. Earlier checkpoints are kept.
        WeightsError: The weights `start` do not exist.
    """
    run = Path(run)
    if run.exists() and not run.is_dir():
        raise TrainingError(f"{run}: is a file; expected a folder for the run, or the name of a new one")
    newest = newest_checkpoint(run)
    if newest is not None and not resume:
        raise TrainingError(f"{run}: holds a run already; add --resume to continue it, or choose another folder")
    if newest is None and resume:
        raise TrainingError(f"{run}: holds no checkpoint to resume from; leave --resume out to start a new run")
    if start is not None and resume:
        raise TrainingError(f"{run}: a run that is resumed has its own weights; give either --weights or --resume")
    began_from = None if start is None else WeightsFile.open(weights.resolve(start))
    if began_from and (reason := unfit(run / WEIGHTS_NAME, [began_from.path])):
        raise TrainingError(f"{run / WEIGHTS_NAME} {reason}")

    files = find_photos(places)
    mixed = recipe.network != PyramidConfig().name  # that network has a low precision of its own
    fabric = _launch(run, accelerator, devices, nodes, mixed=mixed)
    photos = _decode_once(fabric, files, recipe)
    train_on, held_back = split(photos)
    crops = Crops(photos, train_on, recipe)
    steps_per_epoch = len(train_on) / (recipe.batch * fabric.world_size)
    steps = max(1, round(recipe.epochs * steps_per_epoch))

    task = task_of(recipe, began_from, bfloat16=_has_bf16(fabric.device.type == "cuda"))
    network = task.network
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    average = AveragedModel(network, multi_avg_fn=_ema(recipe.ema_decay), use_buffers=False)
    objective, optimizer = fabric.setup(task.objective, optimizer)
    average = average.to(fabric.device)
    first = 0
    if newest is not None:
        check_same_run(newest, photos, fabric)
        first = restore(newest, recipe, network, average, optimizer)
    held = _held_back_scenes(photos, held_back, recipe, fabric)
    about = {
        "recipe": recipe.to_dict(),
        "data": describe(photos),
        "hardware": _hardware(fabric),
        "processes": fabric.world_size,
        "began_from": origin(newest, began_from),
        "versions": {
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "python": platform.python_version(),
        },
    }

    batches = crop_batches(
        crops,
        start=first,
        stop=steps,
        rank=fabric.global_rank,
        processes=fabric.world_size,
        batch=recipe.batch,
        workers=_worker_count(fabric) if workers is None else workers,
    )
    began = time.perf_counter()
    read: dict[str, float] = {}
    lost = torch.zeros((), device=fabric.device)
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step, steps, steps_per_epoch)
        scenes, randomness = to_scene(next(batches), fabric.device), _generator(recipe, step, fabric)
        errors = task.errors(objective, scenes, step, steps, randomness)
        loss = torch.stack(list(errors.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        if recipe.clip_norm is not None:
            fabric.clip_gradients(objective, optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)
        optimizer.step()
        average.update_parameters(network)
        lost += loss.detach()

        done = step + 1
        rate = (done - first) * recipe.batch * fabric.world_size / (time.perf_counter() - began)
        saves = done % checkpoint_every == 0 or done == steps
        if saves or step == first or done % READ_EVERY == 0:
            of_all = cast(Tensor, fabric.all_reduce(lost))  # if one process has NaN, all stop
            _check_numbers(run, done, of_all.item())
            lost.zero_()
            read = {name: value.item() for name, value in errors.items()}
            fabric.log_dict({f"train/{name}": value for name, value in read.items()}, step=done)
        if report and fabric.is_global_zero:
            report(TrainingProgress(done, steps, rate, read))
        if saves:
            measured = fabric.broadcast(
                _measured(task, average.module, held, recipe) if fabric.is_global_zero else {}
            )
            _check_numbers(run, done, *measured.values())
            if fabric.is_global_zero:
                state = {
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": done,
                }
                progress = {
                    "steps": done,
                    "of_steps": steps,
                    "samples": done * recipe.batch * fabric.world_size,
                }
                with torch.no_grad():
                    sheet = task.sheet(average.module, held, _of_held_back(held, recipe))
                _log(fabric, run, done, rate, measured, sheet)
                stored = task.stored(average.module)
                save(run, done, state, *stored, {**about, **progress, "held_back_error": measured})
            fabric.barrier()
    _started(fabric).clear()  # they end by themselves
    return run / WEIGHTS_NAME


def to_scene(crops: Tensor, device: torch.device) -> Tensor:
    """Turns uint8 crops into float scenes in [0, 1] on a device."""
    return crops.to(device, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _measured(task: Task, network: nn.Module, scenes: Tensor, recipe: Recipe) -> dict[str, float]:
    return task.measured(network, scenes, _of_held_back(scenes, recipe))


def _of_held_back(scenes: Tensor, recipe: Recipe) -> torch.Generator:
    """Returns a generator for what is measured, in the same state each time."""
    return torch.Generator(scenes.device).manual_seed(recipe.seed)


def _launch(run: Path, accelerator: str, devices: int | str, nodes: int, *, mixed: bool) -> Fabric:
    on_cuda = accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available())
    if devices == "auto" and not on_cuda:
        devices = 1
    several = nodes > 1 or (devices != 1 and devices != "1")
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy="ddp" if several else "auto",
            precision="bf16-mixed" if mixed and _has_bf16(on_cuda) else "32-true",
            loggers=TensorBoardLogger(run, name="curves", version=""),
        )
    except (AssertionError, MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(
            f"accelerator {accelerator!r} with {devices!r} devices cannot be used here ({error}); `defusion doctor` "
            "says what there is"
        ) from error
    fabric.launch()
    atexit.register(_end, _started(fabric))
    return fabric


def _started(fabric: Fabric) -> list[subprocess.Popen[bytes]]:
    """Returns the processes that this one started, one for each further device of the machine."""
    return getattr(fabric.strategy.launcher, "procs", [])


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """Ends processes that would wait for this one, and then report that it is gone."""
    processes = started.copy()
    started.clear()  # or Fabric, which watches them, would kill this process in turn
    for process in processes:
        process.kill()


def _has_bf16(on_cuda: bool) -> bool:
    """Says whether the device computes in bfloat16. A CPU that only stores it would be slower than in float32."""
    return torch.cuda.is_bf16_supported() if on_cuda else torch.cpu._is_avx512_bf16_supported()


def _decode_once(fabric: Fabric, files: list[Path], recipe: Recipe) -> Photos:
    """Decodes the photographs in the first process of each node. The others find them in the cache."""
    with fabric.rank_zero_first(local=True):
        return Photos(files, recipe.crop_px)


def _held_back_scenes(photos: Photos, numbers: list[int], recipe: Recipe, fabric: Fabric) -> Tensor:
    """Returns crops of photographs that training does not see."""
    crops = Crops(photos, numbers, recipe)
    return to_scene(torch.stack([crops[k] for k in range(len(numbers))]), fabric.device)


def _generator(recipe: Recipe, step: int, fabric: Fabric) -> torch.Generator:
    """Returns the generator for one step of one process. It is the same after a resume."""
    seed = np.random.SeedSequence([recipe.seed, step, fabric.global_rank]).generate_state(1)[0]
    return torch.Generator(fabric.device).manual_seed(int(seed))


def _ema(decay: float) -> Callable[[Averaged, Averaged, Tensor | int], None]:
    """Returns an exponential moving average. Its decay grows at first, so that first weights are soon forgotten."""

    @torch.no_grad()
    def update(averaged: Averaged, current: Averaged, count: Tensor | int) -> None:
        n = float(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def _worker_count(fabric: Fabric) -> int:
    """Returns how many processes cut crops: one on a CPU, whose cores the network needs, and several for a GPU."""
    return min(8, cores()) if fabric.device.type == "cuda" else 1


def _check_numbers(run: Path, step: int, *errors: float) -> None:
    """Ends a run whose errors are NaN or infinite, before it overwrites good weights."""
    if all(math.isfinite(error) for error in errors):
        return
    newest = newest_checkpoint(run)
    advice = "a recipe with a lower learning_rate, or with clip_norm"
    raise TrainingError(
        f"{run}: at step {step} an error is NaN or infinite; "
        + (f"{newest} is good: continue from it by --resume and {advice}" if newest else f"begin again with {advice}")
    )


def _log(
    fabric: Fabric, run: Path, step: int, rate: float, measured: dict[str, float], sheet: tuple[str, Tensor]
) -> None:
    """Adds held-back errors and a picture of four scenes to the curves, and a line to `curve.csv`."""
    fabric.log_dict({**{f"held_back/{name}": value for name, value in measured.items()}, "samples_per_s": rate}, step)
    curve = run / "curve.csv"
    new = not curve.exists()
    with curve.open("a", newline="") as file:
        if new:
            write_rows(file, [["step", *measured, "samples_per_s"]])
        write_rows(file, [[step, *(f"{value:.5f}" for value in measured.values()), f"{rate:.1f}"]])
    cast(TensorBoardLogger, fabric.logger).experiment.add_image(*sheet, step)


def _hardware(fabric: Fabric) -> str:
    if fabric.device.type == "cuda":
        return f"{fabric.world_size} x {torch.cuda.get_device_name(fabric.device)}"
    return f"{fabric.world_size} CPU process(es), {torch.get_num_threads()} threads each, {platform.machine()}"
