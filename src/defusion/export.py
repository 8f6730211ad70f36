"""Exports the pyramid network to other runtimes: ONNX, OpenVINO IR, or a program of torch.export.

The export holds the network alone, for a fixed number of sources of one size. Its input is the sources [S, 3, H, W],
float32 RGB in [0, 1] in the files' own encoding; its output is the fused picture [1, 3, H, W]. It does not read
files, align, or handle large scenes.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from defusion.errors import EngineError, OptionError, WeightsError
from defusion.model.config import PyramidConfig
from defusion.model.pyramid import levels_of
from defusion.model.torch_ops import TorchPyramid
from defusion.runtime import Planes, load_engine
from defusion.system.files import beside
from defusion.weights import WeightsFile, resolve

Format = Literal["onnx", "openvino", "torch-export"]
EXPORT_SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}

#: Largest difference allowed between an export and this package's engine: two steps of 8 bits. Rounding changes
#: decisions at single pixels: at 1024x768, torch and OpenVINO differ by up to .74 of a step.
TOLERANCE = 2 / 255

#: The check is made on squares of random colours with sides of so many pixels, since single pixels would be taken for
#: noise. Where all is noise, rounding decides most: there, the two differ by up to 1.4 of a step.
CHECKED_PX = 8


class Exported(NamedTuple):
    """An export that was written and checked."""

    files: list[Path]
    """The file, and for OpenVINO also the file with the weights."""
    levels: int
    difference: float
    """The largest difference of a pixel, in [0, 1], from this package's OpenVINO engine, measured on noise."""


class Whole(nn.Module):
    """The whole network, from sources to fused picture."""

    def __init__(self, network: TorchPyramid, levels: int) -> None:
        super().__init__()
        self.network, self.levels = network, levels

    def forward(self, sources: Tensor) -> Tensor:
        """Fuses sources [S, 3, H, W] to [1, 3, H, W]."""
        fused: Tensor = self.network(sources[:, None], None, self.levels).made[0]
        return fused


def export(
    output: str | os.PathLike[str],
    format: Format,
    *,
    weights: str | os.PathLike[str] | None = None,
    sources: int = 2,
    height: int = 512,
    width: int = 768,
) -> Exported:
    """Writes the pyramid network for another runtime, and checks that it gives the same picture.

    Args:
        output: File to write, ending in .onnx, .xml or .pt2 to match the format.
        format: "onnx", "openvino" or "torch-export".
        weights: As for `Fuser`; they have to be of the pyramid network.
        sources: Number of pictures that it fuses.
        height: Height of the pictures, a multiple of 2 to the power of the number of levels.
        width: Width of the pictures, a multiple of the same number.

    Raises:
        OptionError: The suffix does not match the format, or the size is not such a multiple.
        WeightsError: The weights are of another network.
        EngineError: The export gives other pictures than this package.
    """
    output = Path(output)
    if output.suffix != EXPORT_SUFFIXES[format]:
        suffix = EXPORT_SUFFIXES[format]
        raise OptionError(f"{output} came for format {format}; expected a name that ends in {suffix}")
    levels = levels_of(height, width)
    if height % 2**levels or width % 2**levels:
        down, across = (max(round(side / 2**levels), 1) * 2**levels for side in (height, width))
        raise OptionError(f"the size is {width}x{height}; expected multiples of {2**levels}: {across}x{down}")
    file = WeightsFile.open(resolve(None if weights is None else os.fspath(weights)))
    if not isinstance(file.config, PyramidConfig):
        raise WeightsError(f"weights {file.path.stem!r} are of the paper's network; expected the pyramid network")
    network = Whole(TorchPyramid.of_tensors(file.tensors()), levels).eval()
    squares = np.random.default_rng(0).random(
        (sources, 3, -(-height // CHECKED_PX), -(-width // CHECKED_PX)), np.float32
    )
    scene = squares.repeat(CHECKED_PX, 2).repeat(CHECKED_PX, 3)[..., :height, :width]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / output.name
        _WRITERS[format](network, torch.from_numpy(scene), made)
        engine = load_engine(file, engine="openvino", precision="float32")
        ours = engine.decide(scene, None, levels).made[0]
        difference = float(np.abs(_READERS[format](made, scene) - ours).max())
        if not difference <= TOLERANCE:
            raise EngineError(
                f"the export differs by {difference:.4f} from this package's engine; nothing was written"
            )
        files = []
        for each in sorted(Path(folder).iterdir()):
            target = output.with_suffix(each.suffix)
            with beside(target) as part:
                part.write_bytes(each.read_bytes())
            files.append(target)
    return Exported(files, levels, difference)


def _program(network: Whole, sources: Tensor) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(network, (sources,), strict=False)


def _write_torch(network: Whole, sources: Tensor, file: Path) -> None:
    torch.export.save(_program(network, sources), file)


def _write_onnx(network: Whole, sources: Tensor, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own deprecations
        made = torch.onnx.export(
            _program(network, sources),
            input_names=["sources"],
            output_names=["fused"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert made is not None
        made.save(str(file), external_data=False)


def _write_openvino(network: Whole, sources: Tensor, file: Path) -> None:
    from defusion.runtime.vino import Core, save_model

    with tempfile.TemporaryDirectory() as folder:
        _write_onnx(network, sources, Path(folder) / "network.onnx")
        save_model(Core().read_model(Path(folder) / "network.onnx"), str(file), compress_to_fp16=False)


def _run_torch(file: Path, sources: Planes) -> NDArray[Any]:
    with torch.no_grad():
        fused: NDArray[Any] = torch.export.load(file).module()(torch.from_numpy(sources)).numpy()
    return fused


def _run_openvino(file: Path, sources: Planes) -> NDArray[Any]:
    from defusion.runtime.vino import Core

    compiled = Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(sources)[0])


_WRITERS: dict[Format, Callable[[Whole, Tensor, Path], None]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "torch-export": _write_torch,
}
#: OpenVINO runs ONNX files directly.
_READERS: dict[Format, Callable[[Path, Planes], NDArray[Any]]] = {
    "onnx": _run_openvino,
    "openvino": _run_openvino,
    "torch-export": _run_torch,
}
