"""Operations in torch, and the pyramid network as a torch module, to train it and to run it on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from defusion.model.blocks import Blocks, check_shapes, shapes
from defusion.model.decisions import Closely, Coarser, Made
from defusion.model.pyramid import PyramidNet
from defusion.model.regions import Region


class TorchOps:
    """`LayerOps` and `PixelOps` on tensors.

    Args:
        weights: By their names.
        sources: S, the number of sources that a batch holds side by side.
        low: What convolutions compute in, where it is not float32.
    """

    def __init__(self, weights: Mapping[str, Tensor], sources: int, low: torch.dtype | None = None) -> None:
        self._weights, self._sources, self._low = weights, sources, low

    def conv(self, x: Tensor, name: str, *, dilation: int = 1) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        padding = dilation * (weight.shape[2] // 2)
        if self._low is not None:
            x, weight, bias = x.to(self._low), weight.to(self._low), bias.to(self._low)
        return F.conv2d(x, weight, bias, padding=padding, dilation=dilation).float()

    def numbers(self, name: str) -> Sequence[Tensor]:
        return self._weights[name].unbind()

    relu = staticmethod(F.relu)
    sigmoid = staticmethod(torch.sigmoid)
    log = staticmethod(torch.log)
    exp = staticmethod(torch.exp)

    def sqrt(self, x: Tensor) -> Tensor:
        return (x.clamp(min=0) + 1e-12).sqrt()  # the slope at zero is not finite

    def clamp(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    def channels(self, x: Tensor, start: int, stop: int) -> Tensor:
        return x[:, start:stop]

    def concat(self, planes: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(planes), 1)

    def mean(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)

    def most(self, x: Tensor) -> Tensor:
        return x.amax(1, keepdim=True)

    def least(self, x: Tensor) -> Tensor:
        return x.amin(1, keepdim=True)

    def halve(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)

    def double(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def blur(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1)

    def fold(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)

    def unfold(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)

    def over_sources(self, x: Tensor) -> Tensor:
        return x.view(self._sources, -1, *x.shape[1:]).sum(0)

    def mean_over_sources(self, x: Tensor) -> Tensor:
        return x.view(self._sources, -1, *x.shape[1:]).mean(0)

    def most_of_sources(self, x: Tensor) -> Tensor:
        return x.view(self._sources, -1, *x.shape[1:]).amax(0)

    def each_source(self, x: Tensor) -> Tensor:
        return x.repeat(self._sources, 1, 1, 1)


class TorchPyramid(nn.Module):
    """The pyramid network with weights of its own; see `PyramidNet.forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(torch.zeros(shape)) for name, shape in shapes().items()}
        )
        self.low: torch.dtype | None = None
        self.start()

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> TorchPyramid:
        """Makes the network with weights by name, in float32 and eval mode.

        Raises:
            WeightsError: The tensors are not those of this network.
        """
        check_shapes(tensors)
        network = cls()
        with torch.no_grad():
            for name, value in network.named_weights().items():
                value.copy_(torch.from_numpy(tensors[name]))
        return network.eval()

    def named_weights(self) -> dict[str, Tensor]:
        """Returns the weights by the names that they have in a weights file."""
        return {name.replace("/", "."): value for name, value in self.weights.items()}

    @torch.no_grad()
    def start(self) -> None:
        """Starts at a Laplacian pyramid blended by local energy, which asks no network: heads are zero."""
        for name, value in self.named_weights().items():
            if name.endswith(".weight"):
                nn.init.kaiming_normal_(value, nonlinearity="relu")
                if name.rsplit(".", 1)[0].endswith((".source", ".scene", "close.head")):
                    value.zero_()
                elif name.startswith(("state.", "close.far", "close.near")):
                    value.mul_(0.5)
        given = self.named_weights()
        given["close.head.bias"].copy_(torch.tensor([4.0] * 4 + [0.0] * 4))
        given["close.energy"].fill_(3.0)
        for name, energy in (("base", (0.1, 0.0)), ("level", (1.0, 0.4)), ("fine", (1.0, 0.4))):
            given[f"{name}.energy"].copy_(torch.tensor(energy))
            given[f"{name}.scene.bias"].fill_(-1.0 if name == "base" else 0.1)

    def forward(
        self,
        sources: Tensor,
        confidence: Tensor | None = None,
        count: int = 4,
        *,
        coarser: Coarser | None = None,
        closely: bool = True,
        parts: bool = False,
        core: Region | None = None,
    ) -> Made:
        """Runs the network on sources [S, N, 3, H, W], confidence [S, N, 1, H, W]."""
        flat = None if confidence is None else confidence.flatten(0, 1)
        return self._of(len(sources)).forward(
            sources.flatten(0, 1), flat, count, coarser=coarser, closely=closely, parts=parts, core=core
        )

    def look_closely(self, sources: Tensor) -> Closely:
        """Runs the close look alone on sources [S, N, 3, H, W]; see `PyramidNet.look_closely`."""
        return self._of(len(sources)).look_closely(sources.flatten(0, 1), None)

    def _of(self, sources: int) -> PyramidNet[Tensor]:
        ops = TorchOps(self.named_weights(), sources, self.low)
        return PyramidNet(ops, Blocks(ops))
