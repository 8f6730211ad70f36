"""Scenes whose kind a guess would take for another: the network is told none, and has to make the right picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from defusion import Fuser

Pixels = NDArray[np.uint8]

SIDE = 192


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser(align="off")


def print_on_black(kind: str) -> Pixels:
    """Bright things on black: print, lines, lamps, stars."""
    random = np.random.default_rng(sum(kind.encode()))
    plane = np.full((SIDE, SIDE, 3), 8, np.uint8)
    if kind == "print":
        for row in range(5):
            cv2.putText(plane, "fusion of pictures", (4, 30 + 36 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (250,) * 3, 1)
    elif kind == "lines":
        for step in range(0, SIDE, 12):
            cv2.line(plane, (step, 0), (SIDE - step, SIDE), (240, 240, 240), 1)
    elif kind == "lamps":
        for x, y in random.integers(6, SIDE - 6, (40, 2)):
            cv2.circle(plane, (int(x), int(y)), int(random.integers(1, 5)), (255, 240, 200), -1)
    elif kind == "stars":
        plane[tuple(random.integers(0, SIDE, (2, 500)))] = 255
    else:
        cells = np.kron(random.random((SIDE // 6, SIDE // 6)) < 0.15, np.ones((6, 6))) > 0
        plane[cells] = (255, 255, 255)
    return cv2.GaussianBlur(plane, (0, 0), 0.6)


def decibels(picture: Pixels, truth: Pixels) -> float:
    return float(cv2.PSNR(np.ascontiguousarray(picture), truth))


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("kind", ["print", "lines", "lamps", "stars", "cells"])
def test_bright_things_on_black_in_two_focus_settings(fuser: Fuser, kind: str, upright: bool) -> None:
    truth = print_on_black(kind)
    soft = cv2.GaussianBlur(truth, (0, 0), 2.5)
    near = np.zeros((SIDE, SIDE, 1), bool)
    near[tuple([slice(None), slice(SIDE // 2)][:: 1 if upright else -1])] = True
    sources = [np.where(near, truth, soft), np.where(near, soft, truth)]
    fused = np.asarray(fuser.fuse(sources))
    assert decibels(fused, truth) > max(decibels(source, truth) for source in sources) + 6


SCENES = (data.astronaut, data.coffee, data.chelsea, data.rocket, data.retina)


def bracket(scene: Pixels, stops: tuple[float, ...]) -> list[Pixels]:
    light = (scene / np.float32(255)) ** 2.2
    return [np.round(255 * np.clip(light * 2**stop, 0, 1) ** (1 / 2.2)).astype(np.uint8) for stop in stops]


@pytest.mark.parametrize("stops", [(-2, 0, 2), (-3, -1.5, 0, 1.5)])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_somebody_who_walks_through_a_bracket_changes_nothing_else(
    fuser: Fuser, scene: object, stops: tuple[float, ...]
) -> None:
    still = cv2.resize(scene()[..., :3], (SIDE, SIDE), interpolation=cv2.INTER_AREA)  # type: ignore[operator]
    frames, moved = [], np.zeros((SIDE, SIDE), np.uint8)
    for number in range(len(stops)):
        frame, walker = still.copy(), np.zeros((SIDE, SIDE), np.uint8)
        cv2.ellipse(walker, (30 + 40 * number, 60), (9, 28), 0, 0, 360, 255, -1)
        frame[walker > 0] = (150, 60, 50)
        moved |= walker
        frames.append(frame)
    walked = [bracket(frame, stops)[number] for number, frame in enumerate(frames)]
    away = cv2.dilate(moved, np.ones((41, 41))) == 0
    made, expected = (np.asarray(fuser.fuse(each)).astype(float) for each in (walked, bracket(still, stops)))
    assert np.abs(made - expected)[away].mean() < 2
