"""What moves in a focus stack is shown by one frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion import Fuser
from defusion.alignment.owners import owned
from defusion.imaging import from_array
from defusion.scene.frame import Frame

Pixels = NDArray[np.float32]
PLACES = ((70, 60), (90, 66), (110, 72))


def stack(photo: Pixels, *, insect: bool) -> list[Pixels]:
    """Six frames in focus from left to right, in three of which a dark insect walks."""
    scene = np.ascontiguousarray(photo[:200, 60:360])
    across = np.linspace(0, 5, 300)
    frames = []
    for number in range(6):
        soft = np.stack([cv2.GaussianBlur(scene, (0, 0), 0.5 + size) for size in range(6)])
        away = np.abs(across - number).astype(int).clip(0, 5)
        frame = soft[away, :, np.arange(300)].transpose(1, 0, 2).copy()
        if insect and 0 <= number - 1 < 3:
            cv2.circle(frame, PLACES[number - 1], 9, (0.05, 0.05, 0.1), -1, cv2.LINE_AA)
        frames.append(frame.astype(np.float32))
    return frames


def test_an_insect_is_given_to_one_frame(photo: Pixels) -> None:
    masks = owned(stack(photo, insect=True), [None] * 6)
    for x, y in PLACES:
        assert sum(mask is None or not mask[y, x] for mask in masks) == 1
    taken = np.maximum.reduce([mask for mask in masks if mask is not None])
    assert 0.005 < (taken > 0).mean() < 0.1


def test_a_stack_that_holds_still_is_left_alone(photo: Pixels) -> None:
    assert owned(stack(photo, insect=False), [None] * 6) == [None] * 6
    assert owned(stack(photo, insect=True)[:3], [None] * 3) == [None] * 3


def test_the_result_shows_what_one_frame_shows(photo: Pixels) -> None:
    pixels = stack(photo, insect=True)
    frames = [
        Frame.of(f"{number}.png", from_array(np.rint(each.clip(0, 1) * 255).astype(np.uint8)))
        for number, each in enumerate(pixels)
    ]
    fuser = Fuser(task="focus", align="off")
    made, plain = fuser.fuse_frames(frames), fuser.fuse_frames(frames, deghost="off")
    assert sum("something moved" in note for note in made.notes) == 1
    assert not any("something moved" in note for note in plain.notes)
    result = made.picture().pixels
    masks = owned(pixels, [None] * 6)
    place = np.maximum.reduce([mask for mask in masks if mask is not None]) > 0
    inner = np.asarray(cv2.erode(place.astype(np.uint8), np.ones((7, 7), np.uint8)), np.bool_)
    owners = [number for number, mask in enumerate(masks) if mask is None or not mask[inner].all()]
    assert min(np.abs(result - pixels[owner])[inner].mean() for owner in owners) < 0.01
