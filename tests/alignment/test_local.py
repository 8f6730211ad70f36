"""Local warps: what near and far things do beside a matrix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from defusion import ImageError, align
from defusion.alignment.geometry import Shape, shifted
from defusion.alignment.local import LocalWarp, Placed, local_warp
from defusion.alignment.record import Alignment, FrameAlignment
from defusion.alignment.representation import LuminancePyramid
from defusion.alignment.warp import Warped, covered

Pixels = NDArray[np.float32]


def bent(photo: Pixels) -> Pixels:
    """The photograph from another place: parts of it move by up to 4 pixels, to both sides."""
    height, width = photo.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    away = 4 * np.sin(np.pi * y / height) * np.cos(2 * np.pi * x / width)
    return np.asarray(cv2.remap(photo, x + away, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.float32)


def test_near_and_far_things_lie_on_each_other(photo: Pixels) -> None:
    frames = [np.rint(np.clip(each, 0, 1) * 255).astype(np.uint8) for each in (photo, bent(photo))]
    off = []
    for model in ("homography", "local"):
        (a, b), alignment = align(frames, model=model, reference=0, crop=False)
        off.append(float(np.abs(a.astype(float) - b)[20:-20, 20:-20].mean()))
    assert alignment.frames[1].model == "local" and alignment.frames[1].local is not None
    assert off[1] < 0.5 * off[0]


def test_a_frame_that_follows_its_matrix_has_no_local_warp(
    photo: Pixels, handheld: NDArray[np.float64], moved: Callable[..., Pixels]
) -> None:
    reference, frame = (
        LuminancePyramid(np.ascontiguousarray(each.mean(2))) for each in (photo, moved(photo, handheld))
    )
    warp, residual_px = local_warp(
        reference, frame, Placed(np.eye(3), None), handheld, "detail", Shape(*photo.shape[:2])
    )
    assert warp is None and residual_px < 0.3


def a_warp() -> LocalWarp:
    coefficients = np.random.default_rng(2).uniform(-3, 3, (6, 8, 2))
    return LocalWarp(coefficients, 0.0, 0.0, 599.0, 399.0)


def test_a_region_is_what_the_whole_shows_there(photo: Pixels, handheld: NDArray[np.float64]) -> None:
    warped = Warped(photo, handheld, Shape(380, 560), a_warp())
    whole = np.asarray(warped)
    # Places are rounded to float32, which is up to 3e-5 of a pixel here.
    np.testing.assert_allclose(warped[37:101, 250:431], whole[37:101, 250:431], rtol=0, atol=1e-5)
    part = Warped(photo, handheld @ shifted(30, 20), Shape(100, 200), a_warp().of_part(30, 20))
    assert np.abs(np.asarray(part) - whole[20:120, 30:230]).max() < 0.02


def test_points_move_as_rows_and_columns_do() -> None:
    warp = a_warp().enlarged(2)
    across, down = warp.at(np.array([3.0, 700.0]), np.array([200.0]))
    points = np.array([[3.0, 200.0], [700.0, 200.0]])
    np.testing.assert_allclose(warp.of(points) - points, np.stack([across[0], down[0]], 1))


def test_what_is_moved_out_of_a_frame_is_not_covered() -> None:
    right = LocalWarp(np.full((4, 4, 2), 5.0), 0.0, 0.0, 59.0, 39.0)
    shape = Shape(40, 60)
    assert covered(np.eye(3), shape, shape, shape.corners, right).tolist() == [True, False, False, False]


def test_a_local_warp_is_kept_in_a_file(tmp_path: Path) -> None:
    shape = Shape(400, 600)
    frame = FrameAlignment("b.png", True, "local", np.eye(3), shape, 0.2, 1.0, 1.0, local=a_warp())
    alignment = Alignment("b.png", shape, (frame,))
    assert alignment.moves
    alignment.save(tmp_path / "a.json")
    again = Alignment.load(tmp_path / "a.json").for_frames(["c.png"], [shape]).frames[0].local
    assert again is not None
    np.testing.assert_allclose(again.coefficients, a_warp().coefficients, atol=1e-4)
    facts = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    facts["frames"][0]["local"]["width"] = 0
    (tmp_path / "a.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ImageError, match="holds no alignment"):
        Alignment.load(tmp_path / "a.json")
