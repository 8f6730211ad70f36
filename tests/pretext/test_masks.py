"""Masks M_i: the constraint of eq. 1, cells, regions and seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from defusion.pretext import freeform_masks, grid_masks
from defusion.pretext.masks import even_grid_masks, give_orphans

Masks = Callable[..., Tensor]

KINDS = pytest.mark.parametrize("kind", [grid_masks, even_grid_masks, freeform_masks])
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 80), st.integers(1, 80))
SOURCES = st.integers(2, 5)
SEEDS = st.integers(0, 2**32 - 1)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@KINDS
@given(shape=SHAPES, sources=SOURCES, seed=SEEDS)
def test_every_place_is_kept_by_at_least_one_source(
    kind: Masks, shape: tuple[int, int, int], sources: int, seed: int
) -> None:
    masks = kind(shape, sources, generator=seeded(seed))
    scenes, height, width = shape
    assert masks.shape == (sources, scenes, 1, height, width)
    assert masks.dtype == torch.float32
    assert ((masks == 0) | (masks == 1)).all()
    assert (masks.sum(0) > 0).all()


@KINDS
@given(sources=SOURCES, seed=SEEDS)
def test_a_seed_gives_its_masks_again_and_another_gives_others(kind: Masks, sources: int, seed: int) -> None:
    first, again, other = (kind((2, 64, 64), sources, generator=seeded(s)) for s in (seed, seed, seed + 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@KINDS
def test_every_source_and_scene_has_a_mask_of_its_own(kind: Masks) -> None:
    masks = kind((4, 96, 96), 3, generator=seeded(0)).flatten(0, 1)
    assert len({mask.numpy().tobytes() for mask in masks}) == len(masks)


@KINDS
def test_sources_share_some_of_the_scene_and_have_some_alone(kind: Masks) -> None:
    kept_by = kind((64, 96, 96), 2, generator=seeded(0)).sum(0)
    assert 0.05 < (kept_by == 2).float().mean() < 0.95
    assert 0.05 < (kept_by == 1).float().mean() < 0.95


@KINDS
def test_no_source_is_favoured(kind: Masks) -> None:
    kept = kind((200, 48, 48), 4, generator=seeded(0)).mean((1, 2, 3, 4))
    assert kept.max() - kept.min() < 0.05


def edges(mask: Tensor) -> set[int]:
    """Rows of a mask [H, W] that differ from the row above."""
    return set(((mask.diff(dim=0) != 0).any(1).nonzero().flatten() + 1).tolist())


def lattices(cell_px: int, side: int) -> list[set[int]]:
    """Where the edges of cells can stand, for each place that the first cell can start at."""
    return [set(range(start, side, cell_px)) for start in range(cell_px)]


def test_grids_are_cells_of_two_resolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    # Cells of one known size each, and orphans left alone: every edge then stands on one of two lattices.
    monkeypatch.setattr("defusion.pretext.masks.COARSE_PX", (24.0, 24.0))
    monkeypatch.setattr("defusion.pretext.masks.FINE_PX", (10.0, 10.0))
    monkeypatch.setattr("defusion.pretext.masks.give_orphans", lambda masks, owner: masks)
    coarse, fine = lattices(24, 240), lattices(10, 240)
    for mask in grid_masks((6, 240, 240), 2, generator=seeded(3)).flatten(0, 2):
        for plane in (mask, mask.T):
            found = edges(plane)
            assert any(found <= one | other for one in coarse for other in fine)
            assert not any(found <= lattice for lattice in coarse + fine)


def test_cell_sides_differ_from_scene_to_scene() -> None:
    counts = {len(edges(mask)) for mask in grid_masks((8, 240, 240), 2, generator=seeded(0))[0, :, 0]}
    assert len(counts) > 3


def test_free_regions_are_smooth_where_grids_are_square() -> None:
    def corners(masks: Tensor) -> float:
        """Share of edge places where a horizontal and a vertical edge cross at a right angle."""
        quads = torch.stack([masks[..., :-1, :-1], masks[..., 1:, :-1], masks[..., :-1, 1:], masks[..., 1:, 1:]])
        mixed = (quads.sum(0) > 0) & (quads.sum(0) < 4)
        bent = (quads.sum(0) == 1) | (quads.sum(0) == 3)
        return float(bent.sum() / mixed.sum())

    grid = corners(grid_masks((16, 96, 96), 2, generator=seeded(0)))
    free = corners(freeform_masks((16, 96, 96), 2, generator=seeded(0)))
    assert grid < 0.15 < 0.3 < free


@given(sources=SOURCES, seed=SEEDS)
def test_orphans_go_to_one_source_and_nothing_else_changes(sources: int, seed: int) -> None:
    generator = seeded(seed)
    masks = (torch.rand(sources, 2, 1, 9, 7, generator=generator) < 0.3).float()
    owner = torch.rand(2, 1, 9, 7, generator=generator)
    given_out = give_orphans(masks, owner)
    orphan = masks.sum(0) == 0
    assert (given_out.sum(0)[orphan] == 1).all()
    assert torch.equal(given_out[:, ~orphan], masks[:, ~orphan])


def test_an_owner_of_one_is_the_last_source() -> None:
    masks = give_orphans(torch.zeros(3, 1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert masks.sum((1, 2, 3, 4)).tolist() == [0, 0, 4]


def test_even_grids_have_cells_of_13_and_26_along_256_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defusion.pretext.masks.give_orphans", lambda masks, owner: masks)
    most = 0
    for mask in even_grid_masks((32, 256, 256), 1, generator=seeded(0)).flatten(0, 2):
        for plane in (mask, mask.T):
            borders = int((plane[:, 1:] != plane[:, :-1]).any(0).sum())
            assert borders <= 14 + 27  # of both grids, wherever they begin
            most = max(most, borders)
    assert most >= 13 + 26 - 4  # some may lie upon each other


def test_even_grids_keep_a_tenth_to_nearly_all_of_a_grid() -> None:
    kept = torch.cat([even_grid_masks((64, 256, 256), 1, generator=seeded(seed)) for seed in range(2)])
    assert torch.equal(kept, torch.ones_like(kept))  # one source has to keep all
    masks = even_grid_masks((256, 128, 128), 6, generator=seeded(0))
    shares = masks.mean((2, 3, 4)).flatten()
    assert shares.min() < 0.1  # of two grids of a tenth
    assert shares.max() > 0.85
    assert abs(float(shares.mean()) - 0.545**2) < 0.05  # the mean chance of each grid is .545
