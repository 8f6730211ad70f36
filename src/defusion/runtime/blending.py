"""Head `pyramid` as OpenVINO graphs: pixels, and the network's verdict on them.

They hold no weights, and run in float32 whatever the network runs in: a verdict may be coarse, pixels may not.
`defusion.model.network` has the same in torch, and says why. Here a pair is arranged for speed, by identities:

- The weights of two sources sum to one and octaves are linear, so the picture is source b plus what is left of a - b.
- Scores and tones matter by their difference alone; detail is weighed by the sources' luminances.
- A convolution of few channels keeps a processor's vectors mostly empty. So what doubles a plane gives the four
  pixels of each as channels, and what smooths a row gives sixteen neighbours at once; what smooths columns is a
  product of matrices.

A convolution leaves its channels last, and few of them are worked on as slowly as if they were sixteen. So planes are
put in order, row by row, before anything is done to them pixel by pixel: that halved the time of a blend.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

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
    TINY,
    WINDOW_PX,
    Blending,
    TaskName,
    gaussian,
    in_stack,
)
from defusion.runtime.graph import named
from defusion.runtime.vino import Model, Node, Output, PartialShape, op

#: A bilinear pixel between two of the smaller plane: the nearer, the farther.
_NEARER, _FARTHER = 0.75, 0.25

#: Neighbours in a row that are smoothed at once, a vector of the processor, and rows of a column.
_ACROSS, _DOWN = 16, 32


def blend(task: TaskName, count: int, scale: int, rest_given: bool, finest_given: bool, with_colour: bool) -> Model:
    """Sources [2, 3, H, W] and their `judged` to `fused`, [1, 3, H, W]; see `Engine.blend`."""
    blending = BLENDINGS[task]
    sources, judged, rest = _plane("sources", 2, 3), _plane("judged", 2, 2), _plane("rest", 1, 3)
    of_finest = _plane("finest", 2, 1)
    padded = _padded(sources, 2 ** max(count, 1))
    a, b = op.split(padded, 0, 2).outputs()
    verdicts = _Verdicts(judged, padded, blending, scale)
    change, tones = op.subtract(a, b), _mean(padded)
    details = []
    finest: Node | None = _difference(_padded(of_finest, 2 ** max(count, 1))) if finest_given else None
    for octave in range(max(count, 1)):
        coarse, coarse_tones = _halved(change, 3), _halved(tones, 1)
        smooth_tones = _doubled(coarse_tones, 1)
        active = _activity(op.subtract(tones, smooth_tones))
        lead = _weighed(_difference(active), blending.detail)
        if blending.finest:
            finest = _difference(active) if finest is None else finest
            lead = op.add(lead, _weighed(finest, blending.finest))
            finest = _halved(finest, 1)
        if blending.tone:
            lead = op.add(lead, _weighed(_difference(smooth_tones), blending.tone))
        if blending.verdict:
            trust, scores = verdicts.at(octave)
            lead = op.add(lead, op.add(_difference(op.multiply(trust, active)), _difference(scores)))
        weight = op.sigmoid(lead)
        if count == 0:
            break
        fine = op.subtract(change, _doubled(coarse, 3))
        details.append(op.multiply(fine, weight))
        change, tones = coarse, coarse_tones
    if count == 0:
        made: Node = op.multiply(weight, change)
    elif rest_given:
        made = op.subtract(rest, op.avg_pool(b, [2**count] * 2, [0, 0], [0, 0], [2**count] * 2, True))
    else:
        lead = _weighed(_difference(tones), blending.rest)
        if blending.rest_detail:
            # Halved before the difference is taken: after it, OpenVINO errs on planes of two pixels' side.
            lead = op.add(lead, _weighed(_difference(_halved(active, 1)), blending.rest_detail))
        if blending.verdict:
            lead = op.add(lead, _difference(verdicts.at(count)[1]))
        weight = op.sigmoid(lead)
        made = op.multiply(weight, change)
        if (blending.contrast, blending.stretch) != (1, 1):
            made = _mixed_rest(weight, b, change, count, blending)
    for detail in reversed(details):
        made = op.add(detail, _doubled(made, 3))
    fused = _cropped(op.add(b, made), sources)
    if blending.colour and with_colour:
        fused = _recoloured(fused, sources, blending.colour)
    inputs = {"sources": sources} | ({"judged": judged} if blending.verdict else {})
    given = ({"rest": rest} if rest_given else {}) | ({"finest": of_finest} if finest_given else {})
    return named("blend", inputs | given, {"fused": fused})


def opposition(count: int) -> Model:
    """A pair's `sources` [2, 3, H, W] to `judged`, [2, 2, H/2, W/2]; see `Engine.oppose`."""
    sources = _plane("sources", 2, 3)
    plane: Node = _halved(_mean(_padded(sources, 2 ** max(count, 1))), 1)
    scores = []
    for _ in range(count - 1):
        coarse = _halved(plane, 1)
        detail = op.subtract(plane, _doubled(coarse, 1))
        shared = op.reduce_prod(detail, op.constant([0]), keep_dims=True)
        products = _smoothed(op.concat([op.multiply(detail, detail), shared], 0), OPPOSITION_PX)
        energies, shared = op.variadic_split(products, op.constant(0), op.constant([2, 1])).outputs()
        both = op.add(op.sqrt(op.reduce_prod(energies, op.constant([0]), keep_dims=True)), np.float32(ENERGY_FLOOR))
        opposed = op.relu(op.negative(op.divide(shared, both)))
        scores.append(op.multiply(opposed, _smoothed(op.relu(detail), OPPOSITION_PX)))
        plane = coarse
    score: Node = op.multiply(plane, np.float32(0))
    for finer in reversed(scores):
        score = op.add(_doubled(score, 1), finer)
    size = op.divide(op.add(_size(sources), op.constant([1, 1])), op.constant([2, 2]))
    judged = _fitted(op.concat([score, score], 1), size)
    return named("opposition", {"sources": sources}, {"judged": judged})


def finest() -> Model:
    """A `source` [1, 3, H, W] to `active`, [1, 1, H, W]; see `Engine.finest`."""
    source = _plane("source", 1, 3)
    tones = _mean(_padded(source, 2))
    active = _activity(op.subtract(tones, _doubled(_halved(tones, 1), 1)))
    return named("finest", {"source": source}, {"active": _cropped(active, source)})


def octaves(task: TaskName, count: int, scale: int, with_rest: bool, finest_given: bool) -> Model:
    """A frame of a stack, `source` [1, 3, H, W], and its `judged`, to `octave0` and so on; see `Engine.octaves`."""
    blending = in_stack(BLENDINGS[task])
    source, judged, of_finest = _plane("source", 1, 3), _plane("judged", 1, 2), _plane("finest", 1, 1)
    plane: Node = _padded(source, 2 ** max(count, 1))
    verdicts = _Verdicts(judged, plane, blending, scale)
    parts = []
    finest = _padded(of_finest, 2 ** max(count, 1)) if finest_given else None
    for octave in range(max(count, 1)):
        coarse = _halved(plane, 3)
        smooth = _doubled(coarse, 3)
        detail = op.subtract(plane, smooth)
        active = _activity(_mean(detail))
        trusted = _weighed(active, blending.detail)
        if blending.finest:
            finest = active if finest is None else finest
            trusted = op.add(trusted, _weighed(finest, blending.finest))
            finest = _halved(finest, 1)
        if blending.verdict:
            trust, score = verdicts.at(octave)
            trusted = op.add(trusted, op.multiply(trust, active))
        log_odds = op.add(trusted, score) if blending.verdict else trusted
        if blending.tone:
            log_odds = op.add(log_odds, _weighed(_mean(smooth), blending.tone))
        if blending.exposed:
            log_odds = op.add(log_odds, _exposure(smooth, blending.exposed))
        if count == 0:
            parts.append(_part(plane, log_odds))
            break
        parts.append(_part(detail, log_odds))
        plane = coarse
    if with_rest and count:
        log_odds = _weighed(_mean(plane), blending.rest)
        if blending.rest_detail:
            # A pool, and no convolution: OpenVINO leaves out a step after one whose result is a single pixel.
            of_last = op.avg_pool(active, [2, 2], [0, 0], [0, 0], [2, 2], True)
            log_odds = op.add(log_odds, _weighed(of_last, blending.rest_detail))
        if blending.exposed:
            log_odds = op.add(log_odds, _exposure(plane, blending.exposed))
        parts.append(_part(plane, op.add(log_odds, verdicts.at(count)[1]) if blending.verdict else log_odds))
    inputs = {"source": source} | ({"judged": judged} if blending.verdict else {})
    inputs |= {"finest": of_finest} if finest_given else {}
    return named("octaves", inputs, {f"octave{number}": part for number, part in enumerate(parts)})


def collapse(count: int, rest_given: bool) -> Model:
    """Sums of octaves, `octave0` [1, 4, H, W] and so on, to `fused`, [1, 3, H, W]; see `Engine.collapse`."""
    sums = {f"octave{number}": _plane(f"octave{number}", 1, 4) for number in range(count)}
    details = []
    for each in sums.values():
        weighed, odds = op.variadic_split(each, op.constant(1), op.constant([3, 1])).outputs()
        details.append(op.divide(weighed, odds))
    rest = {"rest": _plane("rest", 1, 3)} if rest_given else {}
    made = rest["rest"] if rest_given else details.pop()
    for detail in reversed(details):
        made = op.add(_cropped(_doubled(made, 3), detail), detail)
    return named("collapse", sums | rest, {"fused": made})


def detail() -> Model:
    """Sources [S, 3, H, W] to `odds`, [S, 1, H, W]: how much fine detail each has; see `Engine.detail`."""
    sources = op.parameter(PartialShape([-1, 3, -1, -1]), np.float32, name="sources")
    luminance = _mean(sources)
    fine = op.subtract(luminance, _smoothed(luminance, DETAIL_PX))
    odds = _log_above(_smoothed(op.multiply(fine, fine), DETAIL_WINDOW_PX), DETAIL_FLOOR)
    return named("detail", {"sources": sources}, {"odds": op.exp(_weighed(odds, DETAIL_TRUST))})


def _mixed_rest(weight: Node, b: Node | Output, change: Node, count: int, blending: Blending) -> Node:
    """What is coarser than the last octave, less source b; see `network.mixed_rest`."""
    rest_b = op.avg_pool(b, [2**count] * 2, [0, 0], [0, 0], [2**count] * 2, True)
    planes = _stretched(op.concat([op.add(rest_b, change), rest_b], 0), blending.stretch)
    light_a, light_b = op.split(planes, 0, 2).outputs()
    mixed = op.add(light_b, op.multiply(weight, op.subtract(light_a, light_b)))
    mean = op.reduce_mean(mixed, op.constant([1, 2, 3]), keep_dims=True)
    farther = op.add(mean, op.multiply(op.subtract(mixed, mean), np.float32(blending.contrast)))
    brightest = op.maximum(op.minimum(op.maximum(light_a, light_b), np.float32(1 - CONTRAST_ROOM)), mixed)
    return op.subtract(op.maximum(op.minimum(farther, brightest), op.minimum(light_a, light_b)), rest_b)


def _stretched(planes: Node, most: float) -> Node:
    """Both sources, [2, 3, h, w], the paler one farther from its mean; see `network.stretched`."""
    axes = op.constant([1, 2, 3])
    differences = op.subtract(planes, op.reduce_mean(planes, axes, keep_dims=True))
    spread = op.sqrt(op.reduce_mean(op.multiply(differences, differences), axes, keep_dims=True))
    widest = op.reduce_max(spread, op.constant([0]), keep_dims=True)
    times = op.clamp(op.divide(widest, op.add(spread, np.float32(TINY))), 1, most)
    return op.clamp(op.add(planes, op.multiply(op.subtract(times, np.float32(1)), differences)), 0, 1)


def _recoloured(fused: Node, sources: Node, share: float) -> Node:
    """Clipped places with a share of their colour from the other source; see `network.recoloured`."""
    one, tiny = np.float32(1), np.float32(TINY)
    # Colour by colour, each a row of all pixels: reductions over three colours took as long as the whole blend.
    colours = op.split(op.reshape(sources, op.constant([2, 3, -1]), False), 1, 3).outputs()
    blended = op.split(op.reshape(fused, op.constant([1, 3, -1]), False), 1, 3).outputs()
    tones, bright = _third(reduce(op.add, colours)), op.clamp(_third(reduce(op.add, blended)), 0, 1)
    most, least = reduce(op.maximum, colours), reduce(op.minimum, colours)
    gain = op.divide(op.multiply(bright, np.float32(2)), op.add(op.add(bright, tones), tiny))
    room_up = op.divide(op.subtract(one, bright), op.add(op.subtract(most, tones), tiny))
    room_down = op.divide(bright, op.add(op.subtract(tones, least), tiny))
    gain = op.minimum(op.minimum(gain, room_up), room_down)
    clipped = _third(reduce(op.add, [_clipped(colour) for colour in colours]))
    weight = op.multiply(op.multiply(op.subtract(one, _clipped(most)), _swapped(clipped)), np.float32(share))
    kept = op.subtract(one, _sum(weight))
    grey = _sum(op.multiply(weight, op.subtract(bright, op.multiply(gain, tones))))
    gain = op.multiply(weight, gain)
    made = [
        op.add(op.add(op.multiply(kept, of_blend), grey), _sum(op.multiply(gain, of_sources)))
        for of_blend, of_sources in zip(blended, colours, strict=True)
    ]
    return op.reshape(op.concat(made, 1), op.shape_of(fused), False)


class _Verdicts:
    """Trust and score of sources, each [S, 1, h, w], times what the verdict counts, at the size of any octave."""

    def __init__(self, judged: Node, plane: Node, blending: Blending, scale: int) -> None:
        if not blending.verdict:
            return
        level = scale.bit_length() - 1
        rows = _weighed(judged, blending.verdict)
        self._plane = plane
        # As channels of one plane, which are doubled at once.
        count = int(judged.get_output_partial_shape(0)[0].get_length()) * 2
        self._count = count
        at: dict[int, Node] = {level: op.reshape(rows, op.concat([op.constant([1, count]), _size(rows)], 0), False)}
        for octave in reversed(range(level)):
            at[octave] = _doubled(at[octave + 1], count)
        self._at = {octave: _fitted(each, self._size(octave)) for octave, each in at.items()}

    def at(self, octave: int) -> tuple[Node, Node]:
        while octave not in self._at:
            last = max(self._at)
            self._at[last + 1] = _halved(self._at[last], self._count)
        each = self._at[octave]
        of_sources = op.reshape(each, op.concat([op.constant([self._count // 2, 2]), _size(each)], 0), False)
        score, trust = op.split(of_sources, 1, 2).outputs()
        return trust, score

    def _size(self, octave: int) -> Node:
        return op.divide(_size(self._plane), op.constant([2**octave]))


def _plane(name: str, count: int, channels: int) -> Node:
    return op.parameter(PartialShape([count, channels, -1, -1]), np.float32, name=name)


def _part(detail: Node, log_odds: Node) -> Node:
    ends = op.clamp(log_odds, MIDDLE_ODDS - MOST_ODDS, MIDDLE_ODDS + MOST_ODDS)
    odds = op.exp(op.subtract(ends, np.float32(MIDDLE_ODDS)))
    return op.concat([op.multiply(detail, odds), odds], 1)


def _mean(x: Node) -> Node:
    """Of red, green and blue."""
    return op.reduce_mean(x, op.constant([1]), keep_dims=True)


def _in_order(x: Node) -> Node:
    """The same plane, its pixels in memory row by row."""
    rows = op.reshape(x, op.constant([0, 0, -1]), True)
    return op.reshape(rows, op.shape_of(x), False)


def _third(x: Node) -> Node:
    return op.multiply(x, np.float32(1 / 3))


def _clipped(x: Node | Output) -> Node:
    """How far a channel is clipped, from 0 to 1."""
    above = op.subtract(x, np.float32(CLIPPED_FROM))
    return op.clamp(op.multiply(above, np.float32(1 / (1 - CLIPPED_FROM))), 0, 1)


def _sum(x: Node) -> Node:
    """Of both sources: [2, C, H, W] to [1, C, H, W]."""
    return op.add(*op.split(x, 0, 2).outputs())


def _swapped(x: Node) -> Node:
    """Of two sources, the one where the other was: [2, C, H, W]."""
    return op.concat(op.split(x, 0, 2).outputs()[::-1], 0)


def _weighed(x: Node, weight: float) -> Node:
    return x if weight == 1 else op.multiply(x, np.float32(weight))


def _difference(x: Node) -> Node:
    """What the first of two sources has more: [2, 1, H, W] to [1, 1, H, W]."""
    return op.subtract(*_planes(x, 2))


def _exposure(light: Node, weight: float) -> Node:
    """How well light [1, 3, H, W] is exposed, times a weight; see `network.exposure`."""
    away = op.subtract(light, np.float32(0.5))
    squares = op.reduce_sum(op.multiply(away, away), op.constant([1]), keep_dims=True)
    return op.multiply(squares, np.float32(-weight / (2 * EXPOSED_SPREAD**2)))


def _activity(detail: Node) -> Node:
    """The local energy of detail [S, 1, H, W], on a log scale."""
    return _log_above(_smoothed(op.multiply(detail, detail), WINDOW_PX), ENERGY_FLOOR)


def _log_above(energy: Node, floor: float) -> Node:
    return op.log(op.add(op.multiply(energy, np.float32(1 / floor)), np.float32(1)))


def _smoothed(x: Node, sigma_px: float) -> Node:
    """Smooths one channel by a Gaussian; beyond the edge it is repeated."""
    kernel = gaussian(sigma_px)
    return _smoothed_down(_smoothed_across(x, kernel), kernel)


def _smoothed_across(x: Node, kernel: NDArray[np.float32]) -> Node:
    """Smooths along rows, by a convolution that makes neighbours as channels; channels last, they lie in order."""
    count, height, width = _lengths(x, 0, 2, 3)
    reach = len(kernel) // 2
    after = op.add(op.floor_mod(op.negative(width), op.constant([_ACROSS])), op.constant([reach]))
    x = op.pad(x, op.constant([0, 0, 0, reach]), op.concat([op.constant([0, 0, 0]), after], 0), "edge")
    filters = op.constant(_each_place(kernel, _ACROSS).reshape(_ACROSS, 1, 1, -1))
    x = op.convolution(x, filters, [1, _ACROSS], [0, 0], [0, 0], [1, 1])
    x = op.transpose(x, op.constant([0, 2, 3, 1]))
    x = op.reshape(x, op.concat([count, op.constant([1]), height, op.constant([-1])], 0), special_zero=False)
    return op.slice(x, op.constant([0]), width, op.constant([1]), op.constant([3]))


def _smoothed_down(x: Node, kernel: NDArray[np.float32]) -> Node:
    """Smooths along columns, by a product of matrices for each few rows; upright kernels err on low planes."""
    count, height, width = _lengths(x, 0, 2, 3)
    reach = len(kernel) // 2
    firsts = op.range(op.constant(0), op.squeeze(height, op.constant([0])), op.constant(_DOWN), "i64")
    rows = op.add(op.unsqueeze(firsts, op.constant([1])), op.constant([list(range(-reach, _DOWN + reach))]))
    inside = op.minimum(op.maximum(rows, op.constant([0])), op.subtract(height, op.constant([1])))
    x = op.matmul(op.constant(_each_place(kernel, _DOWN)), op.gather(x, inside, op.constant(2)), False, False)
    x = op.reshape(x, op.concat([count, op.constant([1, -1]), width], 0), special_zero=False)
    return op.slice(x, op.constant([0]), height, op.constant([1]), op.constant([2]))


def _each_place(kernel: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The kernel at so many neighbouring places, a row each."""
    rows = np.zeros((count, count - 1 + len(kernel)), np.float32)
    for place, row in enumerate(rows):
        row[place : place + len(kernel)] = kernel
    return rows


def _halved(x: Node, channels: int) -> Node:
    """The mean of four pixels; as a convolution it leaves channels last, where OpenVINO's pool would block them."""
    filters = np.einsum("oc,kl->ockl", np.eye(channels), np.full((2, 2), 0.25)).astype(np.float32)
    return op.convolution(x, op.constant(filters), [2, 2], [0, 0], [0, 0], [1, 1])


def _doubled(x: Node, channels: int) -> Node:
    """Bilinear, twice the size, as `upsampled` gives it."""
    between = np.array([[_FARTHER, _NEARER, 0], [0, _NEARER, _FARTHER]], np.float32)
    pixels = np.einsum("ik,jl->ijkl", between, between).reshape(4, 3, 3)
    filters = np.einsum("oc,pkl->opckl", np.eye(channels, dtype=np.float32), pixels).reshape(-1, channels, 3, 3)
    margins = op.constant([0, 0, 1, 1])
    four = op.convolution(op.pad(x, margins, margins, "edge"), op.constant(filters), [1, 1], [0, 0], [0, 0], [1, 1])
    return _in_order(op.depth_to_space(four, "depth_first", 2))


def _planes(x: Node, count: int) -> list[Output]:
    """Cuts [1, C, H, W] or [S, 1, H, W] into its planes, [1, 1, H, W], as they lie in memory."""
    of_one = op.reshape(x, op.concat([op.constant([count, 1]), _size(x)], 0), special_zero=False)
    return list(op.split(of_one, 0, count).outputs())


def _cropped(x: Node, like: Node) -> Node:
    """Takes away what is beyond the right and bottom edge of another plane."""
    return op.slice(x, op.constant([0, 0]), _size(like), op.constant([1, 1]), op.constant([2, 3]))


def _padded(x: Node, multiple: int) -> Node:
    """Repeats the right and bottom edge up to a multiple of a size."""
    missing = op.floor_mod(op.negative(_size(x)), op.constant([multiple, multiple]))
    return op.pad(x, op.constant([0, 0, 0, 0]), op.concat([op.constant([0, 0]), missing], 0), "edge")


def _fitted(x: Node, size: Node) -> Node:
    """Crops the right and bottom edge to a size, or repeats it up to that."""
    missing = op.maximum(op.subtract(size, _size(x)), op.constant([0, 0]))
    x = op.pad(x, op.constant([0, 0, 0, 0]), op.concat([op.constant([0, 0]), missing], 0), "edge")
    return op.slice(x, op.constant([0, 0]), size, op.constant([1, 1]), op.constant([2, 3]))


def _lengths(x: Node, *axes: int) -> list[Node]:
    """Each [1]."""
    return [op.gather(op.shape_of(x), op.constant([axis]), op.constant(0)) for axis in axes]


def _size(x: Node) -> Node:
    """Height and width, [2]."""
    return op.gather(op.shape_of(x), op.constant([2, 3]), op.constant(0))
