"""The CPU engine: OpenVINO, any size without compiling anew, compiled graphs cached between runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from defusion.cache import cache_folder
from defusion.errors import EngineError
from defusion.model.config import SIZE_MULTIPLE, HeadName
from defusion.runtime.engine import Attention, EngineName, Pictures, Planes, Precision
from defusion.weights import WeightsFile

if TYPE_CHECKING:
    from defusion.runtime.graph import Outputs

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
        self.device, self.precision, self.config = device, precision, weights.config
        self._weights = weights
        self._core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("this processor has no bfloat16 arithmetic; use precision='float32'")
        self._compiled: dict[tuple[HeadName, Outputs, bool], Any] = {}
        self._requests = threading.local()
        self._lock = threading.Lock()

    def fuse(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Planes:
        """Returns the fused picture alone."""
        made = [self._infer(pair, head, "fused", attention)["fused"] for pair in _pairs(a, b)]
        return np.concatenate(made)[..., : a.shape[2], : a.shape[3]]

    def decompose(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Pictures:
        """Returns all four pictures."""
        made = [self._infer(pair, head, "pictures", attention) for pair in _pairs(a, b)]
        planes = (
            [each["common"] for each in made],
            [each["uniques"][:1] for each in made],
            [each["uniques"][1:] for each in made],
            [each["fused"] for each in made],
        )
        return Pictures(*(np.concatenate(plane)[..., : a.shape[2], : a.shape[3]] for plane in planes))

    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair."""
        (pair,) = _pairs(a, b)
        return list(self._infer(pair, self.config.heads[0], "attention", None).values())

    def _infer(
        self, pair: Planes, head: HeadName, outputs: Outputs, attention: Attention | None
    ) -> dict[str, NDArray[np.float32]]:
        """Runs one pair; each thread has requests of its own."""
        requests: dict[tuple[HeadName, Outputs, bool], Any] = self._requests.__dict__.setdefault("of_graph", {})
        graph = (head, outputs, attention is not None)
        if graph not in requests:
            with self._lock:
                if graph not in self._compiled:
                    self._compiled[graph] = self._compile(*graph)
            requests[graph] = self._compiled[graph].create_infer_request()
        given = {f"attention_{layer}": weights for layer, weights in enumerate(attention or ())}
        results = requests[graph].infer({"sources": pair, **given}, share_inputs=True)
        return {output.any_name: value for output, value in results.items()}

    def _compile(self, head: HeadName, outputs: Outputs, attention_given: bool) -> Any:
        from defusion.runtime.graph import build

        model = build(self.config, self._weights.tensors(), head, outputs, attention_given=attention_given)
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
