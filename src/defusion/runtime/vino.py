"""Imports OpenVINO without its model converter, which reports every import to Google Analytics and is slow to load.

The converter stays available: it is loaded when somebody in the process uses `openvino.convert_model`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Makes a module that is not loaded yet look missing. OpenVINO copes with that."""
    absent = module not in sys.modules
    if absent:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules[module]


with _without("openvino.tools.ovc"):
    import openvino
    from openvino import Core, Model, Node, Output, PartialShape, get_version, save_model
    from openvino import opset13 as op
    from openvino.opset1 import max_pool  # later versions also return the positions of the maxima


def _missing(name: str) -> Any:
    """Loads the converter when other code in this process asks for it."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    return import_module("openvino.tools.ovc").convert_model


if not hasattr(openvino, "convert_model"):
    openvino.__getattr__ = _missing

__all__ = ["Core", "Model", "Node", "Output", "PartialShape", "get_version", "max_pool", "op", "save_model"]
