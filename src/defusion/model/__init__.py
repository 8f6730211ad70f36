"""The networks. None of them reads a file.

pyramid.py    the pyramid network, which makes every picture: its algorithm, in one `forward`
blocks.py     the convolutions that it learns
ops.py        the operations that it needs from an engine
torch_ops.py  these in torch; `defusion.runtime` has those for the CPU
network.py    the paper's network, in torch
config.py     the shapes of both, without torch
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defusion.model.config import CONFIGS, NetworkConfig

if TYPE_CHECKING:
    from defusion.model.network import Decomposition, DeFusion

__all__ = ["CONFIGS", "DeFusion", "Decomposition", "NetworkConfig"]


def __getattr__(name: str) -> Any:
    if name in ("DeFusion", "Decomposition"):
        from defusion.model import network

        return getattr(network, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
