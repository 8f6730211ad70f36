"""The shapes of the network and the figures of its heads, as frozen data. Nothing here imports torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from defusion.errors import WeightsError

#: The encoder halves the plane three times, so planes are padded to this multiple.
SIZE_MULTIPLE = 8

#: The local energy of an octave's detail is taken over a Gaussian window of so many of its pixels.
WINDOW_PX = 2.0

#: Energy well below the floor, the square of half a level of 255, is rounding and decides nothing.
ENERGY_FLOOR = 4e-6

#: Odds are e to the power of (log odds - middle), log odds being kept within the most of the middle. That factor all
#: sources have alike; so a hundred frames' odds sum to a float32, and none is zero.
MIDDLE_ODDS = 40.0
MOST_ODDS = 80.0

#: In a stack detail counts so many times as much as in a pair.
STACK_SHARPNESS = 3.0

#: Light that is given contrast back is set no nearer to white than so, for the detail that comes on top: what one
#: source shows in the glare of the other.
CONTRAST_ROOM = 0.1

#: How well a frame of a bracket is exposed falls off from the middle of the range like a Gaussian of this spread, as
#: in exposure fusion (Mertens, Kautz and Van Reeth, 2007).
EXPOSED_SPREAD = 0.2

#: From this level on, of one, a channel counts as clipped, the more the nearer it is to one.
CLIPPED_FROM = 0.9

#: Whether details of two sources oppose each other is told over a Gaussian window of so many of an octave's pixels.
OPPOSITION_PX = 3.0

#: Octaves of a picture end where its shorter side is about so many pixels.
COARSEST_PX = 8

#: Head `detail` asks no network: fine detail is what a Gaussian of the first spread smooths away, its energy is taken
#: over a window of the second, and a source's odds are that energy above a floor to a power. On focus pairs of known
#: truth, powers of 1, 2, 4 and 8 stood at 45.6, 50.3, 53.2 and 53.9 dB with a floor of 1e-6, at which flat places
#: come out in patches; with the present one 4 stands at 50.1 dB.
DETAIL_PX = 2.0
DETAIL_WINDOW_PX = 3.0
DETAIL_FLOOR = 4e-5
DETAIL_TRUST = 4.0
DETAIL_REACH_PX = round(3 * DETAIL_PX) + round(3 * DETAIL_WINDOW_PX)

#: Is added to what is divided by and may be zero.
TINY = 1e-6

#: Split attention weighs this many branches against each other (ResNeSt's radix).
RADIX = 2

ProjectionName = Literal["common", "unique"]
HeadName = Literal["pyramid", "paper", "detail"]
TaskName = Literal["exposure", "focus", "infrared", "generic"]
JudgeName = Literal["network", "opposition"]


class Blending(NamedTuple):
    """What counts for a source, octave by octave, in head `pyramid`; see `defusion.model.network.octaves`."""

    detail: float = 1.0
    """Its detail in the octave itself."""
    finest: float = 0.0
    """Its detail in the finest octave."""
    tone: float = 0.0
    """How bright the surroundings of that detail are."""
    rest: float = 0.0
    """How bright it is, for what is coarser than the last octave."""
    rest_detail: float = 0.0
    """Its detail in the last octave, for what is coarser: a place that is clipped white shows none."""
    exposed: float = 0.0
    """Of a stack: how well its light is exposed, in all colours. Of a place that is clipped, or hardly lit, a frame
    tells neither light nor colour."""
    contrast: float = 1.0
    """Of a pair: by how much the mixture of the sources' coarse light, which is paler than they are, is spread about
    its mean; nowhere darker or brighter than both, nor near to white."""
    stretch: float = 1.0
    """Of a pair: by how much at most the coarse light of the paler source is spread about its mean, up to the spread
    of the other's."""
    colour: float = 0.0
    """Of a pair: how much of its colour a place takes from the source that holds it, where the other is clipped."""
    verdict: float = 1.0
    """What is thought of it."""
    judge: JudgeName = "network"
    """Who thinks so: the network, or, of a pair, `defusion.model.network.opposition`."""
    octaves: int | None = None
    """The most octaves that are blended apart; 0 weighs pixel by pixel, by the detail of the finest octave."""

    @property
    def by_pixel(self) -> bool:
        """Whether there are no octaves."""
        return self.octaves == 0

    @property
    def asks_network(self) -> bool:
        """Whether the network's verdict counts."""
        return self.verdict != 0 and self.judge == "network"

    @property
    def asks_opposition(self) -> bool:
        """Whether it counts where details of a pair oppose each other."""
        return self.verdict != 0 and self.judge == "opposition"


#: How head `pyramid` blends each kind of scene. The network learns its verdict through `generic`.
BLENDINGS: dict[TaskName, Blending] = {
    "exposure": Blending(rest=0.6, rest_detail=0.1, exposed=0.5, colour=0.6, verdict=0.0),
    "focus": Blending(detail=2.0, finest=1.6, verdict=0.0),
    "infrared": Blending(
        detail=0.38, tone=2.5, rest=0.8, contrast=1.65, stretch=1.25, verdict=6.0, judge="opposition"
    ),
    "generic": Blending(octaves=0),
}


class Stage(NamedTuple):
    """A run of residual blocks of one output width."""

    width: int
    blocks: int


def in_stack(blending: Blending) -> Blending:
    """Returns what counts for a frame of a stack, where a pair is blended so.

    Detail counts more, so that 99 frames that are plainly behind do not outweigh the one that is sharp. Tone counts
    nothing: two exposures lack the one between them, longer brackets have it, and go by what is well exposed. Nor
    do contrast, stretch, colour and opposition, which need to see all sources at once.
    """
    return blending._replace(
        detail=STACK_SHARPNESS * blending.detail,
        finest=STACK_SHARPNESS * blending.finest,
        tone=0.0,
        rest=0.0,
        rest_detail=0.0,
        contrast=1.0,
        stretch=1.0,
        colour=0.0,
        verdict=0.0 if blending.asks_opposition else blending.verdict,
    )


def octaves_of(height: int, width: int, blending: Blending) -> int:
    """Returns how many octaves a picture is taken apart into."""
    most = max(1, round(math.log2(min(height, width) / COARSEST_PX)))
    return most if blending.octaves is None else min(most, blending.octaves)


#: How far the detail of the finest octave sees: the window over it, and the doubling of what is coarser.
FINEST_REACH_PX = 16


def octaves_reach_px(count: int) -> int:
    """Returns how far the finest octaves see: the windows over detail, and the doubling of what is coarser."""
    return 8 << count


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
    """The unique decoder also gives a verdict on its source, which head `pyramid` goes by."""

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
        return ("pyramid", "paper", "detail") if self.judges else ("paper", "detail")

    @property
    def embedding(self) -> int:
        """Channels of each embedding f_c, f_u1, f_u2."""
        return self.common_decoder[-1].width

    @property
    def network_reach_px(self) -> int:
        """Returns how far from its place a pixel of a source changes the parts and the picture of head `paper`.

        Split attention aside. Each step on the way adds to it: a 3x3 convolution or pool one pixel of the plane that
        it reads, which is as many pixels of the source as its stride; a bilinear doubling one pixel of the smaller
        plane.
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
        judges=True,
    ),
}
