"""A node for ComfyUI. It fuses a batch of images of one scene into one image."""

from __future__ import annotations

from typing import Any, ClassVar


class Defusion:
    """Fuses the images of a batch: exposures, a focus stack, or infrared with visible light."""

    CATEGORY = "image/defusion"
    FUNCTION = "fuse"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("fused",)
    _loaded: ClassVar[Any] = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  (ComfyUI's name)
        """Returns the names and types of the inputs, in ComfyUI's form."""
        from defusion.api.options import ALIGNS, DEGHOSTS

        return {"required": {"images": ("IMAGE",), "align": (list(ALIGNS),), "deghost": (list(DEGHOSTS),)}}

    def fuse(self, images: Any, align: str, deghost: str) -> tuple[Any]:
        """Fuses a tensor [N, H, W, 3] in [0, 1] and returns one [1, H, W, 3]."""
        from defusion import Fuser

        if Defusion._loaded is None:
            Defusion._loaded = Fuser()
        fused = Defusion._loaded.fuse([image.cpu() for image in images], align=align, deghost=deghost)
        return (fused[None].clamp(0, 1),)


NODE_CLASS_MAPPINGS = {"Defusion": Defusion}
NODE_DISPLAY_NAME_MAPPINGS = {"Defusion": "Fuse images of one scene"}
