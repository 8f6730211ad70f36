"""Small sets of pictures made by rule."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from defusion.imaging import from_array, write


def save(file: Path, samples: NDArray[np.uint8] | NDArray[np.uint16]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, from_array(samples))
    return file


def texture(seed: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Coloured waves of all directions under a little noise, [H, W, 3]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 8
    waves = [np.sin(rows * rng.uniform(-2, 2) + columns * rng.uniform(-2, 2) + k) for k in range(3)]
    return np.clip(128 + 80 * np.stack(waves, 2) + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Two sets: `exposure` with three scenes, and `night` with two, infrared in grey, one with the truth."""
    folder = tmp_path / "bench"
    for scene in range(3):
        picture = texture(scene)
        save(folder / "exposure" / f"s{scene}" / "under.png", picture // 3)
        save(folder / "exposure" / f"s{scene}" / "over.png", 255 - (255 - picture) // 3)
    for scene in range(2):
        save(folder / "night" / f"n{scene}" / "vis.png", texture(scene + 5))
        save(folder / "night" / f"n{scene}" / "ir.png", texture(scene + 8)[..., 0])
    save(folder / "night" / "n0" / "gt.png", texture(5))
    return folder
