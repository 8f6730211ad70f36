"""Many frames: aligns neighbours, chains them, and adjusts all together, so that errors do not add up.

Links between neighbours, and between frames a few apart, each say where one frame's corners lie in another. The
places of all frames in the middle one are chosen so that they fit all links best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from defusion.alignment.geometry import MODELS, Matrix, Model, Shape, in_whole_pixels, mapped
from defusion.alignment.pair import STAYS, PairAlignment, lined_up
from defusion.alignment.representation import Kind, LuminancePyramid
from defusion.alignment.tones import in_one_tone
from defusion.alignment.verdict import Verdict, judged
from defusion.alignment.voting import votes

#: Frames this far apart are linked, too.
_FARTHER = 4

#: If a frame moves by less than this many pixels, apart from whole ones, blocks decide whether it moved at all.
_STILL_PX = 1.0

#: Rounds of linear least squares.
_ROUNDS = 3


class _Link(NamedTuple):
    a: int
    b: int
    matrix: Matrix
    """Maps pixels of a to those of b."""
    weight: float


def chained(
    levels: Sequence[LuminancePyramid],
    middle: int,
    *,
    sensors: str,
    freest: Model,
    done: Callable[[int], None] | None = None,
) -> list[PairAlignment]:
    """Finds how the frames of a stack lie in the middle one.

    Args:
        levels: Luminance pyramids of the frames, in order of focus or exposure.
        middle: Number of the frame that stays.
        sensors: As for `lined_up`.
        freest: The most general model allowed.
        done: Called with the number of frames that were aligned.
    """
    count = len(levels)
    links: list[_Link] = []
    kinds: list[Kind] = []
    model: Model = "identity"

    def link(a: int, b: int, guess: Matrix | None) -> PairAlignment:
        nonlocal model
        found = lined_up(levels[a], levels[b], sensors=sensors, freest=freest, guess=guess)
        if found.verdict.good:
            links.append(_Link(a, b, found.matrix, found.verdict.weight))
            kinds.append(found.kind)
            model = max(model, found.model, key=MODELS.index)
        return found

    place: list[Matrix | None] = [None] * count
    place[middle] = np.eye(3)
    for outward in (range(middle + 1, count), range(middle - 1, -1, -1)):
        step = 1 if outward.step > 0 else -1
        for index in outward:
            for before in (index - step, index - 2 * step, middle):
                known = place[before] if 0 <= before < count else None
                if known is None:
                    continue
                found = link(before, index, None)
                if found.verdict.good:
                    place[index] = found.matrix @ known
                    break
            # now, while the pyramids of both are at hand
            a, b = sorted((index, index - _FARTHER * step))
            here, there = (place[each] if 0 <= each < count else None for each in (a, b))
            if a % _FARTHER == 0 and here is not None and there is not None and model != "identity":
                link(a, b, there @ np.linalg.inv(here))
            if done is not None:
                done(index)
    kind = max(set(kinds), key=kinds.count) if kinds else "detail"
    places = _bundled(place, links, middle, levels[middle].shape)
    moved = _judged(levels, places, middle, kind, model)
    if model == "identity":
        return moved
    shape = levels[middle].shape
    whole = [None if each is None else in_whole_pixels(each, shape, _STILL_PX) for each in places]
    if all(exact is None for index, exact in enumerate(whole) if index != middle):
        return moved
    still = [there if exact is None else exact for exact, there in zip(whole, places, strict=True)]
    stayed = _judged(levels, still, middle, kind, model)
    stays = sum(each.verdict.score for each in stayed) >= STAYS * sum(each.verdict.score for each in moved)
    return stayed if stays else moved


def _judged(
    levels: Sequence[LuminancePyramid], places: Sequence[Matrix | None], middle: int, kind: Kind, model: Model
) -> list[PairAlignment]:
    """Judges each frame in its place, by the neighbour that has most in common with it."""
    known = [index for index, each in enumerate(places) if each is not None]
    result = []
    for index, matrix in enumerate(places):
        near = [each for each in known if each != index]
        if matrix is None or not near:
            result.append(PairAlignment(np.eye(3), "identity", kind, Verdict.none()))
            continue
        nearest = min(near, key=lambda each: (abs(each - index), abs(each - middle)))
        of_nearest = places[nearest]
        assert of_nearest is not None
        relative = matrix @ np.linalg.inv(of_nearest)
        verdict = judged(votes(levels[nearest], levels[index], relative, kind))
        toned = None if verdict.good else in_one_tone(levels[nearest], levels[index])
        if toned is not None:
            verdict = max(verdict, judged(votes(*toned, relative, "detail")), key=lambda each: each.confidence)
        still = np.array_equal(matrix, np.eye(3))
        result.append(PairAlignment(matrix, "identity" if still else model, kind, verdict))
    return result


def _bundled(
    place: Sequence[Matrix | None], links: Sequence[_Link], middle: int, shape: Shape
) -> list[Matrix | None]:
    """Returns the places that fit all links best. Frames without links stay unknown."""
    known = [index for index, each in enumerate(place) if each is not None]
    if len(links) < len(known):  # a tree: there is nothing to adjust
        return list(place)
    import cv2

    of = {index: number for number, index in enumerate(known)}
    corners = {index: mapped(place[index], shape.corners) for index in known}  # type: ignore[arg-type]
    used = [each for each in links if each.a in of and each.b in of]
    for _ in range(_ROUNDS):
        rows = np.zeros((len(used) + 1, len(known)))
        targets = np.zeros((len(used) + 1, 8))
        for number, (a, b, matrix, weight) in enumerate(used):
            rows[number, of[b]], rows[number, of[a]] = weight, -weight
            targets[number] = weight * (mapped(matrix, corners[a]) - corners[a]).ravel()
        rows[-1, of[middle]] = 1e3
        targets[-1] = 1e3 * shape.corners.ravel()
        solved = np.linalg.lstsq(rows, targets, rcond=None)[0]
        corners = {index: solved[of[index]].reshape(4, 2) for index in known}
    result: list[Matrix | None] = list(place)
    for index in known:
        if index != middle:
            source, target = shape.corners.astype(np.float32), corners[index].astype(np.float32)
            result[index] = np.asarray(cv2.getPerspectiveTransform(source, target), np.float64)
    return result
