"""The GPU engine: torch, on whatever device torch has."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from defusion.errors import EngineError
from defusion.model.config import BLENDINGS, HeadName, TaskName, in_stack
from defusion.runtime.engine import Attention, Embeddings, EngineName, Pictures, Planes, Precision
from defusion.weights import WeightsFile

try:
    with warnings.catch_warnings():  # torch adds filters of its own, and this is the caller's process
        import torch
except ModuleNotFoundError as error:
    raise EngineError('the torch engine needs torch: pip install "defusion[torch]"') from error
except (ImportError, OSError) as error:
    raise EngineError(f"torch is installed, but cannot be loaded ({error}); install it anew") from error

from defusion.model.network import (
    Decomposition,
    DeFusion,
    activity_of_finest,
    blend,
    by_detail,
    collapse,
    detail_odds,
    give_attention,
    keep_attention,
    octaves,
    opposition,
)

Given = ParamSpec("Given")
Made = TypeVar("Made")


class _Float32:
    """Has CUDA compute float32 as such while any thread is within, and as the caller's process had it afterwards.

    Torch's default rounds what a convolution reads to the 10 bits of TensorFloat-32.
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
    """Runs a method without gradients, float32 as such; where the device has too little memory, that is said."""

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
            raise EngineError(f"torch {torch.__version__} has no device {device!r} here: {error}") from error
        self.device, self.precision, self.config = device, precision, weights.config
        network = DeFusion.from_file(weights.path).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @_on_device
    def fuse(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Planes:
        """Returns the fused picture of head "paper" or "detail"."""
        if head == "detail":
            return _planes(by_detail(torch.stack([self._to_device(a), self._to_device(b)])))
        return _planes(self._run(self._to_device(a), self._to_device(b), attention).fused)

    @_on_device
    def decompose(self, a: Planes, b: Planes, attention: Attention | None = None) -> Pictures:
        """Returns the common and the unique pictures."""
        made = self._run(self._to_device(a), self._to_device(b), attention)
        return Pictures(*(_planes(plane) for plane in made[:3]))

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

    @_on_device
    def judge(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns what the verdict on a pair is read off."""
        judged = self._run(self._to_device(a), self._to_device(b), attention).judged
        assert judged is not None
        return _planes(judged[:, 0])

    @_on_device
    def oppose(self, a: Planes, b: Planes, count: int) -> Planes:
        """Returns the verdict that is read off where the sources oppose each other."""
        return _planes(opposition(torch.stack([self._to_device(a), self._to_device(b)]), count)[:, 0])

    @_on_device
    def finest(self, frame: Planes) -> Planes:
        """Returns how much detail the finest octave of a source has at each place."""
        return _planes(activity_of_finest(self._to_device(frame)))

    @_on_device
    def blend(
        self,
        a: Planes,
        b: Planes,
        judged: Planes,
        task: TaskName,
        count: int,
        scale: int,
        *,
        rest: Planes | None = None,
        finest: Planes | None = None,
        with_colour: bool = True,
    ) -> Planes:
        """Returns the fused picture of a pair, octave by octave."""
        fused = blend(
            torch.stack([self._to_device(a), self._to_device(b)]),
            self._to_device(judged)[:, None],
            BLENDINGS[task],
            count=count,
            scale=scale,
            finest=None if finest is None else self._to_device(finest)[:, None],
            rest=None if rest is None else self._to_device(rest),
            with_colour=with_colour,
        )
        return _planes(fused)

    @_on_device
    def octaves(
        self,
        frame: Planes,
        judged: Planes,
        task: TaskName,
        count: int,
        scale: int,
        *,
        with_rest: bool,
        finest: Planes | None = None,
    ) -> list[Planes]:
        """Takes a frame of a stack apart into weighed octaves."""
        source, verdict = self._to_device(frame), self._to_device(judged)
        active = None if finest is None else self._to_device(finest)
        blending = in_stack(BLENDINGS[task])
        parts = octaves(source, verdict, count, blending, scale=scale, finest=active, with_rest=with_rest)
        return [_planes(part) for part in parts]

    @_on_device
    def collapse(self, parts: Sequence[Planes], rest: Planes | None = None) -> Planes:
        """Makes the picture of the sums of octaves."""
        given = None if rest is None else self._to_device(rest)
        return _planes(collapse([self._to_device(part) for part in parts], given))

    @_on_device
    def detail(self, frame: Planes) -> Planes:
        """Returns a frame's odds by its fine detail alone."""
        return _planes(detail_odds(self._to_device(frame)[None])[0])

    def _run(self, a: torch.Tensor, b: torch.Tensor, attention: Attention | None) -> Decomposition:
        with contextlib.ExitStack() as stack:
            if self.precision != "float32":
                stack.enter_context(torch.autocast(self._device.type, getattr(torch, self.precision)))
            if attention is not None:
                given = (torch.from_numpy(weights).to(self._device) for weights in attention.values())
                stack.enter_context(give_attention(given))
            made: Decomposition = self._network(a, b, head="paper", embeddings=True)
        return made

    def _to_device(self, planes: Planes) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(planes)).to(self._device)
        return tensor.contiguous(memory_format=torch.channels_last)


def _planes(tensor: torch.Tensor) -> Planes:
    planes: Planes = tensor.float().cpu().numpy()
    return planes
