"""The CPU engine: OpenVINO. One compiled graph serves all sizes, and is cached between runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from defusion.errors import EngineError
from defusion.model.config import SIZE_MULTIPLE, NetworkConfig, PyramidConfig
from defusion.model.decisions import Coarser
from defusion.model.pyramid import PyramidNet
from defusion.model.regions import Region
from defusion.runtime.engine import Attention, Decided, Embeddings, EngineName, PaperParts, Planes, Precision
from defusion.runtime.precision import CAPABILITIES, capabilities
from defusion.weights import WeightsFile

if TYPE_CHECKING:
    from defusion.runtime.clip_net import ClipNet
    from defusion.runtime.graph import Output
    from defusion.runtime.pyramid_graph import Part

Planesets = Mapping[str, Planes]
_OPENVINO_TYPES: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class Graph(NamedTuple):
    """Names a graph: the paper's network with some outputs, or a part of the pyramid network."""

    part: Part | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    attention_given: bool = False
    opened_given: bool = False
    shapes: tuple[tuple[int, ...], ...] | None = None
    """Shapes of the inputs. With None the graph takes inputs of any shape."""


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
        self._clip: ClipNet | None = None
        if isinstance(self.config, PyramidConfig):
            from defusion.runtime.array_ops import ArrayOps
            from defusion.runtime.pyramid_graph import GraphBlocks

            self._pyramid = PyramidNet(ArrayOps(), GraphBlocks(weights.tensors(), self._learned))

    def for_clip(self) -> OpenVinoEngine:
        """Returns an engine that compiles graphs for each size, and looks closely only where needed."""
        if not isinstance(self.config, PyramidConfig):
            return self
        from defusion.runtime.clip_net import ClipNet
        from defusion.runtime.pyramid_graph import GraphBlocks

        other = copy(self)
        if self._clip is None:
            other._compiled, other._requests = {}, threading.local()
        other._pyramid = other._clip = ClipNet(GraphBlocks(self._weights.tensors(), other._learned))
        return other

    def _learned(self, part: Part, inputs: Planesets) -> Planes:
        """Runs one of the learned parts of the pyramid network."""
        names = tuple(sorted(inputs))
        shapes = tuple(inputs[each].shape for each in names) if self._clip is not None else None
        return _run(self._request(Graph(part, names, shapes=shapes)), inputs)["made"]

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
        made = self._pyramid.forward(
            sources, confidence, count, coarser=coarser, closely=closely, parts=parts, core=core
        )
        finest = made.weights[0]
        decided = Decided(
            made.made,
            made.coarser.made,
            made.coarser.state,
            made.coarser.by_mask,
            finest.weight,
            finest.by_mask if closely else None,
            made.closely.confidence if closely else None,
            made.closely.mask if closely else None,
        )
        if self._clip is not None:
            self._clip.decided(decided)
        return decided

    def fuse(self, a: Planes, b: Planes, attention: Attention | None = None) -> Planes:
        """Returns the picture of head `paper`."""
        height, width = a.shape[2:]
        made = [self._network(pair, ("paper",), attention)["paper"] for pair in _pairs(a, b)]
        return np.concatenate(made)[..., :height, :width]

    def decompose(self, a: Planes, b: Planes, attention: Attention | None = None) -> PaperParts:
        """Returns the common and the unique pictures."""
        height, width = a.shape[2:]
        made = [self._network(pair, ("parts",), attention) for pair in _pairs(a, b)]
        common, uniques = ([each[name][..., :height, :width] for each in made] for name in ("common", "uniques"))
        unique_a, unique_b = ([pair[side : side + 1] for pair in uniques] for side in (0, 1))
        return PaperParts(*map(np.concatenate, (common, unique_a, unique_b)))

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

    def _network(self, pair: Planes, outputs: tuple[Output, ...], attention: Attention | None) -> Planesets:
        """Runs the paper's network, in this engine's precision, on a pair [2, 3, H, W] of any size."""
        height, width = pair.shape[2:]
        bottom, right = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
        if bottom or right:
            pair = np.pad(pair, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
        made: dict[str, Planes] = {}
        for graph in self._graphs(outputs, attention_given=attention is not None):
            made |= _run(self._request(graph), {**(attention or {}), **made, "sources": pair})
        return made

    def _graphs(self, outputs: tuple[Output, ...], *, attention_given: bool) -> tuple[Graph, ...]:
        """Returns the graphs that compute some outputs, in the order in which they run. The first, which reads the
        sources, is float32.
        """
        whole = Graph(outputs=outputs, attention_given=attention_given)
        if self.precision == "float32":
            return (whole,)
        opening: tuple[Output, ...] = ("opened", "attention") if "attention" in outputs else ("opened",)
        return whole._replace(outputs=opening), whole._replace(opened_given=True)

    def _request(self, graph: Graph) -> Any:
        """Returns this thread's request for a graph. It is compiled when it is first used."""
        requests: dict[Graph, Any] = self._requests.__dict__.setdefault("of_graph", {})
        if graph not in requests:
            with _telling_memory(), self._lock:
                if graph not in self._compiled:
                    self._compiled[graph] = self._compile(graph)
                requests[graph] = self._compiled[graph].create_infer_request()
        return requests[graph]

    def _forget(self, graph: Graph) -> None:
        """Frees the memory of a graph that is only used once for each scene."""
        self._requests.of_graph.pop(graph)
        with self._lock:
            self._compiled.pop(graph, None)

    def _compile(self, graph: Graph) -> Any:
        from defusion.runtime import graph as paper
        from defusion.runtime import pyramid_graph
        from defusion.runtime.compiled import compiled

        if isinstance(self.config, NetworkConfig):
            given = {"attention_given": graph.attention_given, "opened_given": graph.opened_given}
            model = paper.build(self.config, self._weights.tensors(), graph.outputs, **given)
        else:
            assert graph.part is not None
            model = pyramid_graph.build(
                self._weights.tensors(),
                graph.part,
                with_coarser="coarser" in graph.inputs,
                with_confidence="confidence" in graph.inputs,
            )
            if graph.shapes is not None:
                model.reshape(dict(zip(graph.inputs, graph.shapes, strict=True)))
        # The graph that reads the sources is float32 in any precision.
        low = "opened" not in graph.outputs
        options = {
            # OpenVINO would choose bf16 otherwise.
            "INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[self.precision if low else "float32"],
            "PERFORMANCE_HINT": "LATENCY",
            # OpenVINO makes kernels for each size. By default it keeps them, and memory grows with the number of
            # sizes. Making them anew each time took 0 to 6 % of a picture's time.
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
        }
        if graph.shapes is not None:  # not cached: there are many such graphs, and each compiles fast
            return self._core.compile_model(model, "CPU", options)
        return compiled(self._core, model, options)


def _run(request: Any, inputs: Planesets) -> dict[str, Planes]:
    """Runs a request with those of the inputs that it has."""
    taken = {node.any_name: inputs[node.any_name] for node in request.model_inputs}
    with _telling_memory():
        results = request.infer(taken, share_inputs=True)
    return {output.any_name: value for output, value in results.items()}


def _given(**inputs: Planes | None) -> dict[str, Planes]:
    """Returns the inputs that are not None."""
    return {name: planes for name, planes in inputs.items() if planes is not None}


@contextmanager
def _telling_memory() -> Iterator[None]:
    """Turns OpenVINO's errors about memory into ours."""
    try:
        yield
    except RuntimeError as error:
        # The second is what a thread reports if there is no memory for its stack.
        if not any(word in str(error) for word in ("alloc", "Resource temporarily unavailable")):
            raise
        raise EngineError(
            "there is too little memory for the network; close other programs, or use a machine with more"
        ) from error


def _pairs(a: Planes, b: Planes) -> list[Planes]:
    """Returns each pair of a batch as one array [2, 3, H, W]."""
    return [np.stack(pair) for pair in zip(a, b, strict=True)]
