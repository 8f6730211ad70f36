"""OpenVINO without its converter of models, which tells Google Analytics of every import, and takes time to load.

Whoever wants the converter in the same process finds it as ever: it is loaded when `openvino.convert_model` is asked
for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Has a module that is not loaded yet be taken for missing, which who asks for it provides for."""
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
    from openvino import Core, Model, Node, Output, PartialShape, save_model
    from openvino import opset13 as op
    from openvino.opset1 import max_pool  # later ones also give the places of the maxima


def _missing(name: str) -> Any:
    """Loads the converter for a program around us that asks for it."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    return import_module("openvino.tools.ovc").convert_model


if not hasattr(openvino, "convert_model"):
    openvino.__getattr__ = _missing

__all__ = ["Core", "Model", "Node", "Output", "PartialShape", "max_pool", "op", "save_model"]
