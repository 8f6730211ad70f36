"""DeFusion (Liang et al., ECCV 2022): decompose two sources into common and unique, then fuse.

    a ─ encoder ─┬───────────────── unique decoder ── f_u1 ── P_u ── unique_a
                 ├── ensembler ─┬── common decoder ── f_c ─── P_c ── common
    b ─ encoder ─┴──────────────┴── unique decoder ── f_u2 ── P_u ── unique_b
                                          f_c, f_u1, f_u2 ── P_r ── fused (head `paper`)
                        unique decoder at H/2, sources ── blend ── fused (head `pyramid`)

The encoder and the unique decoder are one module each, shared by both sources. The common decoder reads both encoders
beside the ensembler, as in the authors' code; in the paper f_c takes the ensembler alone. Blocks are ResNeSt
bottlenecks (Zhang et al., 2020) without normalisation. Widths and block counts: `config.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defusion.errors import ImageError, WeightsError
from defusion.model.config import (
    BLENDINGS,
    CLIPPED_FROM,
    CONTRAST_ROOM,
    DETAIL_FLOOR,
    DETAIL_PX,
    DETAIL_TRUST,
    DETAIL_WINDOW_PX,
    ENERGY_FLOOR,
    EXPOSED_SPREAD,
    MIDDLE_ODDS,
    MOST_ODDS,
    OPPOSITION_PX,
    RADIX,
    SIZE_MULTIPLE,
    TINY,
    WINDOW_PX,
    Blending,
    HeadName,
    NetworkConfig,
    Stage,
    TaskName,
    attention_width,
    gaussian,
    octaves_of,
)
from defusion.weights import WeightsFile

Features = tuple[Tensor, Tensor, Tensor]
"""Of one source, at H/2, H/4 and H/8."""


class Verdict(NamedTuple):
    """What is thought of a source, place by place: each [..., 1, H/2, W/2], of any range."""

    score: Tensor
    """How well the source shows the scene."""
    trust: Tensor
    """How far its detail is the scene's own, and not noise."""

    @classmethod
    def of(cls, judged: Tensor) -> Verdict:
        """Reads what `Judge` or `opposition` gave, [..., 2, H/2, W/2]."""
        return cls(*judged.chunk(2, dim=-3))


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
    judged: Tensor | None = None
    """What the verdict on the sources is read off; None also where the network does not judge."""


class SplitAttention(nn.Module):
    """A 3x3 convolution of two branches, mixed by weights read off their average over the plane.

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
        """Reads the weights of both branches, [2, N, C, 1, 1], off their average."""
        context = (first + second).mean((2, 3), keepdim=True)  # [N, C, 1, 1]
        logits = self.excite(F.relu(self.squeeze(context)))
        return torch.stack(logits.chunk(RADIX, dim=1)).softmax(0)


Weigh = Callable[[SplitAttention, Tensor, Tensor], Tensor]
#: Where split attention has its weights from, in the running thread.
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
    """One source to features at H/2, H/4 and H/8."""

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
    """Ensembled features and encoder features up to a full-resolution embedding.

    Both decoders are of this class: the common one sees the features of both sources, the unique one
    those of the source that it speaks for.
    """

    def __init__(self, config: NetworkConfig, stages: tuple[Stage, Stage, Stage, Stage], sources: int) -> None:
        super().__init__()
        _, half, quarter, eighth = (sources * stage.width for stage in config.encoder)
        self.scale8 = residual_layer(config.ensembler.width + eighth, stages[0])
        self.scale4 = residual_layer(stages[0].width + quarter, stages[1])
        self.scale2 = residual_layer(stages[1].width + half, stages[2])
        self.scale1 = residual_layer(stages[2].width, stages[3])

    def forward(self, ensembled: Tensor, features: Features) -> tuple[Tensor, Tensor]:
        """Returns the embedding's last stage but one, at H/2, and the embedding."""
        half, quarter, eighth = features
        x = self.scale8(torch.cat([ensembled, eighth], 1))
        x = self.scale4(torch.cat([_up(x), quarter], 1))
        x = self.scale2(torch.cat([_up(x), half], 1))
        return x, self.scale1(_up(x))


class Projection(nn.Module):
    """Head from an embedding to a picture: 3x3 convolution and ReLU (the paper's P_c, P_u and P_r)."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(embedding, 3, 3, padding=1)

    def forward(self, embedding: Tensor) -> Tensor:
        return F.relu(self.conv(embedding))


class Judge(nn.Module):
    """Gives the verdict on the sources by which their own pixels make the picture; see `octaves`.

    It reads the unique decoder's stage at H/2: a verdict may be coarse, the borders of a choice are as fine as the
    sources' detail.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, len(Verdict._fields), 3, padding=1)

    def forward(self, halves: Tensor) -> Tensor:
        """Judges by stages [S, N, C, H/2, W/2]; see `Verdict.of`."""
        return torch.stack([self.conv(half).float() for half in halves])


def blend(
    sources: Tensor,
    judged: Tensor,
    blending: Blending,
    *,
    count: int | None = None,
    scale: int = 2,
    finest: Tensor | None = None,
    rest: Tensor | None = None,
    with_colour: bool = True,
) -> Tensor:
    """Makes a picture, [N, 3, H, W], of a pair and what was judged of it.

    Args:
        sources: [2, N, 3, H, W].
        judged: The verdict on each, [2, N, 2, H/scale, W/scale], rounded up.
        blending: What counts for a source.
        count: Number of octaves; None for those of a whole picture of this size.
        scale: How many pixels of a source are one of the verdict.
        finest: What `octaves` takes, of each source: [2, N, 1, H, W].
        rest: What is coarser than the last octave, where that is known.
        with_colour: Give clipped places their colour; not where the picture will be the rest of another.
    """
    height, width = sources.shape[3:]
    count = octaves_of(height, width, blending) if count is None else count
    blending = blending._replace(exposed=0.0)  # counts in stacks alone
    of_finest = [None] * len(sources) if finest is None else list(finest)
    of_sources = [
        octaves(source, verdict, count, blending, scale=scale, finest=active, with_rest=rest is None)
        for source, verdict, active in zip(sources, judged, of_finest, strict=True)
    ]
    *details, last = (torch.stack(parts) for parts in zip(*of_sources, strict=True))
    if rest is None and count:
        rest = mixed_rest(last, blending)
    else:
        details.append(last)
    fused = collapse([each.sum(0) for each in details], rest)[..., :height, :width]
    return recoloured(fused, sources, blending.colour) if blending.colour and with_colour else fused


def octaves(
    source: Tensor,
    judged: Tensor,
    count: int,
    blending: Blending,
    *,
    scale: int = 2,
    finest: Tensor | None = None,
    with_rest: bool = True,
) -> list[Tensor]:
    """Takes a source apart into octaves of detail (Burt and Adelson, 1983), and weighs each place of each.

    The odds of a place are e to the power of: its local energy of detail in this octave and in the finest, on a log
    scale, the more trusted the more; the verdict's score; for the light that a source may have alone, its tone; and,
    in a stack, how well it is exposed. What is coarser than the last octave goes by score, tone, exposure and the
    detail in that octave.

    Args:
        source: [N, 3, H, W].
        judged: The verdict on it, [N, 2, H/scale, W/scale], rounded up.
        count: Number of octaves.
        blending: How much each of all that counts.
        scale: How many pixels of the source are one of the verdict, a power of two.
        finest: Where the source is an overview, what `activity_of_finest` says of the scene, [N, 1, H, W].
        with_rest: Give what is coarser than the last octave, too.

    Returns:
        A part of each octave, [N, 4, H/2^k, W/2^k] for k from 0: detail times odds, and the odds. Parts of several
        sources add up; `collapse` makes a picture of their sum. The source's right and bottom edge are repeated up to
        a multiple of 2^count. With a count of zero one part holds the source itself, weighed as its finest octave.
    """
    plane = _pad(source, 2 ** max(count, 1))
    verdicts = _at_octaves(judged, plane, count, scale)
    if finest is not None:
        finest = _pad(finest, 2 ** max(count, 1))
    parts = []
    for verdict in verdicts[: max(count, 1)]:
        coarse = F.avg_pool2d(plane, 2)
        smooth = _up(coarse)
        detail = plane - smooth
        active = activity(detail)
        if finest is None:
            finest = active
        trusted = (blending.detail + blending.verdict * verdict.trust) * active + blending.finest * finest
        lit = blending.tone * _mean(smooth) + blending.exposed * exposure(smooth)
        odds = _odds(trusted + blending.verdict * verdict.score + lit)
        if count == 0:
            return [torch.cat([odds * plane, odds], 1)]
        parts.append(torch.cat([odds * detail, odds], 1))
        plane, finest = coarse, F.avg_pool2d(finest, 2)
    if with_rest:
        shown = blending.rest * _mean(plane) + blending.rest_detail * F.avg_pool2d(active, 2)
        odds = _odds(blending.verdict * verdicts[count].score + shown + blending.exposed * exposure(plane))
        parts.append(torch.cat([odds * plane, odds], 1))
    return parts


def collapse(parts: Sequence[Tensor], rest: Tensor | None = None) -> Tensor:
    """Makes a picture, [N, 3, H, W], of the sums of all sources' octaves, and of what is coarser than the last.

    Args:
        parts: As `octaves` gives them, the finest first.
        rest: [N, 3, h, w], half the size of the last part; None where the last part is the rest.
    """
    details = [part[:, :3] / part[:, 3:] for part in parts]
    picture = details.pop() if rest is None else rest
    for detail in reversed(details):
        picture = _up(picture)[..., : detail.shape[2], : detail.shape[3]] + detail
    return picture


def mixed_rest(parts: Tensor, blending: Blending) -> Tensor:
    """Mixes what is coarser than the last octave, [N, 3, h, w], of all sources' parts of it, [S, N, 4, h, w].

    Of two lights the paler one hardly shows; so it is stretched first. A mixture is paler than either. So it is set
    farther from its mean, but stays between the sources: where they agree nothing was lost. Nor is it set so near to
    white that detail would be clipped.
    """
    odds = parts[:, :, 3:]
    planes = stretched(parts[:, :, :3] / odds, blending.stretch)
    mixed = (odds * planes).sum(0) / odds.sum(0)
    mean = mixed.mean((1, 2, 3), keepdim=True)
    brightest = planes.amax(0).clamp(max=1 - CONTRAST_ROOM).maximum(mixed)
    return (mean + blending.contrast * (mixed - mean)).clamp(planes.amin(0), brightest)


def stretched(planes: Tensor, most: float) -> Tensor:
    """Sets each source, [S, N, 3, h, w], farther from its mean, to the widest spread, so many times at most."""
    differences = planes - planes.mean((2, 3, 4), keepdim=True)
    spread = differences.square().mean((2, 3, 4), keepdim=True).sqrt()
    times = (spread.amax(0) / (spread + TINY)).clamp(1, most)
    return (planes + (times - 1) * differences).clamp(0, 1)


def recoloured(fused: Tensor, sources: Tensor, share: float) -> Tensor:
    """Takes a share of the colour of places that one of two sources has clipped from the other, which holds it.

    Channels clip one after the other, so a blue sky turns turquoise, then white. Chroma grows with brightness, but to
    twice of what it was at most, as noise in the dark would grow with it. Brightness stays as it is, and where it has
    no room for so much chroma, there is less of it: the hue does not turn.

    Args:
        fused: [N, 3, H, W].
        sources: [2, N, 3, H, W].
        share: From 0 to 1, where all channels are clipped; less where some are.
    """
    others = sources.flip(0)
    bright, of_others = _mean(fused).clamp(0, 1), _mean(others)
    gain = 2 * bright / (bright + of_others + TINY)
    room_up = (1 - bright) / (others.amax(2, keepdim=True) - of_others + TINY)
    room_down = bright / (of_others - others.amin(2, keepdim=True) + TINY)
    chroma = gain.minimum(room_up).minimum(room_down) * (others - of_others)
    clipped = ((sources - CLIPPED_FROM) / (1 - CLIPPED_FROM)).clamp(0, 1)
    weight = share * _mean(clipped) * (1 - clipped.flip(0).amax(2, keepdim=True))
    return fused + (weight * (bright + chroma - fused)).sum(0)


def activity(detail: Tensor) -> Tensor:
    """Returns the local energy of detail [N, 3, H, W] above the floor, on a log scale from zero: [N, 1, H, W]."""
    energy = _gaussian(_mean(detail) ** 2, WINDOW_PX)
    return (energy / ENERGY_FLOOR + 1).log()


def exposure(light: Tensor) -> Tensor:
    """Returns how well light [N, 3, H, W] is exposed, on a log scale from zero down: [N, 1, H, W]."""
    return (light - 0.5).square().sum(-3, keepdim=True) / (-2 * EXPOSED_SPREAD**2)


def activity_of_finest(source: Tensor) -> Tensor:
    """Returns the activity of the finest octave of a source, [N, 3, H, W]: [N, 1, H, W]."""
    plane = _pad(source, 2)
    active = activity(plane - _up(F.avg_pool2d(plane, 2)))
    return active[..., : source.shape[2], : source.shape[3]]


def opposition(sources: Tensor, count: int) -> Tensor:
    """Judges two sources by where their details oppose each other: a mixture would cancel both out.

    There the source that is brighter than its surroundings has a score, and trust as high: a warm person, or a lamp.
    What is opposed in an octave is one thing, so those of all octaves from the second on add up. Being trusted, a
    source leads by detail of its own: it does not wipe out what the other alone has.

    Args:
        sources: [2, N, 3, H, W].
        count: Number of octaves.

    Returns:
        What the verdict is read off, [2, N, 2, H/2, W/2], rounded up.
    """
    height, width = sources.shape[3:]
    plane = F.avg_pool2d(_pad(_mean(sources.flatten(0, 1)), 2 ** max(count, 1)), 2)
    scores = []
    for _ in range(count - 1):
        coarse = F.avg_pool2d(plane, 2)
        detail = plane - _up(coarse)
        a, b = detail.chunk(2)
        energy_a, energy_b, shared = (_gaussian(product, OPPOSITION_PX) for product in (a * a, b * b, a * b))
        opposed = (-shared / ((energy_a * energy_b).sqrt() + ENERGY_FLOOR)).clamp(min=0)
        scores.append(opposed.repeat(2, 1, 1, 1) * _gaussian(detail.clamp(min=0), OPPOSITION_PX))
        plane = coarse
    score = torch.zeros_like(plane)
    for finer in reversed(scores):
        score = _up(score) + finer
    score = score[..., : (height + 1) // 2, : (width + 1) // 2]
    return torch.cat([score, score], 1).view(*sources.shape[:2], 2, *score.shape[2:])


def detail_odds(sources: Tensor) -> Tensor:
    """Head `detail`, which asks no network: the odds of sources [S, N, 3, H, W] by detail alone, [S, N, 1, H, W]."""
    luminance = _mean(sources.flatten(0, 1))
    energy = _gaussian((luminance - _gaussian(luminance, DETAIL_PX)) ** 2, DETAIL_WINDOW_PX)
    odds: Tensor = (energy / DETAIL_FLOOR + 1) ** DETAIL_TRUST
    return odds.view(*sources.shape[:2], 1, *sources.shape[3:])


def by_detail(sources: Tensor) -> Tensor:
    """Fuses sources [S, N, 3, H, W] by head `detail`: [N, 3, H, W]."""
    odds = detail_odds(sources)
    return (odds * sources).sum(0) / odds.sum(0)


def _at_octaves(judged: Tensor, plane: Tensor, count: int, scale: int) -> list[Verdict]:
    """The verdict at the size of each octave of a plane, and of what is coarser than the last."""
    level = scale.bit_length() - 1
    at = {level: judged}
    for octave in reversed(range(level)):
        at[octave] = _up(at[octave + 1])
    at = {octave: _fit(each, *(side >> octave for side in plane.shape[2:])) for octave, each in at.items()}
    for octave in range(level, count):
        at[octave + 1] = F.avg_pool2d(at[octave], 2)
    return [Verdict.of(at[octave]) for octave in range(count + 1)]


def _odds(log_odds: Tensor) -> Tensor:
    return (log_odds - MIDDLE_ODDS).clamp(-MOST_ODDS, MOST_ODDS).exp()


def _mean(planes: Tensor) -> Tensor:
    """Of red, green and blue."""
    return planes.mean(-3, keepdim=True)


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
        if config.judges:
            self.judge = Judge(config.unique_decoder[2].width)

    @classmethod
    def from_file(cls, path: str | Path) -> DeFusion:
        """Loads a weights file that `defusion train` or `defusion weights convert` wrote.

        Returns:
            The network in float32 and eval mode.

        Raises:
            WeightsError: The file is not a defusion weights file, or its tensors do not fit its config.
        """
        file = WeightsFile.open(path)
        network = cls(file.config)
        tensors = {key: torch.from_numpy(value) for key, value in file.tensors().items()}
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise WeightsError(f"{path}: the tensors do not fit the file's own config: {error}") from error
        return network.eval()

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        *,
        embeddings: bool = False,
        head: HeadName | None = None,
        task: TaskName = "generic",
    ) -> Decomposition:
        """Decomposes and fuses two batches of source images.

        Args:
            a: First sources, [N, 3, H, W], RGB in [0, 1], any H and W.
            b: Second sources, of the same shape.
            embeddings: Give f_c, f_u1 and f_u2 too.
            head: Reconstruction head; the config's first when None.
            task: What head `pyramid` blends for.

        Raises:
            ImageError: The batches differ in shape or are not [N, 3, H, W].
            WeightsError: The network has no such head.
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3:
            raise ImageError(
                f"sources have shapes {list(a.shape)} and {list(b.shape)}; expected twice the same [N, 3, H, W]"
            )
        head = head or self.config.heads[0]
        if head not in self.config.heads:
            raise WeightsError(f"network {self.config.name!r} has the heads {self.config.heads}, not {head!r}")
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
        _, f_c = self.common_decoder(ensembled, both)
        half_1, f_u1 = self.unique_decoder(ensembled, features_a)
        half_2, f_u2 = self.unique_decoder(ensembled, features_b)

        # Project: common and unique pictures.
        project_c = self.project_common if self.config.common_projection == "common" else self.project_unique
        common, unique_a, unique_b = project_c(f_c), self.project_unique(f_u1), self.project_unique(f_u2)

        # Fuse: paint the scene from all three embeddings (P_r), or blend the sources by the verdict on them.
        judged = self.judge(torch.stack([half_1, half_2])) if self.config.judges else None
        if judged is not None:
            judged = judged[..., : (height + 1) // 2, : (width + 1) // 2]
        sources = torch.stack([a, b])[..., :height, :width]
        if head == "detail":
            fused = by_detail(sources)
        elif head == "paper" or judged is None:
            fused = self.project_fused(f_c + f_u1 + f_u2)
        else:
            blending = BLENDINGS[task]
            count = octaves_of(height, width, blending)
            fused = blend(sources, opposition(sources, count) if blending.asks_opposition else judged, blending)

        planes = [common, unique_a, unique_b, fused, *((f_c, f_u1, f_u2) if embeddings else ())]
        made = Decomposition(*(plane[..., :height, :width] for plane in planes))
        return made._replace(judged=judged) if embeddings else made


def _gaussian(x: Tensor, sigma_px: float) -> Tensor:
    """Smooths one channel, [N, 1, H, W]; beyond the edge it is repeated."""
    kernel = torch.from_numpy(gaussian(sigma_px)).to(x)
    reach = len(kernel) // 2
    with torch.autocast(x.device.type, enabled=False):
        x = F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), kernel.view(1, 1, 1, -1))
        return F.conv2d(x, kernel.view(1, 1, -1, 1))


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Repeats the right and bottom edge up to a multiple of a size."""
    bottom, right = (-x.shape[2] % multiple, -x.shape[3] % multiple)
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def _fit(x: Tensor, height: int, width: int) -> Tensor:
    """Crops the right and bottom edge to a size, or repeats it up to that."""
    bottom, right = max(height - x.shape[2], 0), max(width - x.shape[3], 0)
    return F.pad(x, (0, right, 0, bottom), mode="replicate")[..., :height, :width]


def _unbatch(features: Features) -> tuple[Features, Features]:
    """Splits features of both sources, stacked along the batch, into those of each."""
    (half_a, half_b), (quarter_a, quarter_b), (eighth_a, eighth_b) = (f.chunk(2) for f in features)
    return (half_a, quarter_a, eighth_a), (half_b, quarter_b, eighth_b)
