"""The network that makes every picture: sources -> pyramids -> common and unique -> weights -> fused.

    sources ── look closely ── confidence and mask      at full size: what is noise, what is in focus
       └─ pyramid, normalised by confidence              levels of detail, and a base
            └─ from the base to the finest level, one set of weights for all:
                 embedding e_i ── common = mean of e_i ── unique_i = e_i - common        (paper, eq. 2)
                 state of each source, and of the scene ── weight of each source ── common share of it
       fused level = sum of the sources' own details, weighed

The network decides; pixels pass through. The order of the sources cannot matter: they meet in means and in a softmax.
The fused picture is the sum of a common part and of one unique part a source, by construction.

Nothing here imports an engine. `PixelOps` names the operations on pixels, `Learned` what the network learns
(`blocks.py`): torch trains both, and `runtime` has OpenCV and OpenVINO run them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple

from defusion.model.ops import TINY, Learned, P, PixelOps, mean_of_sources

#: Levels end where the shorter side of a picture is about so many pixels.
COARSEST_PX = 8

#: Energy of detail below this, the square of half a level of 255, is rounding.
ENERGY_FLOOR = 4e-6

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

#: How many of the finest levels have no state of their own: they go by the last state, and by the energy of their
#: detail. Nearly all pixels lie on these.
FINE_LEVELS = 2


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
    """How much of what a source gives belongs to the common part, [S N, 1, h, w] in [0, 1]; None if nobody asks."""
    by_mask: Any
    """How far the mask decides in place of the weights, [N, 1, h, w] in [0, 1]; None without a mask."""
    kept: Any
    """How much of the detail is the scene's, and not noise, [N, 1, h, w] in [0, 1]; None of the base, all of it."""


class Coarser(NamedTuple):
    """What is known of a scene from its coarser levels: all but the fine ones, at the size of the last of them."""

    state: Any
    """[S N, WIDTH, h, w]"""
    made: tuple[Any, ...]
    """The fused picture so far, [N, 3, h, w]; or the common part of it and the unique ones, [S N, 3, h, w]."""
    by_mask: Any
    """How far a mask decides in place of the weights, [N, 1, h, w] in [0, 1]."""


class Made(NamedTuple):
    """What the network makes of sources."""

    made: tuple[Any, ...]
    """The fused picture, [N, 3, H, W]; or the common part of it, and the unique ones, [S N, 3, H, W]."""
    coarser: Coarser
    """The same without the fine levels."""
    closely: Closely
    votes: list[Votes]
    """From the finest level to the coarsest, as `PyramidNet.pyramid` has the levels."""


def levels_of(height: int, width: int) -> int:
    """Returns how many levels of detail a picture has."""
    return max(1, round(math.log2(min(height, width) / COARSEST_PX)))


class PyramidNet(Generic[P]):
    """The network, run by an engine's operations on pixels, and by what it has learned."""

    def __init__(self, ops: PixelOps[P], learned: Learned[P]) -> None:
        self.ops, self.learned = ops, learned

    def forward(
        self,
        sources: P,
        confidence: P | None,
        count: int,
        *,
        coarser: Coarser | None = None,
        closely: bool = True,
        parts: bool = False,
    ) -> Made:
        """Decomposes and fuses sources.

        Args:
            sources: [S N, 3, H, W] in [0, 1]; H and W are multiples of 2^count.
            confidence: Where a source shows anything, [S N, 1, H, W] in [0, 1]; None for everywhere.
            count: Number of levels of detail, one or more.
            coarser: What is coarser than those levels; None has it read off the sources.
            closely: Look at full size for noise and focus; not where coarser levels tell that there is neither.
            parts: Make the common and the unique parts, whose sum is the fused picture, in place of that.
        """
        ops = self.ops
        if confidence is not None:  # what a source lacks is filled by the others: nobody sees what it holds there
            others = ops.each_source(mean_of_sources(ops, sources, confidence))
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
        votes, state, one_light = self.decide(levels, coarser, closely, parts)
        if coarser is not None:  # it has the base
            levels, masked = levels[:-1], masked[:-1]
        made = None if coarser is None else coarser.made
        before = made
        for number in range(len(levels) - 1, -1, -1):
            band = self.band(votes[number], levels[number], masked[number], parts)
            made = band if made is None else tuple(ops.double(m) + b for m, b in zip(made, band, strict=True))
            if number == min(FINE_LEVELS, count):
                before = made
        assert made is not None
        assert before is not None
        return Made(made, Coarser(state, before, one_light), near, votes)

    def look_closely(self, sources: P, confidence: P | None) -> Closely:
        """Tells what each place of each source has in focus, and where it is noise or nothing."""
        ops = self.ops
        light = ops.mean(sources)
        detail = light - ops.double(ops.halve(light))
        energy = self.local_energy(detail)
        away = light - ops.each_source(mean_of_sources(ops, light, confidence))
        of_pixels = ops.concat([(light - 0.5) * LIGHT_SCALE, detail * DETAIL_SCALE, away * LIGHT_SCALE])
        features = ops.concat([ops.fold(of_pixels), energy * ENERGY_SCALE])
        said = ops.unfold(self.learned.look(features))
        trusted = ops.sigmoid(ops.channels(said, 0, 1))
        if confidence is not None:
            trusted = trusted * confidence
        logits = ops.channels(said, 1, 2) + ops.double(energy) * self.learned.by_energy("close")[0]
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

    def decide(
        self, levels: Sequence[Level], coarser: Coarser | None, closely: bool, parts: bool
    ) -> tuple[list[Votes], P, P]:
        """Decides on each level, from the coarsest to the finest.

        Args:
            levels: As `pyramid` gives them.
            coarser: What is known at the base's size; None has the base decided on, too.
            closely: There is a mask.
            parts: The parts are asked for.

        Returns:
            What is decided, of the finest level first; the last state; and how far a mask decides, as large. The base
            alone says that: whether light is the same in all sources is not to be seen in a small part of them.
        """
        ops = self.ops
        *of_detail, base = levels
        fine = min(FINE_LEVELS, len(of_detail))
        lights = [ops.mean(level.detail) for level in of_detail]
        energies = [self.local_energy(light) for light in lights]  # each at half its level's size
        # What the finest level and its colours say, at the size of each level from the second on, and of the base.
        alike = self.correlation(lights[0], levels[0].confidence)
        finest, marks = [energies[0]], [ops.concat([self.marks(levels[1].plane), alike])]
        for _ in range(len(levels) - 2):
            finest.append(ops.halve(finest[-1]))
            marks.append(ops.halve(marks[-1]))
        votes = []
        if coarser is not None:
            state, by_mask = coarser.state, coarser.by_mask
        else:
            nothing = ops.mean(base.plane) * 0.0
            features = self.features(base, nothing, energies[-1], finest[-1], nothing, marks[-1])
            state = self.learned.state(features, None, base.confidence)
            votes.append(self.vote("base", state, energies[-1], finest[-1], base.confidence))
            by_mask = votes[0].by_mask
        for number in range(len(of_detail) - 1, fine - 1, -1):
            level, light = of_detail[number], lights[number]
            energy = ops.double(energies[number])
            correlation = ops.double(self.correlation(light, level.confidence))
            features = self.features(level, light, energy, finest[number - 1], correlation, marks[number - 1])
            state = self.learned.state(features, state, level.confidence)
            by_mask = ops.double(by_mask)
            vote = self.vote("level", state, energy, finest[number - 1], level.confidence)
            votes.append(vote._replace(by_mask=by_mask))
        one_light = by_mask
        for number in range(fine - 1, -1, -1):
            vote = self.vote(
                "fine",
                state,
                energies[number],
                finest[number],
                levels[number + 1].confidence,
                doublings=fine - 1 - number,
            )
            by_mask = ops.double(by_mask) if closely else None
            votes.append(self.doubled(vote, by_mask, levels[number].confidence, parts))
        return votes[::-1], state, one_light

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

    def vote(self, name: str, state: P, energy: P, finest: P, confidence: P | None, *, doublings: int = 0) -> Votes:
        """Reads off the state what is decided on a level.

        Energy counts by itself, as in blends that ask no network; the state says by how much, and what else counts.

        Args:
            name: Whose weights read it.
            state: Of each source.
            energy: Of the level's detail.
            finest: Of the finest detail, as large.
            confidence: As large.
            doublings: How many times as large those are as the state.

        Returns:
            What is decided; how far a mask decides of the base alone.
        """
        ops = self.ops
        said, scene = self.learned.said(name, state)
        for _ in range(doublings):
            said, scene = ops.double(said), ops.double(scene)
        own, of_finest = self.learned.by_energy(name)
        by_energy = ops.channels(said, 1, 2) + own
        by_finest = ops.channels(said, 2, 3) + of_finest
        logits = ops.channels(said, 0, 1) + by_energy * energy + by_finest * finest
        weight, shared = self.weights(logits, confidence), ops.sigmoid(ops.channels(said, 3, 4))
        if name == "base":
            return Votes(weight, shared, ops.sigmoid(scene), None)
        # Noise is squared, since the slope of a sigmoid near one is too small to learn from.
        return Votes(weight, shared, None, ops.exp(scene * scene * -1.0))

    def doubled(self, vote: Votes, by_mask: P | None, confidence: P | None, parts: bool) -> Votes:
        """Brings what is decided at half a level's size to the level, whose confidence this is."""
        ops = self.ops
        weight = ops.double(vote.weight)
        return Votes(
            weight if confidence is None else self.shares(weight, confidence),
            ops.double(vote.shared) if parts else None,
            by_mask,
            ops.double(vote.kept),
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

    def weights(self, logits: P, confidence: P | None) -> P:
        """Returns the softmax over the sources; a place of no confidence has no weight where another has any."""
        ops = self.ops
        if confidence is not None:  # no logit makes up for a place that is not there
            logits = logits - ops.relu(confidence * (-1.0 / NO_CONFIDENCE) + 1.0) * ABSENT_LOGITS
        odds = ops.exp(logits - ops.each_source(ops.most_of_sources(logits)))
        return self.shares(odds, confidence)

    def shares(self, odds: P, confidence: P | None) -> P:
        """Returns odds, counted by confidence, as weights that sum to one over the sources."""
        ops = self.ops
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
        of_all = ops.each_source(mean_of_sources(ops, light, confidence))
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
