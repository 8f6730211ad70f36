"""What is changed in the frames of a scene before they are fused: their brightness, and things that move."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from defusion.alignment.levelling import Tones, levelled, odd_ones, tones_between
from defusion.alignment.look import places_shown, shrink_to, shrunk
from defusion.alignment.motion import Strength, repaired, repairs
from defusion.alignment.owners import owned, without
from defusion.imaging import Picture
from defusion.scene.form import Pixels
from defusion.scene.frame import Frame
from defusion.scene.kind import measure
from defusion.scene.scene import Scene

#: Size, in pixels, at which exposures are searched for motion.
_MOVERS_PX = 1e6

#: Size, in pixels, at which focus stacks are searched for motion.
_THINGS_PX = 2.5e5

#: Size, in pixels, at which tones are compared: small enough that focus hardly matters.
_TONES_PX = 4e4


def level(scene: Scene) -> None:
    """Matches frames of a focus stack that differ in exposure to the tones of a typical frame."""
    like, odd = odd_ones([each.brightness for each in scene.statistics])
    if not odd or len({frame.open().grey for frame in scene.frames}) > 1:
        return

    def small(frame: Frame) -> Pixels:
        picture = scene.opened(frame)
        return shrunk(picture, shrink_to(picture, _TONES_PX))

    of_like = small(scene.frames[like])
    for index in odd:
        frame = scene.frames[index]
        tones = tones_between(small(frame), of_like)
        if tones is not None:
            scene.frames[index] = Frame(frame.name, partial(_levelled, scene.opened, frame, tones))
            scene.statistics[index] = measure(scene.frames[index].open())
            scene.notes += (f"{frame.name}: brightness and colour matched to those of {scene.frames[like].name}",)


def give_movers_away(scene: Scene) -> None:
    """Shows each moving thing in a focus stack by one frame alone. A note says so."""
    if len({frame.open().grey for frame in scene.frames}) > 1:
        return
    masks = owned(*_small(scene, _THINGS_PX))
    for index, mask in enumerate(masks):
        if mask is not None:
            frame = scene.frames[index]
            scene.frames[index] = Frame(frame.name, partial(_without, scene.opened, frame, mask))
            scene.ghosts[frame.name] = mask
    if any(mask is not None for mask in masks):
        part = np.maximum.reduce([mask for mask in masks if mask is not None]).mean() / 255
        scene.notes += (
            f"something moved in {part:.1%} of the picture; each thing there is taken from one frame alone",
        )


def hold_still(scene: Scene, strength: Strength) -> None:
    """Replaces what moves in a bracket by what one frame shows, in all frames. A note says so.

    Args:
        scene: The bracket.
        strength: How strongly frames have to contradict each other to count as motion.
    """
    if len({frame.open().grey for frame in scene.frames}) > 1:
        return
    small, there = _small(scene, _MOVERS_PX)
    found = repairs(small, strength, there)
    aligned = list(scene.frames)

    def open_repaired(index: int) -> Picture:
        return repaired(lambda number: scene.opened(aligned[number]), index, found)

    for index, each in enumerate(found):
        if each.mask is not None:
            name = scene.frames[index].name
            scene.frames[index] = Frame(name, partial(open_repaired, index))
            scene.ghosts[name] = each.mask
            part = (each.mask > 0).mean()
            scene.notes += (
                f"{name}: something moved in {part:.1%} of it, which is taken from the best exposed frame",
            )


def _small(scene: Scene, most_px: float) -> tuple[list[Pixels], list[NDArray[np.bool_] | None]]:
    """Returns small pictures of the frames, and which of their places each frame has."""
    small, there = [], []
    for frame in scene.frames:
        picture = scene.opened(frame)
        shrink = shrink_to(picture, most_px)
        small.append(shrunk(picture, shrink))
        there.append(places_shown(picture, shrink))
        del picture  # before the next is opened
    return small, there


def _without(open_frame: Callable[[Frame], Picture], frame: Frame, mask: NDArray[np.uint8]) -> Picture:
    return without(open_frame(frame), mask)


def _levelled(open_frame: Callable[[Frame], Picture], frame: Frame, tones: Tones) -> Picture:
    return levelled(open_frame(frame), tones)
