"""The CPU engine: OpenVINO, any size without compiling anew, compiled graphs cached between runs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from defusion.cache import cache_folder
from defusion.errors import EngineError
from defusion.model.config import SIZE_MULTIPLE, HeadName
from defusion.runtime.engine import EngineName, Pictures, Planes, Precision
from defusion.weights import WeightsFile

_OPENVINO_TYPES: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """A network on OpenVINO; see `Engine`.

    Raises:
        EngineError: The device is not "cpu", or the processor lacks the precision.
    """

    name: EngineName = "openvino"

    def __init__(self, weights: WeightsFile, *, device: str, precision: Precision) -> None:
        import openvino

        if device != "cpu":
            raise EngineError(f"the openvino engine runs on 'cpu', not {device!r}; use engine='torch' for a GPU")
        self.device, self.precision = device, precision
        self._weights = weights
        self._core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("this processor has no bfloat16 arithmetic; use precision='float32'")
        self._compiled: dict[tuple[HeadName, bool], Any] = {}
        self._requests = threading.local()
        self._lock = threading.Lock()

    def fuse(self, a: Planes, b: Planes, head: HeadName) -> Planes:
        """Returns the fused picture alone."""
        made = [self._infer(pair, head, fused_only=True)["fused"] for pair in _pairs(a, b)]
        return np.concatenate(made)[..., : a.shape[2], : a.shape[3]]

    def decompose(self, a: Planes, b: Planes, head: HeadName) -> Pictures:
        """Returns all four pictures."""
        made = [self._infer(pair, head, fused_only=False) for pair in _pairs(a, b)]
        planes = (
            [each["common"] for each in made],
            [each["uniques"][:1] for each in made],
            [each["uniques"][1:] for each in made],
            [each["fused"] for each in made],
        )
        return Pictures(*(np.concatenate(plane)[..., : a.shape[2], : a.shape[3]] for plane in planes))

    def _infer(self, pair: Planes, head: HeadName, *, fused_only: bool) -> dict[str, Planes]:
        """Runs one pair; each thread has requests of its own."""
        requests: dict[tuple[HeadName, bool], Any] = self._requests.__dict__.setdefault("of_graph", {})
        graph = (head, fused_only)
        if graph not in requests:
            with self._lock:
                if graph not in self._compiled:
                    self._compiled[graph] = self._compile(head, fused_only=fused_only)
            requests[graph] = self._compiled[graph].create_infer_request()
        results = requests[graph].infer({"sources": pair}, share_inputs=True)
        return {output.any_name: value for output, value in results.items()}

    def _compile(self, head: HeadName, *, fused_only: bool) -> Any:
        from defusion.runtime.graph import build

        model = build(self._weights.config, self._weights.tensors(), head, fused_only=fused_only)
        options = {
            "INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[self.precision],  # bf16 is OpenVINO's own default
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(cache_folder("openvino")),
        }
        return self._core.compile_model(model, "CPU", options)


def _pairs(a: Planes, b: Planes) -> list[Planes]:
    """Each pair of a batch as one array [2, 3, H, W], its right and bottom edge repeated up to the size multiple."""
    padding = ((0, 0), (0, 0), (0, -a.shape[2] % SIZE_MULTIPLE), (0, -a.shape[3] % SIZE_MULTIPLE))
    return [np.pad(np.stack([one, two]), padding, mode="edge") for one, two in zip(a, b, strict=True)]
