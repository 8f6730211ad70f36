"""The network: `config` (no torch), `network` (the paper's data flow)."""

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
