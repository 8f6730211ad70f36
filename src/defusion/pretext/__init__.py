"""The CUD pretext task: masks, distortions, targets. Batched, on whatever device the scenes are."""

from defusion.pretext.cud import CudBatch, CudTargets, Pretext, cud_targets
from defusion.pretext.distortions import DISTORTIONS
from defusion.pretext.masks import freeform_masks, grid_masks

__all__ = ["DISTORTIONS", "CudBatch", "CudTargets", "Pretext", "cud_targets", "freeform_masks", "grid_masks"]
