"""Frames of one clip: a close look is taken when it has to be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from defusion.model.decisions import Closely
from defusion.model.pyramid import PyramidNet
from defusion.runtime import Engine, load_engine
from defusion.runtime.clip_net import EVERY
from defusion.weights import WeightsFile, resolve

Frame = NDArray[np.float32]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(WeightsFile.open(resolve(None)), precision="float32")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pixels of each close look."""
    taken: list[int] = []
    whole = PyramidNet.look_closely

    def look(net: PyramidNet[Frame], sources: Frame, confidence: Frame | None) -> Closely:
        taken.append(sources[0, 0].size)
        return whole(net, sources, confidence)

    monkeypatch.setattr(PyramidNet, "look_closely", look)
    return taken


def frame(*, noise: bool, shift: int = 0, grain: int = 0) -> Frame:
    """Two sources, smooth but for a square of noise in one of them."""
    rows, columns = np.mgrid[:128, :160].astype(np.float32)
    made = np.stack([np.sin(rows / 9) * np.cos(columns / 7), np.cos(rows / 5 + columns / 11)])[:, None] * 0.2 + 0.5
    if noise:
        made[0, 0, 40:90, 30 + shift : 80 + shift] = np.random.default_rng(1).random((50, 50))
    made += np.random.default_rng(grain).normal(0, 0.5 / 255, made.shape)
    return np.clip(made, 0, 1).astype(np.float32)


def test_what_was_found_holds_while_nothing_moves(engine: Engine, looks: list[int]) -> None:
    clip = engine.for_clip()
    frames = [frame(noise=True, grain=number) for number in range(EVERY + 1)]
    made = [clip.decide(given, None, 4).made[0] for given in frames]
    assert len(looks) == 2
    for given, each in zip(frames, made, strict=True):
        assert np.abs(each - engine.decide(given, None, 4).made[0]).mean() < 0.5 / 255


def test_where_a_look_matters_a_change_has_it_look_again(engine: Engine, looks: list[int]) -> None:
    clip = engine.for_clip()
    first = clip.decide(frame(noise=True), None, 4)
    assert first.worth_a_look.any()
    made = clip.decide(frame(noise=True, shift=24), None, 4).made[0]
    assert len(looks) == 2
    assert np.allclose(made, engine.decide(frame(noise=True, shift=24), None, 4).made[0], atol=1 / 255)


def test_only_the_part_that_has_changed_is_looked_at(engine: Engine, looks: list[int]) -> None:
    first, second = (np.tile(frame(noise=False), (1, 1, 3, 3)) for _ in range(2))
    first[0, 0, 200:230, 230:260] = second[0, 0, 204:234, 234:264] = np.random.default_rng(1).random((30, 30))
    clip = engine.for_clip()
    clip.decide(first, None, 5)
    made = clip.decide(second, None, 5)
    assert len(looks) > 1 and max(looks[1:]) < first[0, 0].size / 4
    whole = engine.decide(second, None, 5)
    assert made.trusted is not None and whole.trusted is not None
    there = (slice(None), slice(None), slice(204, 234), slice(234, 264))
    assert np.allclose(made.trusted[there], whole.trusted[there], atol=0.02)
    assert np.abs(made.made[0] - whole.made[0]).mean() < 0.1 / 255


def test_a_cut_has_it_look_again(engine: Engine, looks: list[int]) -> None:
    clip = engine.for_clip()
    clip.decide(frame(noise=False), None, 4)
    clip.decide(1 - frame(noise=False), None, 4)
    assert len(looks) == 2


def test_another_clip_begins_anew(engine: Engine, looks: list[int]) -> None:
    clip = engine.for_clip()
    first = clip.decide(frame(noise=True), None, 4).made[0]
    clip.decide(frame(noise=True, grain=1), None, 4)
    again = clip.for_clip().decide(frame(noise=True), None, 4).made[0]
    assert len(looks) == 2
    assert np.array_equal(first, again)
