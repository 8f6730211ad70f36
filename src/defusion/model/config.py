"""The shapes of the network and the figures of its heads, as frozen data. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from defusion.errors import WeightsError

#: The encoder halves the plane three times, so planes are padded to this multiple.
SIZE_MULTIPLE = 8

#: A gain multiplies the shadows of a source by at most this factor, or its inverse.
LARGEST_GAIN = 8.0

#: Fine detail is what a Gaussian of the first spread smooths away, and its energy is taken over a window of the
#: second; energy well below the floor, the square of 1.6 levels of 255, is grain and rounding and decides nothing.
DETAIL_PX = 2.0
WINDOW_PX = 3.0
ENERGY_FLOOR = 4e-5
DETAIL_REACH_PX = round(3 * DETAIL_PX) + round(3 * WINDOW_PX)

#: Head `detail` asks no network: a source's odds are its energy of fine detail to this power. On focus pairs of
#: known truth, 1, 2, 4 and 8 stood at 45.6, 50.3, 53.2 and 53.9 dB with a floor of 1e-6, at which flat places come
#: out in patches; with the present one 4 stands at 50.1 dB.
DETAIL_TRUST = 4.0

#: In a stack a frame's odds are e to this many times its lead over the reference: so that 99 frames that are
#: plainly behind do not outweigh the one that is level with it. Log odds end at the second, either way.
STACK_SHARPNESS = 2.0
MOST_ODDS = 60.0

#: Split attention weighs this many branches against each other (ResNeSt's radix).
RADIX = 2

ProjectionName = Literal["common", "unique"]
HeadName = Literal["blend", "select", "pyramid", "sensors", "paper", "detail"]


class Blending(NamedTuple):
    """How a head makes a picture of the sources and the verdict on them."""

    octaves: int = 0
    """Octaves that are blended apart, each by weights of its own coarseness; 0 weighs pixel by pixel."""
    softness: float = 1.0
    """What scores are divided by."""
    detail: float = 0.0
    """Trust in fine detail, beside what the verdict has."""
    levelled: bool = True
    """Sources are brought to the level of the scene; otherwise their pixels pass as they are."""


#: The heads that ask for a verdict. Pixel by pixel a source that is plainly the best passes untouched; where focus is
#: all that sources differ in, their detail tells best which. Where they disagree about tones, the borders of a choice
#: would show: there octaves are blended apart. Between sensors of different kinds scores are surer than they should
#: be, and drop what only the quieter sensor shows.
BLENDINGS: dict[HeadName, Blending] = {
    "blend": Blending(),
    "select": Blending(softness=2.0, detail=4.0, levelled=False),
    "pyramid": Blending(octaves=6),
    "sensors": Blending(octaves=6, softness=2.0, levelled=False),
}


class Stage(NamedTuple):
    """A run of residual blocks of one output width."""

    width: int
    blocks: int


def size_multiple(head: HeadName) -> int:
    """Returns the multiple at which a tile has to begin, for its smaller planes to be those of the whole."""
    return max(SIZE_MULTIPLE, 1 << BLENDINGS[head].octaves) if head in BLENDINGS else SIZE_MULTIPLE


def octaves_reach_px(head: HeadName) -> int:
    """Returns how far the octaves of a head see: two pixels of each octave's smaller plane."""
    return (2 << BLENDINGS[head].octaves) - 2


def gaussian(sigma_px: float) -> NDArray[np.float32]:
    """Returns a Gaussian's values at whole pixels up to three spreads away; their sum is one."""
    reach = round(3 * sigma_px)
    values = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel: NDArray[np.float32] = (values / values.sum()).astype(np.float32)
    return kernel


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
    judges: bool = False
    """The unique decoder also gives a verdict on its source, which the heads in `BLENDINGS` go by."""

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
        """Reconstruction heads that the weights serve; the first is the default."""
        return (*BLENDINGS, "paper", "detail") if self.judges else ("paper", "detail")

    @property
    def embedding(self) -> int:
        """Channels of each embedding f_c, f_u1, f_u2."""
        return self.common_decoder[-1].width

    def reach_px(self, head: HeadName) -> int:
        """Returns how far from its place a pixel of a source changes a head's picture, split attention aside."""
        if head == "detail":
            return DETAIL_REACH_PX
        if head == "paper":
            return self.network_reach_px
        return max(self.verdict_reach_px, DETAIL_REACH_PX) + octaves_reach_px(head)

    @property
    def verdict_reach_px(self) -> int:
        """How far from its place a pixel of a source changes the verdict.

        Each step on the way adds to it: a 3x3 convolution or pool one pixel of the plane that it reads, which is
        as many pixels of the source as its stride; a bilinear doubling one pixel of the smaller plane.
        """
        return self._encoder_reach_px + _blocks(self.unique_decoder[:3], (8, 4, 2)) + 8 + 4 + 2 + 2

    @property
    def network_reach_px(self) -> int:
        """The same of the parts and the picture of head `paper`."""
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
        judges=True,
    ),
}
