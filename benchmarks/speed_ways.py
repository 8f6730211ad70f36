"""The ways that `speed.py` compares, and the code that runs in the process of each.

Nothing heavy is imported at the top, since all processes import this file and peak memory starts from the parent's.
"""

from __future__ import annotations

import math
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint16]
    Planes = NDArray[np.float32]
    Fuse = Callable[[Pixels, Pixels], Pixels]

#: Width and height, by megapixels.
SIZES = {"0.25": (512, 512), "1": (1024, 1024), "12": (4000, 3000), "24": (6000, 4000), "100": (11648, 8736)}
WHOLE_PROCESS = ("process", "enfuse")
#: These run the whole network at full size and reconstruct the picture by its P_r, so their results can be compared.
EQUAL_WORK = ("eager", "onnxruntime", "paper-float32", "paper-bfloat16", "paper-float16")
#: These run the whole plane at once, so their memory grows with it.
WHOLE_PLANE = ("eager", "onnxruntime", "opencv")
#: Pictures larger than this are warmed up on a corner of about half of it, which is cut into tiles as they are.
WARM_MP = 4
_CORNER_PX = 1448
STRIP_ROWS = 256
EXPOSURES_EV = (-1.5, 1.5)


class Way(NamedTuple):
    """The name of a way in tables, and what it computes."""

    label: str
    computes: str


_PAPER = "the whole of the paper's network at full size, the picture painted by the paper's P_r"
WAYS = {
    "eager": Way(
        "eager torch, paper",
        f"{_PAPER}, beside the pictures of the parts; called as the authors call theirs, `network(a, b)`, float32",
    ),
    "onnxruntime": Way("ONNX Runtime, paper", f"{_PAPER}; exported for the size, float32"),
    "paper-float32": Way(
        "**defusion, paper, float32**", f'{_PAPER}; `Fuser(weights="paper", precision="float32").fuse([a, b])`'
    ),
    "paper-bfloat16": Way("**defusion, paper, bfloat16**", "the same in bfloat16"),
    "paper-float16": Way("**defusion, paper, float16**", "the same in float16"),
    "default": Way(
        "**defusion**",
        "what users run, `Fuser().fuse([a, b])`: the pyramid network, in large scenes stage by stage",
    ),
    "opencv": Way("OpenCV, MergeMertens", "exposure fusion without a network, `createMergeMertens`"),
    "process": Way(
        "whole process: python -m defusion fuse",
        "what users run, with its start and 16-bit TIFF files in and out, compressed as by default",
    ),
    "enfuse": Way("whole process: enfuse", "exposure fusion without a network, files as above"),
}


class Job(NamedTuple):
    """One way at one size, and where its files are."""

    way: str
    size: str
    pictures: Path
    """Folder of the sources, kept between runs."""
    scratch: Path
    """Folder of this run."""

    @property
    def sources(self) -> tuple[Path, Path]:
        """The pair, 16-bit TIFF without compression."""
        return self.pictures / f"{self.size}_under.tif", self.pictures / f"{self.size}_over.tif"

    @property
    def network(self) -> Path:
        """The network for ONNX Runtime."""
        return self.scratch / f"{self.size}.onnx"

    @property
    def fused(self) -> Path:
        """The fused picture of the way."""
        return self.scratch / f"{self.size}_{self.way}{'.tif' if self.way in WHOLE_PROCESS else '.npy'}"


def work(job: Job, driver: Connection) -> None:
    """Warms a way up. Fuses once for each request of the driver and answers with the seconds; at the end it sends the
    peak memory.
    """
    try:
        turn = process_turn(job) if job.way in WHOLE_PROCESS else array_turn(job)
    except Exception as error:
        driver.send(f"{type(error).__name__}: {error}".splitlines()[0])
        return
    driver.send(None)
    while driver.recv():
        driver.send(turn())
    whose = resource.RUSAGE_CHILDREN if job.way in WHOLE_PROCESS else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    driver.send(resource.getrusage(whose).ru_maxrss * unit / 1e6)


def process_turn(job: Job) -> Callable[[], float]:
    line = command(job)

    def turn() -> float:
        began = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        return time.perf_counter() - began

    if float(job.size) <= WARM_MP:
        turn()
    return turn


def array_turn(job: Job) -> Callable[[], float]:
    """Loads and warms up a way. Its picture is kept for the comparison."""
    import numpy as np
    from tifffile import imread

    match job.way:
        case "eager":
            fuse = eager()
        case "onnxruntime":
            fuse = onnxruntime(job.network)
        case "opencv":
            fuse = opencv()
        case "default":
            fuse = ours()
        case way:
            fuse = ours(weights="paper", precision=way.removeprefix("paper-"))

    def turn() -> float:
        a, b = (imread(source) for source in job.sources)
        began = time.perf_counter()
        fused = fuse(a, b)
        seconds = time.perf_counter() - began
        if job.way in EQUAL_WORK and not job.fused.exists():
            np.save(job.fused, fused)
        return seconds

    if float(job.size) <= WARM_MP:
        turn()
    elif job.way != "onnxruntime":  # its network is for one size
        fuse(*(imread(source)[:_CORNER_PX, :_CORNER_PX] for source in job.sources))
    return turn


def eager() -> Fuse:
    import torch

    network = network_in_torch()

    @torch.inference_mode()
    def fuse(a: Pixels, b: Pixels) -> Pixels:
        sources = (torch.from_numpy(planes_of(each)) for each in (a, b))
        return pixels_of(network(*sources).fused.numpy())

    return fuse


def onnxruntime(network: Path) -> Fuse:
    from onnxruntime import InferenceSession

    session = InferenceSession(network, providers=["CPUExecutionProvider"])

    def fuse(a: Pixels, b: Pixels) -> Pixels:
        return pixels_of(session.run(["fused"], {"a": planes_of(a), "b": planes_of(b)})[0])

    return fuse


def ours(weights: str | None = None, precision: str | None = None) -> Fuse:
    from defusion import Fuser

    fuser = Fuser(weights=weights, precision=precision)
    return lambda a, b: fuser.fuse([a, b])


def planned(job: Job) -> str:
    """Describes which task `defusion` chooses for the pair by default."""
    from defusion import Fuser
    from defusion.imaging import read

    plan = Fuser().plan([read(source) for source in job.sources])
    return f"`defusion` takes the pair for task {plan.task} ({plan.why})."


def opencv() -> Fuse:
    import cv2
    import numpy as np

    merge = cv2.createMergeMertens()

    def fuse(a: Pixels, b: Pixels) -> Pixels:
        fused = merge.process([source / np.float32(257) for source in (a, b)])  # it takes 255 for white
        return np.rint(np.clip(fused, 0, 1) * np.float32(65535)).astype(np.uint16)

    return fuse


def command(job: Job) -> list[str]:
    """Returns the command line of a way that is a whole process."""
    a, b = map(str, job.sources)
    if job.way == "process":
        return [sys.executable, "-m", "defusion", "fuse", a, b, "-o", str(job.fused)]
    if not (enfuse := shutil.which("enfuse")):
        raise FileNotFoundError("enfuse is not on PATH")
    return [enfuse, "-o", str(job.fused), a, b]


def planes_of(pixels: Pixels) -> Planes:
    """Turns uint16 HxWx3 into the network's input, float32 [1, 3, H, W]."""
    import numpy as np

    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(65535)


def pixels_of(planes: Planes) -> Pixels:
    import numpy as np

    rounded = np.rint(np.clip(planes[0], 0, 1) * np.float32(65535)).astype(np.uint16)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))


def make_pair(job: Job) -> None:
    """Writes two exposures of an enlarged free photograph, with the noise of a camera, strip by strip."""
    import numpy as np
    from skimage.data import coffee
    from tifffile import imwrite

    width, height = SIZES[job.size]
    photograph = coffee().astype(np.float32) / np.float32(255)
    for source, ev in zip(job.sources, EXPOSURES_EV, strict=True):
        part = source.with_suffix(".part")
        strips = exposed_strips(photograph, width, height, ev)
        imwrite(part, strips, shape=(height, width, 3), dtype="uint16", photometric="rgb", rowsperstrip=STRIP_ROWS)
        part.replace(source)


def exposed_strips(photograph: Planes, width: int, height: int, ev: float) -> Iterator[Pixels]:
    import numpy as np

    rng = np.random.default_rng(EXPOSURES_EV.index(ev))
    rows, columns = (
        np.linspace(0, side - 1, px) for side, px in zip(photograph.shape, (height, width), strict=False)
    )
    for start in range(0, height, STRIP_ROWS):
        scene = between(between(photograph, rows[start : start + STRIP_ROWS], 0), columns, 1)
        exposed = np.clip(scene ** np.float32(2.2) * np.float32(2**ev), 0, 1) ** np.float32(1 / 2.2)
        exposed += np.float32(0.01) * rng.standard_normal(exposed.shape, np.float32)
        yield (np.clip(exposed, 0, 1) * np.float32(65535)).astype(np.uint16)


def between(pixels: Planes, places: NDArray[np.float64], axis: int) -> Planes:
    """Interpolates pixels along one axis."""
    import numpy as np

    before = np.minimum(places.astype(int), pixels.shape[axis] - 2)
    share = np.expand_dims((places - before).astype(np.float32), [each for each in range(3) if each != axis])
    return pixels.take(before, axis) * (1 - share) + pixels.take(before + 1, axis) * share


def export(job: Job) -> None:
    """Exports the network for one size by torch's own exporter."""
    import torch

    class Fused(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network_in_torch()

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.network(a, b).fused

    width, height = SIZES[job.size]
    sources = (torch.zeros(1, 3, height, width), torch.ones(1, 3, height, width))
    names = {"input_names": ["a", "b"], "output_names": ["fused"]}
    torch.onnx.export(Fused().eval(), sources, job.network, **names, verbose=False)


def network_in_torch() -> torch.nn.Module:
    from defusion.model import DeFusion
    from defusion.weights import WeightsFile, resolve

    file = WeightsFile.open(resolve("paper"))
    return DeFusion.of_tensors(file.config, file.tensors())


class Difference(NamedTuple):
    """How far a picture is from the reference."""

    psnr_db: float
    largest_of_255: float


def difference(fused: Path, reference: Path) -> Difference:
    import numpy as np

    ones, others = (np.load(file, mmap_mode="r") for file in (fused, reference))
    squares, largest = 0.0, 0
    for start in range(0, len(ones), STRIP_ROWS):
        strip = slice(start, start + STRIP_ROWS)
        apart = ones[strip].astype(np.int64) - others[strip]
        squares, largest = squares + float(np.square(apart).sum()), max(largest, int(np.abs(apart).max()))
    psnr_db = 10 * math.log10(65535**2 * ones.size / squares) if squares else math.inf
    return Difference(psnr_db, largest / 257)
