"""What moves in a focus stack is shown by one frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
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


@pytest.mark.parametrize("first", [0, 2])
def test_two_frames_are_enough(photo: Pixels, first: int) -> None:
    near, far = owned(stack(photo, insect=True)[first : first + 2], [None] * 2)
    shown = {place for place in PLACES if (near is None or not near[place[::-1]])}
    others = {place for place in PLACES if (far is None or not far[place[::-1]])}
    walked = {PLACES[number] for number in (first - 1, first) if 0 <= number < 3}
    assert not shown & others & walked


def test_a_stack_that_holds_still_is_left_alone(photo: Pixels) -> None:
    still = stack(photo, insect=False)
    assert owned(still, [None] * 6) == [None] * 6
    assert owned([still[0], still[5]], [None] * 2) == [None] * 2
    assert owned([still[1], 0.9 * still[3]], [None] * 2) == [None] * 2


def test_a_near_thing_that_moved_against_the_far_ones_is_shown_by_the_frame_in_which_it_is_sharp(
    photo: Pixels,
) -> None:
    far = np.ascontiguousarray(photo[:200, 60:360])
    textured = np.ascontiguousarray(1 - photo[200:400, 60:360])

    def frame(left: int, near_blur: float, far_blur: float) -> Pixels:
        card = np.zeros((200, 300, 1), np.float32)
        card[60:140, left : left + 70] = 1
        shown = np.where(np.roll(card, 0) > 0, np.roll(textured, left - 100, 1), 0)
        shown, card = (cv2.GaussianBlur(each, (0, 0), near_blur).reshape(*each.shape) for each in (shown, card))
        return np.asarray(cv2.GaussianBlur(far, (0, 0), far_blur) * (1 - card) + shown, np.float32)

    sharp, soft = frame(100, 0.5, 3), frame(112, 3, 0.5)
    of_sharp, of_soft = owned([sharp, soft], [None, None])
    assert of_soft is not None
    # both borders of the card, which lie elsewhere in the other frame
    assert of_soft[70:130, 102:108].mean() > 0.8 * 255
    assert of_sharp is None or of_sharp[70:130, 100:170].mean() < 0.2 * 255


def test_places_that_a_frame_lacks_say_nothing(photo: Pixels) -> None:
    pair = stack(photo, insect=False)[:2]
    pair[1][:, :40] = 0
    there = np.ones((200, 300), np.bool_)
    there[:, :40] = False
    assert owned(pair, [None, there]) == [None, None]
    assert any(mask is not None for mask in owned(pair, [None, None]))


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
