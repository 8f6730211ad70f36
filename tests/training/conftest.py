"""A few photographs, and a recipe so small that a training run takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from defusion.training import RECIPES, Recipe


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six colour photographs, two of them a level further down."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    astronaut, coffee, cat = data.astronaut(), data.coffee(), data.chelsea()
    parts = {
        "a.png": astronaut[:150, 200:400],
        "b.png": astronaut[250:400, 100:300],
        "c.JPG": coffee[100:300, 150:350],
        "d.png": coffee[50:170, 300:420],
        "more/e.png": cat[50:250, 100:300],
        "more/f.jpeg": cat[100:220, 50:350],
    }
    for name, pixels in parts.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name, quality=95)
    return folder


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """Eight steps: two scenes of 32 pixels each, of the three photographs that are not held back."""
    return replace(
        RECIPES["quick"],
        name="tiny",
        crop_px=32,
        batch=2,
        epochs=8 * 2 / 3,
        warmup_steps=0,
        fade_steps=0,
        ema_decay=0.5,
    )
