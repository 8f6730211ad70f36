"""Hot pixels that wander over frames that were laid upon each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from defusion import Fuser
from defusion.alignment.hot_pixels import spots_in, without_hot_pixels
from defusion.imaging import from_array
from defusion.scene.frame import Frame

Pixels = NDArray[np.float32]
HOT = ((60, 90), (150, 240), (151, 241), (220, 60))


def hand_held(photo: Pixels, *, hot: bool) -> list[Frame]:
    """Five frames, each some pixels beside the last, by a sensor with some hot pixels."""
    rng = np.random.default_rng(3)
    frames = []
    for number in range(5):
        top, left = 4 * number, 6 * number
        frame = photo[top : top + 300, left : left + 360] + rng.normal(0, 0.004, (300, 360, 3))
        for row, column in HOT if hot else ():
            frame[row, column] = 1
        samples = np.rint(frame.clip(0, 1) * 255).astype(np.uint8)
        frames.append(Frame.of(f"{number}.png", from_array(samples)))
    return frames


def test_hot_pixels_do_not_wander_over_the_result(photo: Pixels) -> None:
    fuser = Fuser(task="focus")
    clean, mended = (fuser.fuse_frames(hand_held(photo, hot=hot)) for hot in (False, True))
    assert not any("hot pixels" in note for note in clean.notes)
    assert any(note.startswith(f"{len(HOT)} hot pixels stay") for note in mended.notes)
    off = np.abs(mended.picture().pixels - clean.picture().pixels).max(2)
    assert off.max() < 0.25 and (off > 0.05).mean() < 1e-3


def test_frames_that_do_not_move_keep_their_bright_points(photo: Pixels) -> None:
    frames = [hand_held(photo, hot=True)[0]._replace(name=str(number)) for number in range(5)]
    assert not any("hot pixels" in note for note in Fuser(task="focus").fuse_frames(frames).notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_spots_are_small_and_bright(dtype: type[np.unsignedinteger]) -> None:
    full = np.iinfo(dtype).max
    samples = np.full((40, 60, 3), full // 4, dtype)
    samples[20, 30] = full  # a hot pixel
    samples[5:15, 5:15] = full  # a bright thing
    assert spots_in(samples, 7, full).tolist() == [(20 + 7) * 60 + 30]
    mended = without_hot_pixels(from_array(samples), np.array([20 * 60 + 30]))
    assert (np.asarray(mended.samples)[19:22, 29:32] == full // 4).all()
    np.testing.assert_array_equal(np.asarray(mended.samples)[5:15, 5:15], samples[5:15, 5:15])
