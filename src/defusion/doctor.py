"""`defusion doctor`: what this machine has, what defusion would use of it, and why."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from defusion.errors import EngineError
from defusion.runtime import PRECISIONS, load_engine
from defusion.runtime.compiled import damaged
from defusion.runtime.precision import chosen_precision
from defusion.system.cache import cache_folder, faults
from defusion.system.machine import cores, free_bytes, processor
from defusion.weights import WeightsFile, resolve

#: A module that each extra installs.
_EXTRAS = {
    **{"evaluate": "matplotlib", "demo": "skimage", "raw": "rawpy", "exr": "OpenEXR"},
    **{"torch": "torch", "train": "lightning"},
}


def examine(weights: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Examines the machine.

    Args:
        weights: Name of shipped weights, or a weights file; None for the default.

    Returns:
        Data for JSON: the machine, the engines, the extras, and what would be used and why.
    """
    file = WeightsFile.open(resolve(None if weights is None else os.fspath(weights)))
    file.tensors()  # raises if they are damaged
    cache = cache_folder("openvino")
    cache_faults = [*faults(), *damaged(cache)]
    precision, why = chosen_precision(file)
    return {
        "defusion": version("defusion"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        "free_memory_mb": free_bytes() // 10**6,
        "cache": {
            "folder": str(cache),
            "megabytes": round(_bytes_in(cache) / 1e6, 1),
            "faults": cache_faults or ["none"],
        },
        "engines": {"openvino": _openvino(file), "torch": _torch()},
        "extras": {extra: find_spec(module) is not None for extra, module in _EXTRAS.items()},
        "would_use": {
            "weights": file.path.stem,
            "engine": "openvino",
            "device": "cpu",
            "precision": precision,
            "threads": cores(),
            "why": f"openvino is the engine of the CPU; {why}",
        },
    }


def lines_of(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Formats facts as indented lines for people."""
    lines = []
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}:"
        if isinstance(value, dict):
            lines += [label, *lines_of(value, indent + "  ")]
        elif isinstance(value, bool):
            lines.append(f"{label} {'yes' if value else 'no'}")
        else:
            lines.append(f"{label} {', '.join(value) if isinstance(value, list) else value}")
    return lines


def _openvino(weights: WeightsFile) -> dict[str, Any]:
    precisions = {}
    for precision in PRECISIONS:
        try:
            load_engine(weights, precision=precision)
        except EngineError as error:
            precisions[precision] = f"no: {error}"
        else:
            precisions[precision] = "yes"
    return {"version": version("openvino"), "precisions": precisions}


def _torch() -> dict[str, Any]:
    try:
        found = version("torch")
    except PackageNotFoundError:
        return {"version": None, "devices": [], "missing": 'pip install "defusion[torch]"'}
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"version": found, "devices": [], "cannot_be_loaded": str(error)}

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return {"version": found, "devices": ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]}


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
