"""Scenes for batches."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data


def made_scenes(root: Path, count: int, side: int = 64) -> list[str]:
    """Makes folders of two exposures each, and returns their names."""
    photograph = data.coffee()
    rng = np.random.default_rng(3)
    names = []
    for number in range(count):
        top, left = (int(rng.integers(length - side)) for length in photograph.shape[:2])
        light: NDArray[np.float64] = photograph[top : top + side, left : left + side] / 255
        names.append(f"scene{number:03}")
        (root / names[-1]).mkdir(parents=True)
        for name, gain in {"over": 1.7, "under": 0.5}.items():
            exposed = np.clip(light * gain * 255, 0, 255).astype(np.uint8)
            Image.fromarray(exposed).save(root / names[-1] / f"{name}.png")
    return names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of three scenes."""
    made_scenes(tmp_path / "root", 3)
    return tmp_path / "root"


def pictures(folder: Path) -> dict[str, bytes]:
    """The results in a folder."""
    return {file.name: file.read_bytes() for file in folder.glob("*.png")}
