"""One matrix of many pairs."""

import numpy as np

from defusion.alignment import together
from defusion.alignment.geometry import Shape
from defusion.alignment.voting import BlockVotes, agreed


def votes_of(seed: int, bend: float) -> BlockVotes:
    """Votes on a grid, off by noise, and by a motion that grows towards a corner."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:9, :10]
    at = np.stack([30 + 50.0 * columns.ravel(), 20 + 45.0 * rows.ravel()], 1)
    moved = bend * (at / 450) * (at[:, :1] / 450) + rng.normal(0, 0.3, at.shape)
    held = (rows + columns).ravel() % 2 > 0
    return BlockVotes(at, moved, np.full(len(at), 0.5), held, 1.0, 6, Shape(448, 576), 1.0)


def test_what_is_off_in_one_pair_does_not_decide_for_a_freer_model() -> None:
    pairs = [votes_of(0, 0.0), votes_of(1, 1.5)]
    by_pairs, by_blocks = together._agreed(pairs, "homography"), agreed(together._pooled(pairs), "homography")
    assert by_pairs is not None and by_pairs.model in ("identity", "translation", "scale", "similarity")
    assert by_blocks is not None and by_blocks.model in ("affine", "homography")


def test_what_all_pairs_say_does() -> None:
    found = together._agreed([votes_of(seed, 2.0) for seed in range(3)], "homography")
    assert found is not None and found.model == "homography"


def test_pairs_that_disagree_are_off_and_those_that_agree_are_not() -> None:
    agree = [votes_of(seed, 0.0) for seed in range(4)]
    apart = [votes_of(seed, 0.0) for seed in range(4)]
    for number, pair in enumerate(apart):
        pair.moved[:] += np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[number]
    shape = Shape(448, 576)
    one, other = (together._held_out(pairs, shape, "similarity") for pairs in (agree, apart))
    assert one.agreeing == 4 and one.off_px < 0.15
    assert other.off_px > 0.4


def test_blocks_that_match_anywhere_do_not_agree() -> None:
    pairs = [votes_of(seed, 0.0) for seed in range(4)]
    for seed, pair in enumerate(pairs[1:]):
        pair.moved[:] = np.random.default_rng(seed).uniform(-6, 6, pair.moved.shape)
    found = together._held_out(pairs, Shape(448, 576), "similarity")
    assert found.agreeing == 0 or together._verdict(pairs, found).confidence < together._GOOD
