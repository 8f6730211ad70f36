"""A widget for napari: a stack layer in, its fused picture and, of a focus stack, its depth out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import napari.layers
    import napari.types

Layer = tuple[Any, dict[str, Any], str]


def fuse_stack(
    stack: napari.layers.Image,
    align: Literal["auto", "off", "translation", "similarity", "affine", "homography"] = "auto",
) -> list[napari.types.LayerDataTuple]:
    """Fuses the frames of a layer [Z, H, W] or [Z, H, W, 3]."""
    return layers_of(np.asarray(stack.data), stack.name, align)


def layers_of(frames: Any, name: str, align: str = "auto") -> list[Layer]:
    """Returns layers as napari takes them: data, settings, kind.

    Args:
        frames: [Z, H, W] or [Z, H, W, 3], two frames or more.
        name: Of the stack.
        align: As `defusion.fuse` takes it.
    """
    import defusion

    fused = defusion.fuse(list(frames), align=align, maps=True)
    rgb = fused.ndim == 3 and fused.shape[2] == 3
    layers: list[Layer] = [(np.asarray(fused), {"name": f"{name} fused", "rgb": rgb}, "image")]
    if fused.maps is not None and fused.maps.depth is not None:
        layers.append((np.asarray(fused.maps.depth), {"name": f"{name} depth", "colormap": "viridis"}, "image"))
    return layers
