"""The GPU engine: torch, on whatever device torch has."""

from __future__ import annotations

import contextlib

import numpy as np

from defusion.errors import EngineError
from defusion.model.config import BLENDINGS, HeadName
from defusion.runtime.engine import Attention, EngineName, Pictures, Planes, Precision
from defusion.weights import WeightsFile

try:
    import torch
except ImportError as error:
    raise EngineError('the torch engine needs torch: pip install "defusion[torch]"') from error

from defusion.model.network import (
    Decomposition,
    DeFusion,
    Verdict,
    combine,
    detail_odds,
    give_attention,
    keep_attention,
    part,
    share,
)


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

    @torch.inference_mode()
    def decompose(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Pictures:
        """Returns all four pictures."""
        made = self._run(self._to_device(a), self._to_device(b), head, attention)
        return Pictures(*(_planes(plane) for plane in made[:4]))

    @torch.inference_mode()
    def attend(self, a: Planes, b: Planes, head: HeadName) -> Attention:
        """Returns the split attention of one pair."""
        with keep_attention() as kept:
            self._run(self._to_device(a), self._to_device(b), head, None)
        return {str(layer): _planes(weights) for layer, weights in enumerate(kept)}

    @torch.inference_mode()
    def judge(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns what the verdict on a pair is read off."""
        judged = self._run(self._to_device(a), self._to_device(b), self.config.heads[0], attention).judged
        assert judged is not None
        return _planes(judged[:, 0])

    @torch.inference_mode()
    def combine(self, a: Planes, b: Planes, judged: Planes, head: HeadName) -> Planes:
        """Makes the fused picture of a pair and what `judge` gave of it."""
        return _planes(combine(*self._judged(a, b, judged), BLENDINGS[head]))

    @torch.inference_mode()
    def share(self, frame: Planes, reference: Planes, judged: Planes, head: HeadName) -> Planes:
        """Compares a frame of a stack with a reference of the same scene."""
        return _planes(share(*self._judged(frame, reference, judged), BLENDINGS[head]))

    @torch.inference_mode()
    def part(self, plane: Planes, weight: Planes, head: HeadName) -> Planes:
        """Returns a frame's part in the picture of a stack."""
        return _planes(part(self._to_device(plane), self._to_device(weight), BLENDINGS[head].octaves))

    @torch.inference_mode()
    def detail(self, frame: Planes) -> Planes:
        """Returns a frame's odds by its fine detail alone."""
        return _planes(detail_odds(self._to_device(frame)[None])[0])

    def _run(self, a: torch.Tensor, b: torch.Tensor, head: HeadName, attention: Attention | None) -> Decomposition:
        with contextlib.ExitStack() as stack:
            if self.precision != "float32":
                stack.enter_context(torch.autocast(self._device.type, getattr(torch, self.precision)))
            if attention is not None:
                given = (torch.from_numpy(weights).to(self._device) for weights in attention.values())
                stack.enter_context(give_attention(given))
            made: Decomposition = self._network(a, b, head=head, embeddings=True)
        return made

    def _judged(self, a: Planes, b: Planes, judged: Planes) -> tuple[torch.Tensor, Verdict]:
        """Two sources [2, 1, 3, H, W], and the verdict on them."""
        of_pair = torch.from_numpy(judged).to(self._device)[:, None]
        return torch.stack([self._to_device(a), self._to_device(b)]), Verdict.of(of_pair, *a.shape[2:])

    def _to_device(self, planes: Planes) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(planes)).to(self._device)
        return tensor.contiguous(memory_format=torch.channels_last)


def _planes(tensor: torch.Tensor) -> Planes:
    planes: Planes = tensor.float().cpu().numpy()
    return planes
