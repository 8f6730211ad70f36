"""The GPU engine: torch, on any device that torch has."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from defusion.errors import EngineError
from defusion.model.config import PyramidConfig
from defusion.runtime.engine import Attention, Decided, Embeddings, EngineName, PaperParts, Planes, Precision
from defusion.weights import WeightsFile

try:
    with warnings.catch_warnings():  # torch adds warning filters; a library must not change those of its caller
        import torch
except ModuleNotFoundError as error:
    raise EngineError('the torch engine needs torch: pip install "defusion[torch]"') from error
except (ImportError, OSError) as error:
    raise EngineError(f"torch is installed, but cannot be loaded ({error}); reinstall it") from error

from defusion.model.decisions import Coarser
from defusion.model.network import Decomposition, DeFusion, give_attention, keep_attention
from defusion.model.regions import Region
from defusion.model.torch_ops import TorchPyramid

Given = ParamSpec("Given")
Made = TypeVar("Made")


class _Float32:
    """Makes CUDA compute in true float32 while any thread is inside, and restores the caller's setting afterwards.

    By default torch rounds the inputs of a convolution to the 10 bits of TensorFloat-32.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._before: list[str] = []

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        settings: tuple[Any, Any] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
        with self._lock:
            if self._within == 0:
                self._before = [setting.fp32_precision for setting in settings]
                for setting in settings:
                    setting.fp32_precision = "ieee"
            self._within += 1
        try:
            yield
        finally:
            with self._lock:
                self._within -= 1
                if self._within == 0:
                    for setting, before in zip(settings, self._before, strict=True):
                        setting.fp32_precision = before


_float32 = _Float32()


def _on_device(method: Callable[Given, Made]) -> Callable[Given, Made]:
    """Runs a method without gradients, in true float32. Too little memory on the device raises `EngineError`."""

    @wraps(method)
    @torch.inference_mode()
    def run(*args: Given.args, **options: Given.kwargs) -> Made:
        try:
            with _float32():
                return method(*args, **options)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise EngineError(
                "the device has too little memory for the network; close other programs, or use 'openvino'"
            ) from error

    return run


class TorchEngine:
    """A network on torch; see `Engine`.

    Raises:
        EngineError: torch does not see the device.
    """

    name: EngineName = "torch"

    def __init__(self, weights: WeightsFile, *, device: str, precision: Precision) -> None:
        try:
            self._device = torch.device(device)
            torch.empty(1, device=self._device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition(". ")[0]  # torch's message lists all operators
            raise EngineError(f"torch {torch.__version__} has no device {device!r} here: {reason}") from error
        self.device, self.precision, self.config = device, precision, weights.config
        if isinstance(weights.config, PyramidConfig):
            self._pyramid = TorchPyramid.of_tensors(weights.tensors()).to(self._device)
            self._pyramid.low = None if precision == "float32" else getattr(torch, precision)
            return
        network = DeFusion.of_tensors(weights.config, weights.tensors()).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def for_clip(self) -> TorchEngine:
        """Returns this engine itself: PyTorch compiles nothing for a size, so a clip needs no other engine."""
        return self

    @_on_device
    def decide(
        self,
        sources: Planes,
        confidence: Planes | None,
        count: int,
        *,
        coarser: Coarser | None = None,
        closely: bool = True,
        parts: bool = False,
        core: Region | None = None,
    ) -> Decided:
        """Runs the pyramid network."""
        known = None
        if coarser is not None:
            before = tuple(self._to_device(plane) for plane in coarser.made)
            known = Coarser(self._to_device(coarser.state), before, self._to_device(coarser.by_mask))
        made = self._pyramid(
            self._to_device(sources)[:, None],
            None if confidence is None else self._to_device(confidence)[:, None],
            count,
            coarser=known,
            closely=closely,
            parts=parts,
            core=core,
        )
        finest = made.weights[0]
        return Decided(
            tuple(_planes(plane) for plane in made.made),
            tuple(_planes(plane) for plane in made.coarser.made),
            _planes(made.coarser.state),
            _planes(made.coarser.by_mask),
            _planes(finest.weight),
            _planes(finest.by_mask) if closely else None,
            _planes(made.closely.confidence) if closely else None,
            _planes(made.closely.mask) if closely else None,
        )

    @_on_device
    def fuse(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns the picture of head `paper`."""
        return _planes(self._run(self._to_device(a), self._to_device(b), attention).fused)

    @_on_device
    def decompose(self, a: Planes, b: Planes, attention: Attention | None = None) -> PaperParts:
        """Returns the common and the unique pictures."""
        made = self._run(self._to_device(a), self._to_device(b), attention)
        return PaperParts(*(_planes(plane) for plane in made[:3]))

    @_on_device
    def embed(self, a: Planes, b: Planes) -> Embeddings:
        """Returns the embeddings of the sources."""
        made = self._run(self._to_device(a), self._to_device(b), None)
        return Embeddings(*(_planes(each) for each in (made.f_c, made.f_u1, made.f_u2) if each is not None))

    @_on_device
    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair."""
        with keep_attention() as kept:
            self._run(self._to_device(a), self._to_device(b), None)
        return {str(layer): _planes(weights) for layer, weights in enumerate(kept)}

    def _run(self, a: torch.Tensor, b: torch.Tensor, attention: Attention | None) -> Decomposition:
        with contextlib.ExitStack() as stack:
            if self.precision != "float32":
                stack.enter_context(torch.autocast(self._device.type, getattr(torch, self.precision)))
            if attention is not None:
                given = (torch.from_numpy(weights).to(self._device) for weights in attention.values())
                stack.enter_context(give_attention(given))
            made: Decomposition = self._network(a, b, embeddings=True)
        return made

    def _to_device(self, planes: Planes) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(planes)).to(self._device)
        return tensor.contiguous(memory_format=torch.channels_last)


def _planes(tensor: torch.Tensor) -> Planes:
    planes: Planes = tensor.float().cpu().numpy()
    return planes
