"""Maps say where a result comes from, and put other frames together in the same way."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

import defusion
from defusion import Fuser, ImageError, Maps, WeightsError
from defusion.alignment.geometry import Shape
from defusion.alignment.record import Alignment, FrameAlignment
from defusion.imaging import from_array, read, write
from defusion.scene.maps import smoothed

Pixels = NDArray[np.uint8]

SCENE = np.ascontiguousarray(data.coffee()[:200, :300])


@pytest.fixture(scope="module")
def stack() -> list[Pixels]:
    """Three frames; a third of the scene is in focus in each, from left to right."""
    frames = [np.asarray(cv2.GaussianBlur(SCENE, (0, 0), 3), np.uint8).copy() for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[:, 100 * number : 100 * number + 100] = SCENE[:, 100 * number : 100 * number + 100]
    return frames


@pytest.fixture(scope="module")
def made(stack: list[Pixels]) -> tuple[NDArray[np.uint8], Maps]:
    fused = Fuser(align="off", task="focus").fuse(stack, maps=True)
    return np.asarray(fused), fused.maps


def test_the_source_map_says_which_frame_is_in_focus(made: tuple[Pixels, Maps]) -> None:
    expected = np.repeat([1, 2, 3], 100)[None]
    inner = np.abs(np.arange(300) % 100 - 50) < 40
    assert (made[1].source == expected)[:, inner].mean() > 0.9


def test_depth_is_where_among_the_frames_a_place_is_in_focus(made: tuple[Pixels, Maps]) -> None:
    depth = made[1].depth
    assert depth is not None
    columns = [np.median(depth[:, 100 * number + 20 : 100 * number + 80]) for number in range(3)]
    np.testing.assert_allclose(columns, [1, 2, 3], atol=0.25)


def test_maps_put_the_same_frames_together_in_the_same_way(stack: list[Pixels], made: tuple[Pixels, Maps]) -> None:
    again = np.asarray(Fuser(align="off", task="focus").fuse(stack, by_map=made[1]))
    assert np.abs(again.astype(float) - made[0]).mean() < 1
    inverted = np.asarray(Fuser(align="off").fuse([255 - frame for frame in stack], by_map=made[1]))
    assert np.abs(255.0 - inverted - made[0]).mean() < 1.5


def test_files_say_what_they_show_and_are_read_again(
    stack: list[Pixels], made: tuple[Pixels, Maps], tmp_path: Path
) -> None:
    maps = made[1]
    files = maps.save(tmp_path / "maps", step_um=2.5)
    facts = json.loads(Path(files["facts"]).read_text())
    assert [each["number"] for each in facts["frames"]] == [1, 2, 3]
    assert facts["depth"] == {"file": "depth.png", "unit": "micrometres", "at_0": 0.0, "at_65535": 5.0}
    depth = read(Path(files["depth"]))
    assert depth.depth == "uint16" and depth.grey
    assert maps.depth is not None
    np.testing.assert_allclose(1 + np.asarray(depth.samples)[..., 0] / 65535 * 2, maps.depth.clip(1, 3), atol=1e-4)
    loaded = Maps.load(tmp_path / "maps")
    np.testing.assert_array_equal(loaded.source, maps.source)
    colour = np.asarray(read(Path(files["source_in_colour"])).samples)
    np.testing.assert_array_equal(colour[100, 150], facts["frames"][int(maps.source[100, 150]) - 1]["colour"])


def test_maps_of_others_are_refused(stack: list[Pixels], made: tuple[Pixels, Maps], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="2 frames came, but the maps are for 3"):
        Fuser(align="off").fuse(stack[:2], by_map=made[1])
    with pytest.raises(ImageError, match="the maps are 300x200 pixels, the frames make 250x200"):
        Fuser(align="off").fuse([frame[:, :250] for frame in stack], by_map=made[1])
    with pytest.raises(ImageError, match="holds no maps"):
        Maps.load(tmp_path)
    (tmp_path / "maps.json").write_text("[]")
    with pytest.raises(ImageError, match=r"does not describe maps"):
        Maps.load(tmp_path)
    with pytest.raises(WeightsError, match="paint pixels anew"):
        defusion.fuse(stack[:2], weights="paper", maps=True)


def test_frames_that_are_left_out_keep_their_numbers(stack: list[Pixels]) -> None:
    fused = Fuser(align="off", task="focus").fuse([np.zeros_like(stack[0]), *stack], maps=True)
    assert set(np.unique(fused.maps.source)) <= {2, 3, 4}
    assert len(fused.maps.names) == 4


def test_the_command_writes_maps_with_the_alignment(tmp_path: Path) -> None:
    shifted = np.roll(SCENE, (4, 6), (0, 1))
    for name, frame in (("a", SCENE), ("b", shifted // 2)):
        write(tmp_path / f"{name}.png", from_array(frame))
    sources = [tmp_path / "a.png", tmp_path / "b.png"]
    made = defusion.fuse_files(sources, tmp_path / "fused.png", maps=tmp_path / "maps")
    assert sorted(made.facts["maps"]) == ["facts", "residual", "source", "source_in_colour"]
    again = defusion.fuse_files(sources, tmp_path / "again.png", by_map=Maps.load(tmp_path / "maps"))
    assert again.alignment is not None
    assert again.alignment.shape == made.alignment.shape  # type: ignore[union-attr]
    assert read(tmp_path / "again.png").samples.shape == read(tmp_path / "fused.png").samples.shape


def test_the_residual_is_that_of_the_frame_that_gave_a_place_its_detail(tmp_path: Path) -> None:
    shape = Shape(4, 6)
    frames = tuple(
        FrameAlignment(name, off is not None, "identity", np.eye(3), shape, off, 1.0, 1.0)
        for name, off in (("a", 0.0), ("b", 0.5), ("c", None))
    )
    source = np.ones(shape, np.uint8)
    source[1], source[2] = 2, 3
    maps = Maps(("a", "b", "c"), source, None, {}, Alignment("a", shape, frames))
    assert maps.residual is not None
    assert maps.residual[:, 0].tolist() == [0, 0.5, np.inf, 0]
    files = maps.save(tmp_path / "maps")
    shown = np.asarray(read(Path(files["residual"])).samples)[:, 0, 0]
    scale = json.loads(Path(files["facts"]).read_text())["residual"]["at_65535"]
    np.testing.assert_allclose(shown * (scale / 65535), [0, 0.5, 2, 0], atol=1e-4)
    assert Maps(("a", "b", "c"), source, None, {}, None).residual is None


def test_what_cannot_be_told_follows_what_is_around() -> None:
    values, confidence = np.full((64, 96), 9, np.float32), np.zeros((64, 96), np.float32)
    values[:, 40:50], confidence[:, 40:50] = 3, 1
    values[:, 50:60], confidence[:, 50:60] = 5, 1
    filled = smoothed(values, confidence)
    np.testing.assert_allclose(filled[:, 44:47], 3, atol=0.1)
    assert filled[:, :30].max() < 4.01 < filled[:, 70:].min()
    assert filled.min() > 2.9 and filled.max() < 5.1


def test_masks_are_written_together_and_over_no_source(tmp_path: Path) -> None:
    ghosts = {"a.tif": np.full((8, 8), 255, np.uint8), "b.tif": np.zeros((8, 8), np.uint8)}
    maps = Maps(("a.tif", "b.tif"), np.ones((16, 16), np.uint8), None, ghosts, None)
    source = tmp_path / "2-b.ghosts.png"
    source.write_bytes(b"mine")
    with pytest.raises(ImageError, match="sources are kept"):
        maps.save(tmp_path, None, [source])
    (tmp_path / "out" / "2-b.ghosts.png").mkdir(parents=True)
    with pytest.raises(ImageError, match="is a folder"):
        maps.save(tmp_path / "out")
    assert source.read_bytes() == b"mine"
    assert sorted(file.name for file in tmp_path.rglob("*.png")) == ["2-b.ghosts.png"] * 2
    maps.save(tmp_path / "new")
    assert (tmp_path / "new" / maps.mask_files["a.tif"]).read_bytes()
    files = [tmp_path / f"{name}.png" for name in "ab"]
    for shade, file in enumerate(files, 1):
        write(file, from_array(np.full((16, 16, 3), 50 * shade, np.uint8)))
    with pytest.raises(ImageError, match="there is no folder"):
        Fuser(align="off").fuse_files(files, tmp_path / "fused.png", maps=tmp_path / "nowhere" / "masks")
    assert not (tmp_path / "fused.png").exists()
