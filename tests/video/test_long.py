"""Clips that take minutes: `make test-full`."""

import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from defusion import Fuser
from defusion.imaging import from_array, write
from defusion.video import fuse_video

FRAMES = 3000


@pytest.mark.full
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (48, 64, 3), np.uint8)
    for name in ("ir", "vis"):
        (tmp_path / name).mkdir()
        for number in range(FRAMES):
            path = tmp_path / name / f"{number:06}.png"
            if number < 20:
                frame = np.roll(scene[..., 0], number, 1) if name == "ir" else scene
                write(path, from_array(np.ascontiguousarray(frame)))
            else:
                os.link(tmp_path / name / f"{number % 20:06}.png", path)
    process, taken = psutil.Process(), {}

    def look(done: int, of: int | None) -> None:
        if done in (300, FRAMES - 1):
            taken[done] = process.memory_info().rss

    made = fuse_video(
        tmp_path / "ir", tmp_path / "vis", tmp_path / "out.mp4", fuser=Fuser(), align="off", report=look
    )
    assert made.facts["frames"] == FRAMES
    assert taken[FRAMES - 1] - taken[300] < 30e6
