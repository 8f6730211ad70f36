"""The CPU engine: OpenVINO, any size without compiling anew, compiled graphs cached between runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from defusion.errors import EngineError
from defusion.model.config import SIZE_MULTIPLE, HeadName, TaskName
from defusion.runtime.engine import Attention, Embeddings, EngineName, Pictures, Planes, Precision
from defusion.runtime.precision import CAPABILITIES, capabilities
from defusion.weights import WeightsFile

if TYPE_CHECKING:
    from defusion.runtime.graph import Output

Planesets = Mapping[str, Planes]
_OPENVINO_TYPES: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class Graph(NamedTuple):
    """Which graph: the network's with some outputs, or one of `blending.py` with its arguments."""

    name: str
    arguments: tuple[TaskName | int | bool, ...] = ()
    outputs: tuple[Output, ...] = ()
    attention_given: bool = False
    opened_given: bool = False


class OpenVinoEngine:
    """A network on OpenVINO; see `Engine`.

    Raises:
        EngineError: The device is not "cpu", or the processor lacks the precision.
    """

    name: EngineName = "openvino"

    def __init__(self, weights: WeightsFile, *, device: str, precision: Precision) -> None:
        from defusion.runtime.vino import Core

        if device != "cpu":
            raise EngineError(f"the openvino engine runs on 'cpu', not {device!r}; use engine='torch' for a GPU")
        self.device, self.precision, self.config = device, precision, weights.config
        self._weights = weights
        self._core = Core()
        if CAPABILITIES[precision] not in capabilities():
            raise EngineError(f"this processor has no {precision} arithmetic; use precision='float32'")
        self._compiled: dict[Graph, Any] = {}
        self._requests = threading.local()
        self._lock = threading.Lock()

    def fuse(self, a: Planes, b: Planes, head: HeadName, attention: Attention | None = None) -> Planes:
        """Returns the fused picture of head "paper" or "detail"."""
        if head == "detail":
            return np.concatenate([self._by_detail(pair) for pair in _pairs(a, b)])
        height, width = a.shape[2:]
        made = [self._network(pair, ("paper",), attention)["paper"] for pair in _pairs(a, b)]
        return np.concatenate(made)[..., :height, :width]

    def decompose(self, a: Planes, b: Planes, attention: Attention | None = None) -> Pictures:
        """Returns the common and the unique pictures."""
        height, width = a.shape[2:]
        made = [self._network(pair, ("parts",), attention) for pair in _pairs(a, b)]
        common, uniques = ([each[name][..., :height, :width] for each in made] for name in ("common", "uniques"))
        unique_a, unique_b = ([pair[side : side + 1] for pair in uniques] for side in (0, 1))
        return Pictures(*map(np.concatenate, (common, unique_a, unique_b)))

    def embed(self, a: Planes, b: Planes) -> Embeddings:
        """Returns the embeddings of the sources."""
        height, width = a.shape[2:]
        made = []
        for pair in _pairs(a, b):
            each = self._network(pair, ("embeddings",), None)
            f_c, f_u = (each[name][..., :height, :width] for name in ("f_c", "f_u"))
            made.append((f_c, f_u[:1], f_u[1:]))
        return Embeddings(*(np.concatenate(planes) for planes in zip(*made, strict=True)))

    def attend(self, a: Planes, b: Planes) -> Attention:
        """Returns the split attention of one pair."""
        (pair,) = _pairs(a, b)
        outputs: tuple[Output, ...] = ("attention", "parts")
        made = self._network(pair, outputs, None)
        for graph in self._graphs(outputs, attention_given=False):
            self._forget(graph)
        return {name: weights for name, weights in made.items() if name.endswith(".attention")}

    def judge(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns what the verdict on a pair is read off."""
        (pair,) = _pairs(a, b)
        return self._network(pair, ("judged",), attention)["judged"]

    def oppose(self, a: Planes, b: Planes, count: int) -> Planes:
        """Returns the verdict that is read off where the sources oppose each other."""
        (pair,) = _pairs(a, b)
        return self._blending("opposition", count, sources=pair)["judged"]

    def finest(self, frame: Planes) -> Planes:
        """Returns how much detail the finest octave of a source has at each place."""
        return self._blending("finest", source=frame)["active"]

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
        (pair,) = _pairs(a, b)
        given = _given(rest=rest, finest=finest)
        options = task, count, scale, rest is not None, finest is not None, with_colour
        return self._blending("blend", *options, sources=pair, judged=judged, **given)["fused"]

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
        options = task, count, scale, with_rest, finest is not None
        made = self._blending("octaves", *options, source=frame, judged=judged, **_given(finest=finest))
        return [made[f"octave{number}"] for number in range(len(made))]

    def collapse(self, parts: Sequence[Planes], rest: Planes | None = None) -> Planes:
        """Makes the picture of the sums of octaves."""
        sums = {f"octave{number}": part for number, part in enumerate(parts)}
        return self._blending("collapse", len(parts), rest is not None, **sums, **_given(rest=rest))["fused"]

    def detail(self, frame: Planes) -> Planes:
        """Returns a frame's odds by its fine detail alone."""
        return self._blending("detail", sources=frame)["odds"]

    def _by_detail(self, pair: Planes) -> Planes:
        """Makes the picture [1, 3, H, W] of a pair [2, 3, H, W] without a network."""
        odds = self.detail(pair)
        mean: Planes = (odds * pair).sum(0, keepdims=True) / odds.sum(0, keepdims=True)
        return mean

    def _network(self, pair: Planes, outputs: tuple[Output, ...], attention: Attention | None) -> Planesets:
        """Runs the network, in the engine's precision, on a pair [2, 3, H, W] of any size."""
        height, width = pair.shape[2:]
        bottom, right = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
        if bottom or right:
            pair = np.pad(pair, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
        made: dict[str, Planes] = {}
        for graph in self._graphs(outputs, attention_given=attention is not None):
            made |= _run(self._request(graph), {**(attention or {}), **made, "sources": pair})
        if "judged" in made:
            made["judged"] = made["judged"][..., : (height + 1) // 2, : (width + 1) // 2]
        return made

    def _graphs(self, outputs: tuple[Output, ...], *, attention_given: bool) -> tuple[Graph, ...]:
        """The network's graphs for some outputs, in the order that they run: what opens the encoder is float32."""
        whole = Graph("network", outputs=outputs, attention_given=attention_given)
        if self.precision == "float32":
            return (whole,)
        opening: tuple[Output, ...] = ("opened", "attention") if "attention" in outputs else ("opened",)
        return whole._replace(outputs=opening), whole._replace(opened_given=True)

    def _blending(self, name: str, *arguments: TaskName | int | bool, **inputs: Planes) -> Planesets:
        """Runs one of the graphs of `blending.py`, in float32."""
        return _run(self._request(Graph(name, arguments)), inputs)

    def _request(self, graph: Graph) -> Any:
        """Returns this thread's own request for a graph, compiled at its first use."""
        requests: dict[Graph, Any] = self._requests.__dict__.setdefault("of_graph", {})
        if graph not in requests:
            with _telling_memory(), self._lock:
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
        from defusion.runtime.compiled import compiled
        from defusion.runtime.graph import build

        of_network = graph.name == "network"
        low = of_network and "opened" not in graph.outputs
        if of_network:
            given = {"attention_given": graph.attention_given, "opened_given": graph.opened_given}
            model = build(self.config, self._weights.tensors(), graph.outputs, **given)
        else:
            model = getattr(blending, graph.name)(*graph.arguments)
        options = {
            # OpenVINO's own default would be bf16.
            "INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[self.precision if low else "float32"],
            "PERFORMANCE_HINT": "LATENCY",
            # Kernels are made for each size. If they are kept, as by default, memory grows with the number of sizes;
            # made anew each time, they took 0 to 6 % of a picture's time.
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
        }
        return compiled(self._core, model, options)


def _run(request: Any, inputs: Planesets) -> dict[str, Planes]:
    """Runs a request on those of the inputs that it takes."""
    taken = {node.any_name: inputs[node.any_name] for node in request.model_inputs}
    with _telling_memory():
        results = request.infer(taken, share_inputs=True)
    return {output.any_name: value for output, value in results.items()}


def _given(**inputs: Planes | None) -> dict[str, Planes]:
    """Those of the inputs that there are."""
    return {name: planes for name, planes in inputs.items() if planes is not None}


@contextmanager
def _telling_memory() -> Iterator[None]:
    """Turns OpenVINO's word that memory is short into ours."""
    try:
        yield
    except RuntimeError as error:
        # The second is what a thread says for whose stack there is no memory.
        if not any(word in str(error) for word in ("alloc", "Resource temporarily unavailable")):
            raise
        raise EngineError(
            "there is too little memory for the network; close other programs, or use a machine with more"
        ) from error


def _pairs(a: Planes, b: Planes) -> list[Planes]:
    """Each pair of a batch as one array [2, 3, H, W]."""
    return [np.stack(pair) for pair in zip(a, b, strict=True)]
