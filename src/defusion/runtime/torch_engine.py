"""The GPU engine: torch, on whatever device torch has."""

from __future__ import annotations

import contextlib

import numpy as np

from defusion.errors import EngineError
from defusion.model.config import HeadName
from defusion.runtime.engine import Attention, EngineName, Pictures, Planes, Precision
from defusion.weights import WeightsFile

try:
    import torch
except ImportError as error:
    raise EngineError('the torch engine needs torch: pip install "defusion[torch]"') from error

from defusion.model.network import DeFusion, give_attention, keep_attention


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

    def fuse(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Planes:
        """Returns the fused picture alone."""
        return self.decompose(a, b, head, attention).fused

    def decompose(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Pictures:
        """Returns all four pictures."""
        if attention is None:
            return self._infer(a, b, head)
        with give_attention(torch.from_numpy(weights).to(self._device) for weights in attention):
            return self._infer(a, b, head)

    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair."""
        with keep_attention() as kept:
            self._infer(a, b, self.config.heads[0])
        return [weights.float().cpu().numpy() for weights in kept]

    @torch.inference_mode()
    def _infer(self, a: Planes, b: Planes, head: HeadName) -> Pictures:
        low = self.precision == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16) if low else contextlib.nullcontext():
            made = self._network(self._to_device(a), self._to_device(b), head=head)
        return Pictures(
            *(plane.float().cpu().numpy() for plane in (made.common, made.unique_a, made.unique_b, made.fused))
        )

    def _to_device(self, planes: Planes) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(planes)).to(self._device)
        return tensor.contiguous(memory_format=torch.channels_last)
