"""The network that makes every picture: sources -> pyramids -> common and unique -> weights -> fused.

    sources ── look closely ── confidence and mask      at full size: what is noise, what is in focus
       └─ pyramid, normalised by confidence              levels of detail, and a base
            └─ from the base to the finest level, one set of weights for all:
                 embedding e_i ── common = mean of e_i ── unique_i = e_i - common        (paper, eq. 2)
                 state of each source, and of the scene ── weight of each source ── common share of it
       fused level = sum of the sources' own details, weighted

The network only decides; the pixels are the sources' own. The order of the sources cannot matter, since they meet
only in means and in a softmax. The fused picture is the sum of a common part and one unique part per source, by
construction.

This module imports no engine. `PixelOps` names the operations on pixels, and `Learned` (`blocks.py`) the learned
convolutions. torch trains them; for users, OpenCV runs the first and OpenVINO the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic

from defusion.model.decisions import Closely, Coarser, Level, LevelWeights, Made
from defusion.model.ops import TINY, Learned, P, PixelOps, mean_of_sources
from defusion.model.regions import Region, around, moved, part_of

#: The pyramid ends with a base whose shorter side is about this many pixels.
COARSEST_PX = 8

#: Energy of detail below this, the square of half a level of 255, is rounding.
ENERGY_FLOOR = 4e-6

#: A place with less confidence than the first gets no weight if another source has confidence there: its logits are
#: lowered by up to the second.
NO_CONFIDENCE = 1e-4
ABSENT_LOGITS = 1000.0

#: Factors that bring detail, energy (on its log scale) and light to a size of about one.
DETAIL_SCALE = 20.0
ENERGY_SCALE = 0.3
LIGHT_SCALE = 4.0

#: A place begins to count as clipped at the first value, and counts wholly at the second.
WHITE = (0.92, 1.0)
BLACK = (0.06, 0.0)

#: This many of the finest levels have no state of their own, since they hold nearly all pixels. They use the last
#: state, and the energy of their own detail.
FINE_LEVELS = 2


def levels_of(height: int, width: int) -> int:
    """Returns how many levels of detail a picture has: two or more, since the close look halves a picture twice."""
    return max(2, round(math.log2(min(height, width) / COARSEST_PX)))


class PyramidNet(Generic[P]):
    """The network, made of an engine's operations on pixels and of the learned convolutions."""

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
        core: Region | None = None,
    ) -> Made:
        """Decomposes and fuses sources.

        Args:
            sources: [S N, 3, H, W] in [0, 1]; H and W are multiples of 2^count.
            confidence: Where a source shows anything, [S N, 1, H, W] in [0, 1]; None for everywhere.
            count: Number of levels of detail, two or more.
            coarser: What the coarser levels decided; None to begin with a base made of the sources.
            closely: Look for noise and focus at full size. Not needed if coarser levels have shown neither.
            parts: Make the common and the unique parts, whose sum is the fused picture.
            core: The part for which a result is needed, from multiples of 2^count to such; None for all. The result
                has its size. The sources around it are only looked at. `count` has to be more than `FINE_LEVELS`.
        """
        ops = self.ops
        if confidence is not None:  # the others fill what a source lacks, so that nothing leaks from there
            others = ops.each_source(mean_of_sources(ops, sources, confidence))
            sources = others + confidence * (sources - others)
        looked = self.look_closely(sources, confidence) if closely else Closely(confidence, None)
        levels = self.pyramid(sources, looked.confidence, count)
        masked: list[Any] = [None] * len(levels)
        if looked.mask is not None:
            by_mask = sources * looked.mask
            masked = [
                level.plane if level.detail is None else level.detail
                for level in self.pyramid(by_mask if parts else ops.over_sources(by_mask), None, count)
            ]
        near = None if core is None else around(core, sources.shape[-2:])
        weights, state, one_light = self.decide(levels, coarser, closely, parts, near)
        fine = min(FINE_LEVELS, count)
        if coarser is not None:  # it has the base
            levels, masked = levels[:-1], masked[:-1]
        made = None if coarser is None else coarser.made
        before = made
        for number in range(len(levels) - 1, -1, -1):
            of_near = near if number <= fine else None
            level = Level(*(part_of(plane, of_near, number) for plane in levels[number]))
            band = self.band(weights[number], level, part_of(masked[number], of_near, number), parts)
            if made is not None:
                doubled = [ops.double(each) for each in made]
                if number == fine:
                    doubled = [part_of(each, near, number) for each in doubled]
                band = tuple(each + detail for each, detail in zip(doubled, band, strict=True))
            made = band
            if number == fine:
                before = made
        assert made is not None
        assert before is not None
        if core is not None and near is not None:
            looked = Closely(*(part_of(plane, core, 0) for plane in looked))
            core = moved(core, near)
            made = tuple(part_of(plane, core, 0) for plane in made)
            before = tuple(part_of(plane, core, fine) for plane in before)
            state, one_light = part_of(state, core, fine), part_of(one_light, core, fine)
            weights[0] = LevelWeights(*(part_of(plane, core, 0) for plane in weights[0]))
        return Made(made, Coarser(state, before, one_light), looked, weights)

    def look_closely(self, sources: P, confidence: P | None) -> Closely:
        """Estimates where each source is in focus, and where it holds noise or nothing."""
        ops = self.ops
        light = ops.mean(sources)
        detail = light - ops.double(ops.halve(light))
        energy = self.energy(self.local_power(detail))
        away = light - ops.each_source(mean_of_sources(ops, light, confidence))
        of_pixels = ops.concat([(light - 0.5) * LIGHT_SCALE, detail * DETAIL_SCALE, away * LIGHT_SCALE])
        features = ops.concat([ops.fold(of_pixels), energy * ENERGY_SCALE])
        said = ops.unfold(self.learned.look(features))
        trusted = ops.sigmoid(ops.channels(said, 0, 1))
        if confidence is not None:
            trusted = trusted * confidence
        # Blurred, since the four pixels that the look treats as one have outputs of their own, which may differ where
        # it is in doubt. The fused picture would then change from pixel to pixel.
        logits = ops.blur(ops.channels(said, 1, 2)) + ops.double(energy) * self.learned.by_energy("close")[0]
        return Closely(trusted, self.weights(logits, trusted))

    def pyramid(self, plane: P, confidence: P | None, count: int) -> list[Level]:
        """Splits planes into `count` levels of detail, the finest first, and a base.

        Means are weighted by confidence, so that places without any do not leak into coarser levels.
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
        self,
        levels: Sequence[Level],
        coarser: Coarser | None,
        closely: bool,
        parts: bool,
        near: Region | None = None,
    ) -> tuple[list[LevelWeights], P, P]:
        """Decides for each level, from the coarsest to the finest.

        Args:
            levels: As `pyramid` gives them.
            coarser: What coarser levels decided, at the base's size; None to decide for the base as well.
            closely: There is a mask.
            parts: The parts are asked for.
            near: Where to decide on the fine levels and on the finest that has a state; None for everywhere.

        Returns:
            The decisions, of the finest level first; the last state; and how far a mask decides, at the size of that
            state. The base alone decides the last, since a small part does not show whether all sources are equally
            bright.
        """
        ops = self.ops
        *of_detail, base = levels
        fine = min(FINE_LEVELS, len(of_detail))
        lights = [ops.mean(level.detail) for level in of_detail]
        powers = [self.local_power(light) for light in lights]  # each at half its level's size
        energies = [self.energy(power) for power in powers]
        # Energy, correlation and clipping of the finest level, at the size of each coarser level and of the base.
        alike = self.correlation(lights[0], powers[0], levels[0].confidence)
        finest, marks = [energies[0]], [ops.concat([self.marks(levels[1].plane), alike])]
        for _ in range(len(levels) - 2):
            finest.append(ops.halve(finest[-1]))
            marks.append(ops.halve(marks[-1]))
        weights = []
        if coarser is not None:
            state, by_mask = coarser.state, coarser.by_mask
        else:
            nothing = ops.mean(base.plane) * 0.0
            features = self.features(base, nothing, energies[-1], finest[-1], nothing, marks[-1])
            state = self.learned.state(features, None, base.confidence)
            weights.append(self.level_weights("base", state, energies[-1], finest[-1], base.confidence, parts))
            by_mask = weights[0].by_mask
        for number in range(len(of_detail) - 1, fine - 1, -1):
            level, light = of_detail[number], lights[number]
            energy = ops.double(energies[number])
            correlation = ops.double(self.correlation(light, powers[number], level.confidence))
            features = self.features(level, light, energy, finest[number - 1], correlation, marks[number - 1])
            by_mask = ops.double(by_mask)
            of_finest, confidence = finest[number - 1], level.confidence
            if number == fine:
                state = part_of(state, near, number + 1)
                features, by_mask, energy, of_finest, confidence = (
                    part_of(plane, near, number) for plane in (features, by_mask, energy, of_finest, confidence)
                )
            state = self.learned.state(features, state, confidence)
            level_weights = self.level_weights("level", state, energy, of_finest, confidence, parts)
            weights.append(level_weights._replace(by_mask=by_mask))
        one_light = by_mask
        for number in range(fine - 1, -1, -1):
            energy, of_finest, confidence = (
                part_of(plane, near, number + 1)
                for plane in (energies[number], finest[number], levels[number + 1].confidence)
            )
            level_weights = self.level_weights(
                "fine", state, energy, of_finest, confidence, parts, doublings=fine - 1 - number
            )
            by_mask = ops.double(by_mask) if closely else None
            confidence = part_of(levels[number].confidence, near, number)
            weights.append(self.doubled(level_weights, by_mask, confidence, parts))
        return weights[::-1], state, one_light

    def features(self, level: Level, light: P, energy: P, finest: P, correlation: P, marks: P) -> P:
        """Returns the features of each source at a level, [S N, FEATURES, h, w]."""
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

    def level_weights(
        self, name: str, state: P, energy: P, finest: P, confidence: P | None, parts: bool, *, doublings: int = 0
    ) -> LevelWeights:
        """Reads the decisions for a level from the state.

        Weights follow local energy, as in pyramid blending without a network. The state says how strongly, and what
        counts besides.

        Args:
            name: Which head reads the state: "base", "level" or "fine".
            state: Of each source.
            energy: Local energy of the level's detail, on a log scale.
            finest: The same of the finest detail, at the same size.
            confidence: At the same size.
            parts: The parts are asked for.
            doublings: How often the state's size is doubled to theirs.

        Returns:
            The decisions. Only those for the base say how far a mask decides, and weigh colour by itself.
        """
        ops = self.ops
        said, scene = self.learned.said(name, state)
        for _ in range(doublings):
            said, scene = ops.double(said), ops.double(scene)
        own, of_finest = self.learned.by_energy(name)
        by_energy = ops.channels(said, 1, 2) + own
        by_finest = ops.channels(said, 2, 3) + of_finest
        logits = ops.channels(said, 0, 1) + by_energy * energy + by_finest * finest
        weight = self.weights(logits, confidence)
        common = ops.sigmoid(ops.channels(said, 3, 4)) if parts else None
        if name == "base":
            colour = self.weights(logits + ops.channels(said, 4, 5), confidence)
            return LevelWeights(weight, common, ops.sigmoid(scene), None, colour)
        # exp(-z^2), since the slope of a sigmoid near one is too small to learn from.
        return LevelWeights(weight, common, None, ops.exp(scene * scene * -1.0))

    def doubled(self, weights: LevelWeights, by_mask: P | None, confidence: P | None, parts: bool) -> LevelWeights:
        """Enlarges decisions made at half a level's size to the size of the level and of its confidence."""
        ops = self.ops
        weight = ops.double(weights.weight)
        return LevelWeights(
            weight if confidence is None else self.shares(weight, confidence),
            ops.double(weights.common) if parts else None,
            by_mask,
            ops.double(weights.gain),
        )

    def band(self, weights: LevelWeights, level: Level, masked: P | None, parts: bool) -> tuple[P, ...]:
        """Makes a level of the fused picture, or of its parts, from the sources' own pixels."""
        ops = self.ops
        shown = level.plane if level.detail is None else level.detail
        made = weights.weight * shown
        if weights.colour is not None:
            made = made + (weights.colour - weights.weight) * (shown - ops.mean(shown))
        if not parts:
            made = ops.over_sources(made)
        if masked is not None:
            by_mask = ops.each_source(weights.by_mask) if parts else weights.by_mask
            made = made + by_mask * (masked - made)
        if weights.gain is not None:
            gain = ops.each_source(weights.gain) if parts else weights.gain
            of_light, of_colour = ops.channels(gain, 0, 1), ops.channels(gain, 1, 2)
            made = made * of_colour + ops.mean(made) * (of_light - of_colour)
        if not parts:
            return (made,)
        common = weights.common * made
        return ops.over_sources(common), made - common

    def weights(self, logits: P, confidence: P | None) -> P:
        """Returns the softmax over the sources.

        A place without confidence gets no weight if another source has any.
        """
        ops = self.ops
        if confidence is not None:  # no logit can make up for a place that is missing
            logits = logits - ops.relu(confidence * (-1.0 / NO_CONFIDENCE) + 1.0) * ABSENT_LOGITS
        numerators = ops.exp(logits - ops.each_source(ops.most_of_sources(logits)))
        return self.shares(numerators, confidence)

    def shares(self, numerators: P, confidence: P | None) -> P:
        """Turns the inputs of the softmax, weighted by confidence, into weights that sum to one over the sources."""
        ops = self.ops
        if confidence is not None:
            numerators = numerators * (confidence + TINY)
        weights: P = numerators / (ops.each_source(ops.over_sources(numerators)) + TINY * TINY)
        return weights

    def local_power(self, light: P) -> P:
        """Returns the mean square of the detail around each place, at half the size."""
        return self.ops.blur(self.ops.halve(light * light))

    def energy(self, power: P) -> P:
        """Converts a mean square to a log scale that starts at zero."""
        return self.ops.log(power * (1.0 / ENERGY_FLOOR) + 1.0)

    def correlation(self, light: P, power: P, confidence: P | None) -> P:
        """Returns the local correlation of a source's detail with the mean of all, from -1 to 1, at half the size.

        Args:
            light: The detail.
            power: Its `local_power`.
            confidence: At the size of the detail.
        """
        ops = self.ops
        of_all = ops.each_source(mean_of_sources(ops, light, confidence))
        both = ops.blur(ops.halve(light * of_all))
        likeness: P = both / (ops.sqrt(power * self.local_power(of_all)) + ENERGY_FLOOR)
        return likeness

    def marks(self, plane: P) -> P:
        """Returns how far each place is clipped white and black, and how colourful it is."""
        ops = self.ops
        most, least = ops.most(plane), ops.least(plane)
        white = ops.clamp((most - WHITE[0]) * (1.0 / (WHITE[1] - WHITE[0])), 0.0, 1.0)
        black = ops.clamp((most - BLACK[0]) * (1.0 / (BLACK[1] - BLACK[0])), 0.0, 1.0)
        return ops.concat([white, black, most - least])
