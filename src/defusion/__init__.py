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
    from defusion.alignment.record import Alignment
    from defusion.api.align import Aligned, align
    from defusion.api.fuse import decompose, fuse, fuse_files
    from defusion.api.fuser import Fuser
    from defusion.api.options import Options
    from defusion.api.results import FusedFile, Parts
    from defusion.api.sources import Reading
    from defusion.batch.run import batch
    from defusion.imaging import Picture, read, write
    from defusion.scene.maps import Maps
    from defusion.scene.rig import Rig
    from defusion.video import FusedVideo, Live, fuse_video

__version__: str

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
    "Live",
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
    **dict.fromkeys(("decompose", "fuse", "fuse_files"), "defusion.api.fuse"),
    **dict.fromkeys(("Picture", "read", "write"), "defusion.imaging"),
    **dict.fromkeys(("FusedFile", "Parts"), "defusion.api.results"),
    **dict.fromkeys(("Aligned", "align"), "defusion.api.align"),
    "Alignment": "defusion.alignment.record",
    "Fuser": "defusion.api.fuser",
    "Maps": "defusion.scene.maps",
    "Options": "defusion.api.options",
    "Reading": "defusion.api.sources",
    "Rig": "defusion.scene.rig",
    **dict.fromkeys(("FusedVideo", "Live", "fuse_video"), "defusion.video"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, because numpy and the engines take time to load."""
    if name == "__version__":
        from importlib.metadata import version  # it loads what reads e-mail and archives

        return version("defusion")
    if name in _FROM:
        with warnings.catch_warnings():  # numpy adds warning filters; a library must not change those of its caller
            return getattr(import_module(_FROM[name]), name)
    if name == "batch":
        return import_module("defusion.batch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
