"""Many scenes: found, fused once each whatever interrupts it, on this machine or a cluster.

The package is also its own function, `defusion.batch(sources, output)`: as a submodule it has that name in any case.
"""

from __future__ import annotations

import sys
from types import ModuleType

from defusion.batch.run import SceneResult, batch

__all__ = ["SceneResult", "batch"]


class _Function(ModuleType):
    __call__ = staticmethod(batch)


sys.modules[__name__].__class__ = _Function
