"""The network that makes every picture: sources -> pyramids -> common and unique -> weights -> fused.

    sources ── look closely ── confidence and mask      at full size: what is noise, what is in focus
       └─ pyramid, normalised by confidence              levels of detail, and a base
            └─ from the base to the finest level, one set of weights for all:
                 embedding e_i ── common = mean of e_i ── unique_i = e_i - common        (paper, eq. 2)
                 state of each source, and of the scene ── weight of each source ── common share of it
       fused level = sum of the sources' own details, weighed

The network decides; pixels pass through. The order of the sources cannot matter: they meet in means and in a softmax.
The fused picture is the sum of a common part and of one unique part a source, by construction.

Nothing here imports an engine. `Ops` names the operations; torch and OpenVINO both run this one text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple

from defusion.model.ops import Ops, P

#: Levels end where the shorter side of a picture is about so many pixels.
COARSEST_PX = 8

#: Energy of detail below this, the square of half a level of 255, is rounding.
ENERGY_FLOOR = 4e-6

#: Is added to what is divided by, and may be zero.
TINY = 1e-6

#: A place of less confidence than the first does not count, if another does: its logits are lower by as much.
NO_CONFIDENCE = 1e-4
ABSENT_LOGITS = 1000.0

#: Bring features to a size of about one: of detail, of energy on its log scale, of light.
DETAIL_SCALE = 20.0
ENERGY_SCALE = 0.3
LIGHT_SCALE = 4.0

#: Values from which a place counts as clipped white or black: from none to all.
WHITE = (0.92, 1.0)
BLACK = (0.06, 0.0)

#: A source's channels at each level, and of the close look, which are those of four pixels.
WIDTH = 24
CLOSE_WIDTH = 24

#: How many features a level has, and the close look; see `PyramidNet.features` and `look_closely`.
FEATURES = 9
CLOSE_FEATURES = 4


class Level(NamedTuple):
    """A level of the pyramids of all sources."""

    plane: Any
    """The sources at this size, [S N, 3, h, w]."""
    confidence: Any
    """[S N, 1, h, w]; None where all places count alike."""
    detail: Any
    """What the next coarser plane lacks, [S N, 3, h, w]; None of the base."""


class Closely(NamedTuple):
    """What the close look says of each place of each source."""

    confidence: Any
    """How far a place shows the scene, and not noise or nothing: [S N, 1, H, W]; None for everywhere."""
    mask: Any
    """Weights over the sources, for scenes in which light is the same in all, [S N, 1, H, W]; None if not looked."""


class Votes(NamedTuple):
    """What the network decides of a level."""

    weight: Any
    """Of each source, [S N, 1, h, w]; sums to one."""
    shared: Any
    """How much of what a source gives belongs to the common part, [S N, 1, h, w] in [0, 1]."""
    by_mask: Any
    """How far the mask decides in place of the weights, [N, 1, h, w] in [0, 1]."""
    kept: Any
    """How much of the detail is the scene's, and not noise, [N, 1, h, w] in [0, 1]; None of the base, all of it."""


class Coarser(NamedTuple):
    """What is known of a scene from its coarser levels, at half the size of the last level that is still to come."""

    state: Any
    """[S N, WIDTH, h, w]"""
    made: tuple[Any, ...]
    """The fused picture so far, [N, 3, h, w]; or the common part of it and the unique ones, [S N, 3, h, w]."""


class Made(NamedTuple):
    """What the network makes of sources."""

    made: tuple[Any, ...]
    """The fused picture, [N, 3, H, W]; or the common part of it, and the unique ones, [S N, 3, H, W]."""
    coarser: Coarser
    """The same without the finest level."""
    closely: Closely
    votes: list[Votes]
    """From the coarsest level to the finest."""


def levels_of(height: int, width: int) -> int:
    """Returns how many levels of detail a picture has."""
    return max(1, round(math.log2(min(height, width) / COARSEST_PX)))


class PyramidNet(Generic[P]):
    """The network, run by an engine's operations, which hold the weights."""

    def __init__(self, ops: Ops[P]) -> None:
        self.ops = ops

    def forward(
        self,
        sources: P,
        confidence: P | None,
        count: int,
        *,
        coarser: Coarser | None = None,
        closely: bool = True,
        parts: bool = False,
        stateless: int = 1,
    ) -> Made:
        """Decomposes and fuses sources.

        Args:
            sources: [S N, 3, H, W] in [0, 1]; H and W are multiples of 2^count.
            confidence: Where a source shows anything, [S N, 1, H, W] in [0, 1]; None for everywhere.
            count: Number of levels of detail, one or more.
            coarser: What is coarser than those levels; None has it read off the sources.
            closely: Look at full size for noise and focus; not where coarser levels tell that there is neither.
            parts: Make the common and the unique parts, whose sum is the fused picture, in place of that.
            stateless: How many of the finest levels have no state of their own, from one to `count`: they go by the
                last state, and by the energy of their detail. Large scenes are decided so in a third of the time.
        """
        ops = self.ops
        if confidence is not None:  # what a source lacks is filled by the others: nobody sees what it holds there
            others = ops.each_source(self.mean_of_sources(sources, confidence))
            sources = others + confidence * (sources - others)
        near = self.look_closely(sources, confidence) if closely else Closely(confidence, None)
        levels = self.pyramid(sources, near.confidence, count)
        masked: list[Any] = [None] * len(levels)
        if near.mask is not None:
            by_mask = sources * near.mask
            masked = [
                level.plane if level.detail is None else level.detail
                for level in self.pyramid(by_mask if parts else ops.over_sources(by_mask), None, count)
            ]
        votes, state = self.decide(levels, None if coarser is None else coarser.state, stateless)
        if coarser is not None:  # it has the base
            levels, masked = levels[:-1], masked[:-1]
        made = before = None if coarser is None else coarser.made
        for vote, level, of_mask in zip(votes, levels[::-1], masked[::-1], strict=True):
            before = made
            band = self.band(vote, level, of_mask, parts)
            made = band if made is None else tuple(ops.double(m) + b for m, b in zip(made, band, strict=True))
        assert made is not None
        assert before is not None
        return Made(made, Coarser(state, before), near, votes)

    def look_closely(self, sources: P, confidence: P | None) -> Closely:
        """Tells what each place of each source has in focus, and where it is noise or nothing."""
        ops = self.ops
        light = ops.mean(sources)
        detail = light - ops.double(ops.halve(light))
        energy = ops.double(self.local_energy(detail))
        away = light - ops.each_source(self.mean_of_sources(light, confidence))
        features = ops.concat(
            [
                (light - 0.5) * LIGHT_SCALE,
                detail * DETAIL_SCALE,
                energy * ENERGY_SCALE,
                away * LIGHT_SCALE,
            ]
        )
        embedding = ops.relu(ops.conv(ops.fold(features), "close.embed"))
        common, unique = self.common_and_unique(embedding, None)
        state = ops.relu(ops.conv(unique, "close.unique") + ops.each_source(ops.conv(common, "close.common")))
        state = state + ops.relu(ops.conv(state, "close.far", dilation=2))
        state = state + ops.relu(ops.conv(state, "close.farther", dilation=4))
        state = state + ops.relu(ops.conv(state, "close.near"))
        state = ops.relu(ops.conv(ops.concat([ops.unfold(state), features]), "close.full"))
        said = ops.conv(state, "close.head")
        trusted = ops.sigmoid(ops.channels(said, 0, 1))
        if confidence is not None:
            trusted = trusted * confidence
        logits = ops.channels(said, 1, 2) + energy * ops.number("close.energy", 0)
        return Closely(trusted, self.weights(logits, trusted))

    def pyramid(self, plane: P, confidence: P | None, count: int) -> list[Level]:
        """Takes planes apart into so many levels of detail, the finest first, and a base.

        Means are weighed by confidence, so that places of none do not leak into what is coarser.
        """
        ops = self.ops
        levels = []
        for _ in range(count):
            if confidence is None:
                coarse, coarse_confidence = ops.halve(plane), None
                smooth = ops.double(coarse)
            else:
                sums, coarse_confidence = ops.halve(plane * confidence), ops.halve(confidence)
                coarse = sums / (coarse_confidence + TINY)
                smooth = ops.double(sums) / (ops.double(coarse_confidence) + TINY)
            levels.append(Level(plane, confidence, plane - smooth))
            plane, confidence = coarse, coarse_confidence
        levels.append(Level(plane, confidence, None))
        return levels

    def decide(self, levels: Sequence[Level], state: P | None, stateless: int = 1) -> tuple[list[Votes], P]:
        """Decides on each level, from the coarsest to the finest.

        Args:
            levels: As `pyramid` gives them.
            state: Of the sources at the base's size; None has the base decided on, too.
            stateless: How many of the finest levels have no state of their own.

        Returns:
            What is decided, and the last state, at the size of the first of those levels that has one.
        """
        ops = self.ops
        *of_detail, base = levels
        lights = [ops.mean(level.detail) for level in of_detail]
        energies = [self.local_energy(light) for light in lights]  # each at half its level's size
        # What the finest level and its colours say, at the size of each level from the second on, and of the base.
        finest, marks = [energies[0]], [self.marks(levels[1].plane)]
        for _ in range(len(levels) - 2):
            finest.append(ops.halve(finest[-1]))
            marks.append(ops.halve(marks[-1]))
        votes = []
        if state is None:
            nothing = ops.mean(base.plane) * 0.0
            features = self.features(base, nothing, energies[-1], finest[-1], nothing, marks[-1])
            state = self.block(features, None, base.confidence)
            votes.append(self.vote("base", state, energies[-1], finest[-1], base.confidence))
        for number in range(len(of_detail) - 1, stateless - 1, -1):
            level, light = of_detail[number], lights[number]
            energy = ops.double(energies[number])
            correlation = ops.double(self.correlation(light, level.confidence))
            features = self.features(level, light, energy, finest[number - 1], correlation, marks[number - 1])
            state = self.block(features, ops.double(state), level.confidence)
            votes.append(self.vote("level", state, energy, finest[number - 1], level.confidence))
        for number in range(min(stateless, len(of_detail)) - 1, -1, -1):
            of_finest = energies[0] if number == 0 else finest[number]
            doublings = min(stateless, len(of_detail)) - 1 - number
            votes.append(
                self.vote("finest", state, energies[number], of_finest, levels[number].confidence, doublings)
            )
        return votes, state

    def features(self, level: Level, light: P, energy: P, finest: P, correlation: P, marks: P) -> P:
        """Lays side by side what the network reads of each source at a level."""
        confidence = level.confidence
        return self.ops.concat(
            [
                light * DETAIL_SCALE,
                energy * ENERGY_SCALE,
                finest * ENERGY_SCALE,
                correlation,
                (self.ops.mean(level.plane) - 0.5) * LIGHT_SCALE,
                marks,
                light * 0.0 + 1.0 if confidence is None else confidence,
            ]
        )

    def block(self, features: P, coarser: P | None, confidence: P | None) -> P:
        """Returns the state of each source, of its features and of the state at the next coarser level."""
        ops = self.ops
        embedding = ops.conv(features, "embed")
        if coarser is not None:
            embedding = embedding + ops.conv(coarser, "carry")
        common, unique = self.common_and_unique(ops.relu(embedding), confidence)
        state = ops.relu(ops.conv(unique, "unique") + ops.each_source(ops.conv(common, "common")))
        deeper: P = state + ops.relu(ops.conv(state, "state"))
        return deeper

    def vote(
        self, name: str, state: P, energy: P, finest: P, confidence: P | None, doublings: int | None = None
    ) -> Votes:
        """Reads off the state what is decided on a level.

        Energy counts by itself, as in blends that ask no network; the state says by how much, and what else counts.

        Args:
            name: Whose weights read it.
            state: Of each source.
            energy: Of the level's detail; at half its size where the level has no state of its own.
            finest: Of the finest detail, as large.
            confidence: Of the level.
            doublings: How many times as large that energy is as the state; None where the level has its own.
        """
        ops = self.ops
        said = ops.conv(state, f"{name}.source")
        scene = ops.conv(ops.mean_over_sources(state), f"{name}.scene")
        for _ in range(doublings or 0):
            said, scene = ops.double(said), ops.double(scene)
        by_energy = ops.channels(said, 1, 2) + ops.number(f"{name}.energy", 0)
        by_finest = ops.channels(said, 2, 3) + ops.number(f"{name}.energy", 1)
        logits = ops.channels(said, 0, 1) + by_energy * energy + by_finest * finest
        shared = ops.channels(said, 3, 4)
        if doublings is not None:
            logits, shared, scene = ops.double(logits), ops.double(shared), ops.double(scene)
        return Votes(
            self.weights(logits, confidence),
            ops.sigmoid(shared),
            ops.sigmoid(ops.channels(scene, 0, 1)),
            None if name == "base" else ops.sigmoid(ops.channels(scene, 1, 2)),
        )

    def band(self, vote: Votes, level: Level, masked: P | None, parts: bool) -> tuple[P, ...]:
        """Makes a level of the fused picture, or of its parts, of the sources' own pixels."""
        ops = self.ops
        made = vote.weight * (level.plane if level.detail is None else level.detail)
        if not parts:
            made = ops.over_sources(made)
        if masked is not None:
            by_mask = ops.each_source(vote.by_mask) if parts else vote.by_mask
            made = made + by_mask * (masked - made)
        if vote.kept is not None:
            made = made * (ops.each_source(vote.kept) if parts else vote.kept)
        if not parts:
            return (made,)
        common = vote.shared * made
        return ops.over_sources(common), made - common

    def common_and_unique(self, embedding: P, confidence: P | None) -> tuple[P, P]:
        """Splits embeddings into what the sources share and what each has alone (paper, eq. 2)."""
        common = self.mean_of_sources(embedding, confidence)
        return common, embedding - self.ops.each_source(common)

    def mean_of_sources(self, x: P, confidence: P | None) -> P:
        """Returns the mean over the sources, weighed by confidence."""
        ops = self.ops
        if confidence is None:
            return ops.mean_over_sources(x)
        mean: P = ops.over_sources(x * confidence) / (ops.over_sources(confidence) + TINY)
        return mean

    def weights(self, logits: P, confidence: P | None) -> P:
        """Returns the softmax over the sources; a place of no confidence has no weight where another has any."""
        ops = self.ops
        if confidence is not None:  # no logit makes up for a place that is not there
            logits = logits - ops.relu(confidence * (-1.0 / NO_CONFIDENCE) + 1.0) * ABSENT_LOGITS
        odds = ops.exp(logits - ops.each_source(ops.most_of_sources(logits)))
        if confidence is not None:
            odds = odds * (confidence + TINY)
        weights: P = odds / (ops.each_source(ops.over_sources(odds)) + TINY * TINY)
        return weights

    def local_energy(self, light: P) -> P:
        """Returns the energy of detail about each place, on a log scale from zero up, at half the size."""
        ops = self.ops
        return ops.log(ops.blur(ops.halve(light * light)) * (1.0 / ENERGY_FLOOR) + 1.0)

    def correlation(self, light: P, confidence: P | None) -> P:
        """Returns how far a source's detail goes with that of all, from -1 to 1, at half the size."""
        ops = self.ops
        of_all = ops.each_source(self.mean_of_sources(light, confidence))
        both, own, all_ = (ops.blur(ops.halve(x)) for x in (light * of_all, light * light, of_all * of_all))
        likeness: P = both / (ops.sqrt(own * all_) + ENERGY_FLOOR)
        return likeness

    def marks(self, plane: P) -> P:
        """Returns how far each place is clipped white and black, and how colourful it is."""
        ops = self.ops
        most, least = ops.most(plane), ops.least(plane)
        white = ops.clamp((most - WHITE[0]) * (1.0 / (WHITE[1] - WHITE[0])), 0.0, 1.0)
        black = ops.clamp((most - BLACK[0]) * (1.0 / (BLACK[1] - BLACK[0])), 0.0, 1.0)
        return ops.concat([white, black, most - least])


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight, by its name."""
    convolutions = {
        "close.embed": (CLOSE_WIDTH, 4 * CLOSE_FEATURES, 3),
        "close.unique": (CLOSE_WIDTH, CLOSE_WIDTH, 3),
        "close.common": (CLOSE_WIDTH, CLOSE_WIDTH, 3),
        "close.far": (CLOSE_WIDTH, CLOSE_WIDTH, 3),
        "close.farther": (CLOSE_WIDTH, CLOSE_WIDTH, 3),
        "close.near": (CLOSE_WIDTH, CLOSE_WIDTH, 3),
        "close.full": (12, CLOSE_WIDTH // 4 + CLOSE_FEATURES, 3),
        "close.head": (2, 12, 3),
        "embed": (WIDTH, FEATURES, 3),
        "carry": (WIDTH, WIDTH, 1),
        "unique": (WIDTH, WIDTH, 3),
        "common": (WIDTH, WIDTH, 3),
        "state": (WIDTH, WIDTH, 3),
        **{f"{name}.source": (4, WIDTH, 1) for name in ("base", "level", "finest")},
        **{f"{name}.scene": (2, WIDTH, 1) for name in ("base", "level", "finest")},
    }
    found: dict[str, tuple[int, ...]] = {"close.energy": (1,)}
    found |= {f"{name}.energy": (2,) for name in ("base", "level", "finest")}
    for name, (out, into, side) in convolutions.items():
        found |= {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}
    return found
