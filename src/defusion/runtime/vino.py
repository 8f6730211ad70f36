"""OpenVINO without its converter of models, which tells Google Analytics of every import, and takes time to load.

Whoever wants the converter in the same process imports `openvino.tools.ovc`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
    from openvino import Core, Model, Node, Output, PartialShape
    from openvino import opset13 as op
    from openvino.opset1 import max_pool  # later ones also give the places of the maxima

__all__ = ["Core", "Model", "Node", "Output", "PartialShape", "max_pool", "op"]
