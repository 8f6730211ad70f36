"""Training data made of photographs: sources, and the pictures to make of them.

For the pyramid network:
mixed.py      all kinds of views in one batch
absent.py  focus.py  exposures.py  sensors.py       the kinds
views.py      what a kind returns
edges.py      random fields, and masks that follow the edges of a picture
depth.py      scenes with layers of depth

For the paper's network, and for `absent.py`:
cud.py        common and unique decomposition (paper, eq. 1)
masks.py      the masks M_i
distortions.py      what stands in a source where its mask is zero
"""

from defusion.pretext.cud import CudBatch, CudTargets, Pretext, cud_targets
from defusion.pretext.distortions import DISTORTIONS
from defusion.pretext.masks import freeform_masks, grid_masks

__all__ = ["DISTORTIONS", "CudBatch", "CudTargets", "Pretext", "cud_targets", "freeform_masks", "grid_masks"]
