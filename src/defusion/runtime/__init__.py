"""Engines: each makes a network ready on a device. All have one small protocol."""

from __future__ import annotations

from defusion.errors import EngineError
from defusion.runtime.engine import (
    ENGINES,
    PRECISIONS,
    Attention,
    Embeddings,
    Engine,
    EngineName,
    PaperParts,
    Planes,
    Precision,
)
from defusion.runtime.precision import chosen_precision
from defusion.weights import WeightsFile

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "Attention",
    "Embeddings",
    "Engine",
    "EngineName",
    "PaperParts",
    "Planes",
    "Precision",
    "load_engine",
]


def load_engine(
    weights: WeightsFile,
    *,
    engine: str | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> Engine:
    """Makes a network ready to run. If the engine, device or precision is not available, it raises; no other is used
    in its place.

    Args:
        weights: The network.
        engine: "openvino" or "torch". None chooses openvino on the CPU and torch on other devices.
        device: "cpu", or a torch device such as "cuda" or "cuda:1"; None for the CPU.
        precision: One of `PRECISIONS`. None chooses float32 with torch, and with openvino the fastest that the
            processor has and that is accurate enough.

    Raises:
        EngineError: The engine, device or precision is unknown, or not available here.
    """
    device = device or "cpu"
    engine = engine or ("openvino" if device == "cpu" else "torch")
    if precision is None:
        precision = chosen_precision(weights).precision if engine == "openvino" else "float32"
    if engine not in ENGINES:
        raise EngineError(f"no engine {engine!r}; expected {' or '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise EngineError(f"no precision {precision!r}; expected {' or '.join(PRECISIONS)}")
    if engine == "openvino":
        from defusion.runtime.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(weights, device=device, precision=precision)
    from defusion.runtime.torch_engine import TorchEngine

    return TorchEngine(weights, device=device, precision=precision)
