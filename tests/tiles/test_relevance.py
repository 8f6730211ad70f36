"""Which sources matter in a part of a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defusion.tiles.relevance import MOST_SOURCES, coarser_detail, detail_of, relevant


def shares(count: int, side: int = 64) -> NDArray[np.float16]:
    """All alike: nothing is told."""
    return np.full((count, 1, side // 4, side // 4), 1 / count, np.float16)


def test_all_sources_that_show_a_place_better_than_the_others_matter() -> None:
    detail = np.full((40, 4, 4), 1e-4, np.float32)
    for number in range(16):
        detail[10 + number].flat[number] = 1e-2
    assert sorted(relevant(shares(40), detail)) == list(range(10, 26))


def test_sources_that_show_no_more_than_noise_matter_by_their_share() -> None:
    noise = np.random.default_rng(5).uniform(0.9e-6, 1e-6, (12, 4, 4)).astype(np.float32)
    assert len(relevant(shares(12), noise)) == MOST_SOURCES
    of_two = shares(12)
    of_two[:] = 0
    of_two[3], of_two[7] = 0.5, 0.5
    assert sorted(relevant(of_two, noise)) == [3, 7]


def test_those_that_matter_most_come_first() -> None:
    detail = np.full((9, 4, 4), 1e-6, np.float32)
    detail[4] = 1e-3
    detail[6, :2] = 2e-3
    assert relevant(shares(9), detail)[:2] == [4, 6]


def test_two_always_matter() -> None:
    assert relevant(shares(2), np.zeros((2, 4, 4), np.float32)) == [0, 1]
    assert len(relevant(0 * shares(5), np.zeros((5, 4, 4), np.float32))) == 2


def test_detail_is_told_of_squares_and_not_of_places_that_a_source_lacks() -> None:
    pixels = np.full((1, 3, 40, 50), 0.5, np.float32)
    pixels[:, :, 3:29:2, 20:28] = 0.7
    confidence = np.ones((1, 1, 40, 50), np.float32)
    found = detail_of(pixels, None)
    assert found.shape == (1, 3, 4)
    assert found[0, 0, 1] > 1e-3 > 1e-6 > found[0, 2].max()
    assert coarser_detail(found, 4).shape == (1, 1, 1)
    assert coarser_detail(found, 4).max() == found.max()
    confidence[..., :32, 16:32] = 0
    assert detail_of(pixels, confidence).max() < 1e-5
