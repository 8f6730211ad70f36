"""The scenes of a folder BENCH, `<set>/<scene>/<role>.<suffix>`, and how far pictures of them stand apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROLES = ("near", "far", "under", "over", "vis", "ir")


#: The PSNR of equal pictures, and of those that differ by less than any depth of pixels shows.
MOST_DB = 120.0


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """10 log10(1 / MSE) over all pixels and channels of pictures in [0, 1], at most `MOST_DB`."""
    error = float(np.mean((picture - truth) ** 2))
    return min(-10 * math.log10(error), MOST_DB) if error else MOST_DB


def scenes(bench: Path, most: int | None = None) -> Iterator[tuple[str, list[Path]]]:
    """Gives the scenes of all sets, or up to so many of each, spread evenly: (set, scene folders)."""
    for folder in sorted(bench.iterdir()):
        found = sorted(scene for scene in folder.glob("*") if scene.is_dir())
        if found:
            count = len(found) if most is None else min(most, len(found))
            yield folder.name, [found[index] for index in np.linspace(0, len(found) - 1, count).astype(int)]


def pair_of(scene: Path) -> list[Path]:
    """Returns two sources of a scene: by role, or the first and the last file."""
    files = sorted(file for file in scene.iterdir() if file.stem != "gt")
    by_role = [file for role in ROLES for file in files if file.stem == role]
    return by_role[:2] if len(by_role) > 1 else [files[0], files[-1]]
