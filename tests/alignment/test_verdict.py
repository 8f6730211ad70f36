"""Votes that are enough to trust a matrix, and votes that are not."""

import numpy as np
import pytest

from defusion.alignment.geometry import Shape
from defusion.alignment.verdict import judged
from defusion.alignment.voting import BlockVotes


def votes_of(agreeing: np.ndarray, off_px: float = 0.2) -> BlockVotes:
    """Votes on a grid of 10x10 blocks [10, 10], of which some agree within fractions of a pixel."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:10, :10]
    at = np.stack([25 + 50.0 * columns.ravel(), 20 + 40.0 * rows.ravel()], 1)
    moved = np.where(agreeing.reshape(-1, 1), rng.normal(0, off_px, at.shape), [4.0, -3.0])
    held = (rows + columns).ravel() % 2 > 0
    return BlockVotes(at, moved, np.full(100, 0.5), held, 1.0, 6, Shape(400, 500), 1.0)


def test_blocks_from_all_over_the_picture_are_trusted_more_than_as_many_from_one_part() -> None:
    rows, columns = np.mgrid[:10, :10]
    all_over, one_part = votes_of((rows + columns) % 2 == 0), votes_of(columns < 5)
    assert all_over.surprise == pytest.approx(one_part.surprise)
    assert one_part.uncertainty > 1.5 * all_over.uncertainty
    assert judged(all_over).confidence > judged(one_part).confidence


def test_blocks_that_scatter_are_trusted_less() -> None:
    everywhere = np.ones((10, 10), bool)
    sharp, scattered = votes_of(everywhere, 0.1), votes_of(everywhere, 0.4)
    assert judged(sharp).good
    assert scattered.uncertainty > 3 * sharp.uncertainty
    assert judged(sharp).confidence > judged(scattered).confidence


def test_uncertainty_counts_in_pixels_of_the_frames_that_are_to_be_aligned() -> None:
    votes = votes_of(np.ones((10, 10), bool))
    assert judged(votes, shrink=2).features["uncertainty"] > judged(votes).features["uncertainty"]
    assert judged(votes, shrink=2).residual_px == 2 * judged(votes).residual_px


def test_few_blocks_are_not_trusted() -> None:
    few = np.zeros((10, 10), bool)
    few[0, :5] = True
    assert votes_of(few).uncertainty == np.inf
    assert judged(votes_of(few)).confidence < 0.1
