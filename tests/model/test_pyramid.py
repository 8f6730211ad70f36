"""The pyramid network's close look."""

from __future__ import annotations

import torch
from torch import Generator

from defusion.model.torch_ops import TorchPyramid


def test_a_mask_of_flat_sources_does_not_change_from_pixel_to_pixel() -> None:
    network, generator = TorchPyramid(), Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_weights().items():
            if name.startswith("close."):
                value += 0.2 * torch.randn(value.shape, generator=generator)
        for name in ("weight", "bias"):  # all is trusted
            network.named_weights()[f"close.head.{name}"][:4] = 0 if name == "weight" else 4
        flat = torch.tensor([0.3, 0.8]).view(2, 1, 1, 1, 1).expand(2, 1, 3, 96, 96)
        closely = network.look_closely(flat)
        assert closely.mask is not None
        middle = closely.mask[..., 40:56, 40:56]
    assert (middle[0] - 0.5).abs().min() > 1e-3  # the sources are told apart
    assert (middle - middle[..., :1, :1]).abs().max() < 1e-5
