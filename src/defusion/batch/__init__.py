"""Many scenes: found, then fused once each, on this machine or a cluster. An interrupted batch continues where it
was.

The package can itself be called as a function, `defusion.batch(sources, output)`, since a submodule and a function
cannot share one name otherwise.
"""

from __future__ import annotations

import sys
from types import ModuleType

from defusion.batch.run import SceneResult, batch

__all__ = ["SceneResult", "batch"]


class _Function(ModuleType):
    __call__ = staticmethod(batch)


sys.modules[__name__].__class__ = _Function
