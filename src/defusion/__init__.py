"""Image fusion: several pictures of one scene become one, by a network that decomposes them.

>>> import numpy as np, defusion
>>> near, far = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 255, np.uint8)
>>> fused = defusion.fuse([near, far])
>>> fused.shape, fused.dtype
((48, 64, 3), dtype('uint8'))
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from defusion.errors import (
    BatchError,
    DefusionError,
    EngineError,
    FusionWarning,
    ImageError,
    OptionError,
    OptionTypeError,
    SourceTypeError,
    TrainingError,
    WeightsError,
)

if TYPE_CHECKING:
    from defusion.aligning import Aligned, align
    from defusion.alignment.record import Alignment
    from defusion.api import decompose, fuse, fuse_files
    from defusion.batch.run import batch
    from defusion.fuser import Fuser
    from defusion.imaging import Picture, read, write
    from defusion.maps import Maps
    from defusion.options import Options
    from defusion.results import FusedFile, Parts
    from defusion.rig import Rig
    from defusion.sources import Reading
    from defusion.video import FusedVideo, fuse_video

__version__ = version("defusion")

__all__ = [
    "Aligned",
    "Alignment",
    "BatchError",
    "DefusionError",
    "EngineError",
    "FusedFile",
    "FusedVideo",
    "Fuser",
    "FusionWarning",
    "ImageError",
    "Maps",
    "OptionError",
    "OptionTypeError",
    "Options",
    "Parts",
    "Picture",
    "Reading",
    "Rig",
    "SourceTypeError",
    "TrainingError",
    "WeightsError",
    "__version__",
    "align",
    "batch",
    "decompose",
    "fuse",
    "fuse_files",
    "fuse_video",
    "read",
    "write",
]

_FROM = {
    **dict.fromkeys(("decompose", "fuse", "fuse_files"), "defusion.api"),
    **dict.fromkeys(("Picture", "read", "write"), "defusion.imaging"),
    **dict.fromkeys(("FusedFile", "Parts"), "defusion.results"),
    **dict.fromkeys(("Aligned", "align"), "defusion.aligning"),
    "Alignment": "defusion.alignment.record",
    "Fuser": "defusion.fuser",
    "Maps": "defusion.maps",
    "Options": "defusion.options",
    "Reading": "defusion.sources",
    "Rig": "defusion.rig",
    **dict.fromkeys(("FusedVideo", "fuse_video"), "defusion.video"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, because numpy and the engines take time to load."""
    if name in _FROM:
        with warnings.catch_warnings():  # numpy adds warning filters; a library must not change those of its caller
            return getattr(import_module(_FROM[name]), name)
    if name == "batch":
        return import_module("defusion.batch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
