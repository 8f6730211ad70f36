"""DeFusion (Liang et al., ECCV 2022): decompose two sources into common and unique, then fuse.

    a ─ encoder ─┬───────────────── unique decoder ── f_u1 ── P_u ── unique_a
                 ├── ensembler ─┬── common decoder ── f_c ─── P_c ── common
    b ─ encoder ─┴──────────────┴── unique decoder ── f_u2 ── P_u ── unique_b
                                          f_c, f_u1, f_u2 ── P_r ── fused

The encoder and the unique decoder are one module each, shared by both sources. The common decoder reads both encoders
beside the ensembler, as in the authors' code; in the paper f_c takes the ensembler alone. Blocks are ResNeSt
bottlenecks (Zhang et al., 2020) without normalisation. Widths and block counts: `config.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from defusion.errors import ImageError, WeightsError
from defusion.model.config import RADIX, SIZE_MULTIPLE, NetworkConfig, Stage, attention_width

Features = tuple[Tensor, Tensor, Tensor]
"""Of one source, at H/2, H/4 and H/8."""


class Decomposition(NamedTuple):
    """What the network makes of two sources: pictures, NCHW float, the heads' own values, not clamped.

    The embeddings are the decoders' maps before their heads; None unless asked for.
    """

    common: Tensor
    unique_a: Tensor
    unique_b: Tensor
    fused: Tensor
    f_c: Tensor | None = None
    f_u1: Tensor | None = None
    f_u2: Tensor | None = None


class SplitAttention(nn.Module):
    """A 3x3 convolution of two branches, mixed by weights that are computed from their average over the plane.

    A tile of a picture has to take the weights of the whole: see `keep_attention` and `give_attention`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = attention_width(channels)
        self.conv = nn.Conv2d(channels, RADIX * channels, 3, padding=1, groups=RADIX, bias=False)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, RADIX * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = F.relu(self.conv(x)).chunk(RADIX, dim=1)
        weight_1, weight_2 = _weigh.get()(self, first, second)
        mixed: Tensor = weight_1 * first + weight_2 * second
        return mixed

    def weigh(self, first: Tensor, second: Tensor) -> Tensor:
        """Computes the weights of both branches, [2, N, C, 1, 1], from their average."""
        context = (first + second).mean((2, 3), keepdim=True)  # [N, C, 1, 1]
        logits = self.excite(F.relu(self.squeeze(context)))
        return torch.stack(logits.chunk(RADIX, dim=1)).softmax(0)


Weigh = Callable[[SplitAttention, Tensor, Tensor], Tensor]
#: Where the running thread takes the weights of split attention from.
_weigh: ContextVar[Weigh] = ContextVar("weigh", default=SplitAttention.weigh)


@contextmanager
def keep_attention() -> Iterator[list[Tensor]]:
    """Keeps the weights of every split attention that runs in the context, in the order that they run."""
    kept: list[Tensor] = []

    def weigh_and_keep(layer: SplitAttention, first: Tensor, second: Tensor) -> Tensor:
        kept.append(layer.weigh(first, second))
        return kept[-1]

    with _weighing(weigh_and_keep):
        yield kept


@contextmanager
def give_attention(kept: Iterable[Tensor]) -> Iterator[None]:
    """Gives the split attentions of one call of a network the weights that `keep_attention` kept of another."""
    rest = iter(kept)
    with _weighing(lambda *_: next(rest)):
        yield


@contextmanager
def _weighing(weigh: Weigh) -> Iterator[None]:
    token = _weigh.set(weigh)
    try:
        yield
    finally:
        _weigh.reset(token)


class Bottleneck(nn.Module):
    """ResNeSt block: 1x1 down to a quarter, split attention, 1x1 up, plus the shortcut."""

    def __init__(self, in_width: int, width: int, *, stride: int = 1, smooth: bool = False) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_width, width // 4, 1, bias=False)
        self.attention = SplitAttention(width // 4)
        # The average pool does the striding; the authors also keep it, at stride 1, in the first block of all.
        self.pool = nn.AvgPool2d(3, stride, padding=1) if stride > 1 or smooth else nn.Identity()
        self.conv_out = nn.Conv2d(width // 4, width, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_width != width:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
                if stride > 1
                else nn.Identity(),
                nn.Conv2d(in_width, width, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv_out(self.pool(self.attention(F.relu(self.conv_in(x)))))
        return F.relu(residual + self.shortcut(x))


def residual_layer(in_width: int, stage: Stage, *, stride: int = 1, smooth: bool = False) -> nn.Sequential:
    """Builds the blocks of one stage; only the first strides or changes the width."""
    first = Bottleneck(in_width, stage.width, stride=stride, smooth=smooth)
    return nn.Sequential(first, *(Bottleneck(stage.width, stage.width) for _ in range(stage.blocks - 1)))


class Encoder(nn.Module):
    """Turns a source into features at H/2, H/4 and H/8."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        full, *halves = config.encoder
        self.stem = nn.Conv2d(3, config.stem, 3, padding=1)
        self.scale1 = residual_layer(config.stem, full, smooth=True)
        self.scale2 = residual_layer(full.width, halves[0])
        self.scale4 = residual_layer(halves[0].width, halves[1], stride=2)
        self.scale8 = residual_layer(halves[1].width, halves[2], stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.scale1(F.relu(self.stem(x)))
        half = self.scale2(F.max_pool2d(x, 3, stride=2, padding=1))
        quarter = self.scale4(half)
        return half, quarter, self.scale8(quarter)


class Decoder(nn.Module):
    """Turns ensembled features and encoder features into an embedding at full size.

    Both decoders are of this class: the common one reads the features of both sources, the unique one those of its
    own source.
    """

    def __init__(self, config: NetworkConfig, stages: tuple[Stage, Stage, Stage, Stage], sources: int) -> None:
        super().__init__()
        _, half, quarter, eighth = (sources * stage.width for stage in config.encoder)
        self.scale8 = residual_layer(config.ensembler.width + eighth, stages[0])
        self.scale4 = residual_layer(stages[0].width + quarter, stages[1])
        self.scale2 = residual_layer(stages[1].width + half, stages[2])
        self.scale1 = residual_layer(stages[2].width, stages[3])

    def forward(self, ensembled: Tensor, features: Features) -> Tensor:
        half, quarter, eighth = features
        x = self.scale8(torch.cat([ensembled, eighth], 1))
        x = self.scale4(torch.cat([_up(x), quarter], 1))
        x = self.scale2(torch.cat([_up(x), half], 1))
        embedding: Tensor = self.scale1(_up(x))
        return embedding


class Projection(nn.Module):
    """Head from an embedding to a picture: 3x3 convolution and ReLU (the paper's P_c, P_u and P_r)."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(embedding, 3, 3, padding=1)

    def forward(self, embedding: Tensor) -> Tensor:
        return F.relu(self.conv(embedding))


class DeFusion(nn.Module):
    """The whole network: encoder, ensembler, common and unique decoders, and their heads.

    Args:
        config: Widths, block counts and heads; `CONFIGS` holds the known ones.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.ensembler = residual_layer(2 * config.encoder[-1].width, config.ensembler)
        self.common_decoder = Decoder(config, config.common_decoder, sources=2)
        self.unique_decoder = Decoder(config, config.unique_decoder, sources=1)
        self.project_common = Projection(config.embedding)
        self.project_unique = Projection(config.embedding)
        self.project_fused = Projection(config.embedding)

    @classmethod
    def of_tensors(cls, config: NetworkConfig, tensors: Mapping[str, NDArray[np.float32]]) -> DeFusion:
        """Makes a network with weights by name, in float32 and eval mode.

        Raises:
            WeightsError: The tensors do not fit the config.
        """
        network = cls(config)
        try:
            network.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
        except RuntimeError as error:
            raise WeightsError(f"the weights do not fit their own config: {error}") from error
        return network.eval()

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        *,
        embeddings: bool = False,
    ) -> Decomposition:
        """Decomposes and fuses two batches of source images.

        Args:
            a: First sources, [N, 3, H, W], RGB in [0, 1], any H and W.
            b: Second sources, of the same shape.
            embeddings: Give f_c, f_u1 and f_u2 too.

        Raises:
            ImageError: The batches differ in shape or are not [N, 3, H, W].
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3:
            raise ImageError(
                f"sources have shapes {list(a.shape)} and {list(b.shape)}; expected twice the same [N, 3, H, W]"
            )
        height, width = a.shape[2:]
        a, b = _pad(a, SIZE_MULTIPLE), _pad(b, SIZE_MULTIPLE)

        # Decompose: E(a), E(b), and what the two share (eq. 2).
        features_a, features_b = _unbatch(self.encoder(torch.cat([a, b])))
        ensembled = self.ensembler(torch.cat([features_a[-1], features_b[-1]], 1))
        both = (
            torch.cat([features_a[0], features_b[0]], 1),
            torch.cat([features_a[1], features_b[1]], 1),
            torch.cat([features_a[2], features_b[2]], 1),
        )
        f_c = self.common_decoder(ensembled, both)
        f_u1 = self.unique_decoder(ensembled, features_a)
        f_u2 = self.unique_decoder(ensembled, features_b)

        # Project: common and unique pictures.
        project_c = self.project_common if self.config.common_projection == "common" else self.project_unique
        common, unique_a, unique_b = project_c(f_c), self.project_unique(f_u1), self.project_unique(f_u2)

        # Fuse: paint the scene from all three embeddings (P_r).
        fused = self.project_fused(f_c + f_u1 + f_u2)

        planes = [common, unique_a, unique_b, fused, *((f_c, f_u1, f_u2) if embeddings else ())]
        return Decomposition(*(plane[..., :height, :width] for plane in planes))


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Repeats the right and bottom edge up to a multiple of a size."""
    bottom, right = (-x.shape[2] % multiple, -x.shape[3] % multiple)
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def _unbatch(features: Features) -> tuple[Features, Features]:
    """Splits features of both sources, stacked along the batch, into those of each."""
    (half_a, half_b), (quarter_a, quarter_b), (eighth_a, eighth_b) = (f.chunk(2) for f in features)
    return (half_a, quarter_a, eighth_a), (half_b, quarter_b, eighth_b)
