"""The five toy cases of Fig. 7: pairs of sources made from a scene.

The masks resemble those of `defusion.pretext.masks`, but their sizes and shares are fixed, and they need no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Side of the cells of the two grids whose product is a mask, and of the bumps from which free forms are cut.
TOY_COARSE_PX = 28.0
TOY_FINE_PX = 12.0
TOY_FREEFORM_PX = 56.0
#: Share of the scene that a mask keeps.
TOY_KEEP = 0.65
#: Standard deviation of the noise that is added to whole scenes, as in the paper.
NOISE = 10 / 255


@dataclass(frozen=True, eq=False)
class Case:
    """Two sources made from a scene, and the masks of the places that each keeps."""

    name: str
    a: Pixels
    """[H, W, 3] in [0, 1]."""
    b: Pixels
    kept_a: Mask
    """[H, W]."""
    kept_b: Mask


def toy_cases(scene: Pixels, seed: int) -> tuple[Case, ...]:
    """Makes the sources of Fig. 7 from a scene [H, W, 3].

    `grid_noise` is eq. 1. `freeform_noise` has masks of arbitrary shape, and both may lack a place. `grid_zeros` has
    the masks of the first and zeros in place of noise. `two_noises` is the whole scene with Gaussian noise, different
    for each source; `one_noise` has the same noise in both.
    """
    rng = np.random.default_rng(seed)
    size = scene.shape[:2]
    grids, forms, whole = grid_masks(size, rng), freeform_masks(size, rng), np.ones(size, np.bool_)
    black = np.zeros_like(scene)
    noisy, noisy_too = (
        np.clip(scene + NOISE * rng.standard_normal(scene.shape, np.float32), 0, 1, dtype=np.float32)
        for _ in range(2)
    )
    return (
        _masked("grid_noise", scene, grids, _noise(scene, rng), _noise(scene, rng)),
        _masked("freeform_noise", scene, forms, _noise(scene, rng), _noise(scene, rng)),
        _masked("grid_zeros", scene, grids, black, black),
        Case("two_noises", noisy, noisy_too, whole, whole),
        Case("one_noise", noisy, noisy, whole, whole),
    )


def grid_masks(size: tuple[int, int], rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Makes two masks, each the product of two random grids. A third grid decides which gets the places that both
    lack.
    """
    first, second = (
        np.maximum(_cells(size, TOY_COARSE_PX, rng), _cells(size, TOY_FINE_PX, rng)) < math.sqrt(TOY_KEEP)
        for _ in range(2)
    )
    orphan, to_first = ~(first | second), _cells(size, TOY_COARSE_PX, rng) < 0.5
    return first | (orphan & to_first), second | (orphan & ~to_first)


def freeform_masks(size: tuple[int, int], rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Makes two independent masks of smooth random regions."""
    first, second = (_bumps(size, rng) for _ in range(2))
    return first <= np.quantile(first, TOY_KEEP), second <= np.quantile(second, TOY_KEEP)


def _masked(name: str, scene: Pixels, masks: tuple[Mask, Mask], filling_a: Pixels, filling_b: Pixels) -> Case:
    """Makes a case of eq. 1."""
    a, b = (
        np.where(mask[..., None], scene, filling) for mask, filling in zip(masks, (filling_a, filling_b), strict=True)
    )
    return Case(name, a, b, *masks)


def _noise(scene: Pixels, rng: np.random.Generator) -> Pixels:
    """Makes Gaussian noise in the range of pixels, half-normal with unit spread, as in
    `defusion.pretext.distortions`.
    """
    noise: Pixels = np.abs(rng.standard_normal(scene.shape, np.float32)).clip(max=1)
    return noise


def _cells(size: tuple[int, int], side_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random numbers in [0, 1), constant within square cells: [H, W]."""
    rows, columns = ((np.arange(length) / side_px + rng.random()).astype(int) for length in size)
    cells: NDArray[np.float64] = rng.random((rows[-1] + 1, columns[-1] + 1))[rows[:, None], columns]
    return cells


def _bumps(size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Smooth random numbers: [H, W]."""
    height, width = size
    grid = rng.standard_normal((int(height / TOY_FREEFORM_PX) + 3, int(width / TOY_FREEFORM_PX) + 3), np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
