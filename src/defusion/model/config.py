"""The shapes of the networks, as frozen data. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

from defusion.errors import WeightsError

#: The encoder halves the plane three times, so planes are padded to this multiple.
SIZE_MULTIPLE = 8

#: Split attention weighs this many branches against each other (ResNeSt's radix).
RADIX = 2

ProjectionName = Literal["common", "unique"]
HeadName = Literal["pyramid", "paper"]
TaskName = Literal["exposure", "focus", "infrared", "generic"]


class Stage(NamedTuple):
    """Residual blocks in a row, with one output width."""

    width: int
    blocks: int


def attention_width(channels: int) -> int:
    """Returns the hidden width of split attention over `channels` channels."""
    return max(channels * RADIX // 4, 32)


@dataclass(frozen=True)
class NetworkConfig:
    """Widths and block counts of one DeFusion network.

    Encoder stages stand at H, H/2, H/4 and H/8; decoder stages at H/8, H/4, H/2 and H.
    """

    name: str
    stem: int
    """Channels of the 3x3 convolution that opens the encoder."""
    encoder: tuple[Stage, Stage, Stage, Stage]
    ensembler: Stage
    common_decoder: tuple[Stage, Stage, Stage, Stage]
    unique_decoder: tuple[Stage, Stage, Stage, Stage]
    common_projection: ProjectionName = "common"
    """Head that projects f_c: P_c as the paper trains it, or P_u as the authors' test network does."""

    def __post_init__(self) -> None:
        if self.common_decoder[-1].width != self.unique_decoder[-1].width:
            raise WeightsError(
                f"network {self.name!r}: common and unique embeddings are added, so both decoders must end in "
                f"the same width, but they end in {self.common_decoder[-1].width} and "
                f"{self.unique_decoder[-1].width}"
            )
        if self.common_projection not in get_args(ProjectionName):
            raise WeightsError(
                f"network {self.name!r}: no projection {self.common_projection!r}; expected "
                f"{' or '.join(get_args(ProjectionName))}"
            )

    @property
    def heads(self) -> tuple[HeadName, ...]:
        """Reconstruction heads that the weights serve."""
        return ("paper",)

    @property
    def embedding(self) -> int:
        """Channels of each embedding f_c, f_u1, f_u2."""
        return self.common_decoder[-1].width

    @property
    def network_reach_px(self) -> int:
        """Returns how far from its place a pixel of a source changes the parts and the picture of head `paper`.

        Split attention is not counted. Each step on the way adds to it. A 3x3 convolution or pool adds one pixel of
        the plane that it reads, which is as many pixels of the source as its stride. A bilinear doubling adds one
        pixel of the smaller plane.
        """
        decoder = max(_blocks(stages, (8, 4, 2, 1)) for stages in (self.common_decoder, self.unique_decoder))
        return self._encoder_reach_px + decoder + 8 + 4 + 2 + 1

    @property
    def _encoder_reach_px(self) -> int:
        """The same of encoder and ensembler, with stem, smoothing pool and max pool."""
        return _blocks(self.encoder, (1, 2, 4, 8)) + 3 + 8 * self.ensembler.blocks

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> NetworkConfig:
        """Builds a config from what `to_dict` wrote, as JSON gives it back."""
        try:
            stages = {
                key: tuple(Stage(*stage) for stage in data[key])
                for key in ("encoder", "common_decoder", "unique_decoder")
            }
            rest = {**data, "ensembler": Stage(*data["ensembler"]), **stages}
            return cls(**rest)
        except (KeyError, TypeError) as error:
            raise WeightsError(f"not a network config: {error}") from error


@dataclass(frozen=True)
class PyramidConfig:
    """The pyramid network, which makes every picture; see `defusion.model.pyramid`."""

    name: str = "pyramid"

    @property
    def heads(self) -> tuple[HeadName, ...]:
        """Reconstruction heads that the weights serve."""
        return ("pyramid",)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return asdict(self)


def config_from_dict(data: dict[str, Any]) -> NetworkConfig | PyramidConfig:
    """Builds the config of a network from what its `to_dict` wrote, as JSON gives it back."""
    if data == PyramidConfig().to_dict():
        return PyramidConfig()
    return NetworkConfig.from_dict(data)


def _blocks(stages: tuple[Stage, ...], strides: tuple[int, ...]) -> int:
    """How far the blocks of some stages see."""
    return sum(stride * stage.blocks for stage, stride in zip(stages, strides, strict=True))


_RELEASED = NetworkConfig(
    name="released",
    stem=16,
    encoder=(Stage(32, 6), Stage(64, 6), Stage(128, 4), Stage(256, 4)),
    ensembler=Stage(1024, 4),
    common_decoder=(Stage(256, 2), Stage(64, 2), Stage(16, 2), Stage(16, 2)),
    unique_decoder=(Stage(384, 4), Stage(128, 4), Stage(64, 6), Stage(16, 6)),
)

#: The layouts by name. `released` and `deep` are the authors' test and training networks;
#: `small` is ours, about a tenth of the arithmetic, for fusing on a CPU.
CONFIGS: dict[str, NetworkConfig] = {
    "released": _RELEASED,
    "deep": NetworkConfig(
        name="deep",
        stem=16,
        encoder=_RELEASED.encoder,
        ensembler=_RELEASED.ensembler,
        common_decoder=(Stage(256, 4), Stage(64, 4), Stage(16, 6), Stage(16, 6)),
        unique_decoder=_RELEASED.unique_decoder,
    ),
    "small": NetworkConfig(
        name="small",
        stem=16,
        encoder=(Stage(16, 1), Stage(32, 2), Stage(96, 2), Stage(192, 2)),
        ensembler=Stage(384, 2),
        common_decoder=(Stage(128, 2), Stage(64, 2), Stage(24, 1), Stage(16, 1)),
        unique_decoder=(Stage(192, 2), Stage(96, 2), Stage(32, 2), Stage(16, 2)),
    ),
}
