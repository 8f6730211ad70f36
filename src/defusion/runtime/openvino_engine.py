"""The CPU engine: OpenVINO, any size without compiling anew, compiled graphs cached between runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from defusion.cache import cache_folder
from defusion.errors import EngineError
from defusion.model.config import SIZE_MULTIPLE, HeadName
from defusion.runtime.engine import Attention, EngineName, Pictures, Planes, Precision
from defusion.runtime.precision import CAPABILITIES, capabilities
from defusion.weights import WeightsFile

if TYPE_CHECKING:
    from defusion.runtime.graph import Output

Planesets = Mapping[str, Planes]
_OPENVINO_TYPES: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class Graph(NamedTuple):
    """Which graph: the network's with some outputs, or one of `blending.py` with its arguments."""

    name: str
    arguments: tuple[HeadName, ...] = ()
    outputs: tuple[Output, ...] = ()
    attention_given: bool = False


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
        if CAPABILITIES[precision] not in capabilities():
            raise EngineError(f"this processor has no {precision} arithmetic; use precision='float32'")
        self._compiled: dict[Graph, Any] = {}
        self._requests = threading.local()
        self._lock = threading.Lock()

    def fuse(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Planes:
        """Returns the fused picture alone."""
        outputs: dict[HeadName, tuple[Output, ...]] = {"paper": ("paper",), "detail": ()}
        made = [self._make(pair, head, outputs.get(head, ("judged",)), attention) for pair in _pairs(a, b)]
        return np.concatenate([each["fused"] for each in made])

    def decompose(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Pictures:
        """Returns all four pictures."""
        made = []
        for pair in _pairs(a, b):
            of_head: Output = "paper" if head in ("paper", "detail") else "judged"
            each = self._make(pair, head, ("parts", of_head), attention)
            made.append((each["common"], each["uniques"][:1], each["uniques"][1:], each["fused"]))
        return Pictures(*(np.concatenate(planes) for planes in zip(*made, strict=True)))

    def attend(self, a: Planes, b: Planes, head: HeadName) -> Attention:
        """Returns the split attention of one pair."""
        (pair,) = _pairs(a, b)
        result: Output = "parts" if head == "paper" else "judged"
        made = self._network(pair, ("attention", result), None)
        self._forget(Graph("network", outputs=("attention", result)))
        return {name: weights for name, weights in made.items() if name.endswith(".attention")}

    def judge(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns what the verdict on a pair is read off."""
        (pair,) = _pairs(a, b)
        return self._network(pair, ("judged",), attention)["judged"]

    def combine(self, a: Planes, b: Planes, judged: Planes, head: HeadName) -> Planes:
        """Makes the fused picture of a pair and what `judge` gave of it."""
        (pair,) = _pairs(a, b)
        fused = self._blending("combine", head, sources=pair, judged=judged)["fused"]
        return fused[..., : a.shape[2], : a.shape[3]]

    def share(self, frame: Planes, reference: Planes, judged: Planes, head: HeadName) -> Planes:
        """Compares a frame of a stack with a reference of the same scene."""
        (pair,) = _pairs(frame, reference)
        return self._blending("share", head, sources=pair, judged=judged)["share"]

    def part(self, plane: Planes, weight: Planes, head: HeadName) -> Planes:
        """Returns a frame's part in the picture of a stack."""
        made = self._blending("part", head, plane=plane, weight=weight)["part"]
        return made[..., : plane.shape[2], : plane.shape[3]]

    def detail(self, frame: Planes) -> Planes:
        """Returns a frame's odds by its fine detail alone."""
        return self._blending("detail", sources=frame)["odds"]

    def _make(
        self, pair: Planes, head: HeadName, outputs: tuple[Output, ...], attention: Attention | None
    ) -> dict[str, Planes]:
        """Makes what the network gives of a pair [2, 3, H, W], and the `fused` picture of a head."""
        made = self._network(pair, outputs, attention) if outputs else {}
        if head == "detail":
            odds = self.detail(pair)
            fused = (odds * pair).sum(0, keepdims=True) / odds.sum(0, keepdims=True)
        elif head == "paper":
            fused = made["paper"]
        else:
            fused = self._blending("combine", head, sources=pair, judged=made["judged"])["fused"]
        height, width = pair.shape[2:]
        return {name: plane[..., :height, :width] for name, plane in {**made, "fused": fused}.items()}

    def _network(self, pair: Planes, outputs: tuple[Output, ...], attention: Attention | None) -> Planesets:
        """Runs the network, in the engine's precision, on a pair [2, 3, H, W] of any size."""
        height, width = pair.shape[2:]
        bottom, right = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
        if bottom or right:
            pair = np.pad(pair, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
        request = self._request(Graph("network", outputs=outputs, attention_given=attention is not None))
        made = _run(request, {**(attention or {}), "sources": pair})
        if "judged" in made:
            made["judged"] = made["judged"][..., : (height + 1) // 2, : (width + 1) // 2]
        return made

    def _blending(self, name: str, *arguments: HeadName, **inputs: Planes) -> Planesets:
        """Runs one of the graphs of `blending.py`, in float32."""
        return _run(self._request(Graph(name, arguments)), inputs)

    def _request(self, graph: Graph) -> Any:
        """Returns this thread's own request for a graph, compiled at its first use."""
        requests: dict[Graph, Any] = self._requests.__dict__.setdefault("of_graph", {})
        if graph not in requests:
            with self._lock:
                if graph not in self._compiled:
                    self._compiled[graph] = self._compile(graph)
            requests[graph] = self._compiled[graph].create_infer_request()
        return requests[graph]

    def _forget(self, graph: Graph) -> None:
        """Gives back the memory of a graph that is asked once a scene."""
        self._requests.of_graph.pop(graph)
        with self._lock:
            self._compiled.pop(graph, None)

    def _compile(self, graph: Graph) -> Any:
        from defusion.runtime import blending
        from defusion.runtime.graph import build

        of_network = graph.name == "network"
        if of_network:
            model = build(self.config, self._weights.tensors(), graph.outputs, attention_given=graph.attention_given)
        else:
            model = getattr(blending, graph.name)(*graph.arguments)
        options = {
            # OpenVINO's own default would be bf16.
            "INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[self.precision if of_network else "float32"],
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(cache_folder("openvino")),
        }
        return self._core.compile_model(model, "CPU", options)


def _run(request: Any, inputs: Planesets) -> dict[str, Planes]:
    """Runs a request on those of the inputs that it takes."""
    taken = {node.any_name: inputs[node.any_name] for node in request.model_inputs}
    results = request.infer(taken, share_inputs=True)
    return {output.any_name: value for output, value in results.items()}


def _pairs(a: Planes, b: Planes) -> list[Planes]:
    """Each pair of a batch as one array [2, 3, H, W]."""
    return [np.stack(pair) for pair in zip(a, b, strict=True)]
