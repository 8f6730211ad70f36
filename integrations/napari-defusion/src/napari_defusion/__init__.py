"""A widget for napari. It fuses a stack layer and adds the fused picture, and a depth map if the stack is a focus
stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import napari.layers
    import napari.types

Layer = tuple[Any, dict[str, Any], str]


def fuse_stack(
    stack: napari.layers.Image,
    align: Literal["auto", "off", "translation", "similarity", "affine", "homography", "local"] = "auto",
) -> list[napari.types.LayerDataTuple]:
    """Fuses the frames of a layer of shape [Z, H, W] or [Z, H, W, 3]."""
    return layers_of(np.asarray(stack.data), stack.name, align)


def layers_of(frames: Any, name: str, align: str = "auto") -> list[Layer]:
    """Returns the fused picture, and the depth map if there is one, as tuples for napari: data, settings, kind.

    Args:
        frames: [Z, H, W] or [Z, H, W, 3], two frames or more.
        name: Name of the stack, from which the new layers get theirs.
        align: See `defusion.fuse`.
    """
    import defusion

    fused = defusion.fuse(list(frames), align=align, maps=True)
    rgb = fused.ndim == 3 and fused.shape[2] == 3
    layers: list[Layer] = [(np.asarray(fused), {"name": f"{name} fused", "rgb": rgb}, "image")]
    if fused.maps is not None and fused.maps.depth is not None:
        layers.append((np.asarray(fused.maps.depth), {"name": f"{name} depth", "colormap": "viridis"}, "image"))
    return layers
