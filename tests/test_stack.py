"""Stacks: that the order of frames does not matter, that detail does not fade, and that memory stays flat."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from skimage.filters import gaussian

from defusion import Fuser, ImageError, WeightsError, stack, tiling
from defusion.imaging import Picture, from_array, write
from defusion.model.config import BLENDINGS, Blending, TaskName
from defusion.runtime import ENGINES, Engine, Planes, load_engine
from defusion.scene import Frame
from defusion.tiling import Size, View
from defusion.weights import WeightsFile

Picture8 = NDArray[np.uint8]

SCENE = np.ascontiguousarray(data.astronaut()[40:232, 100:340])


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser()


def focus_stack(count: int, scene: Picture8 = SCENE) -> list[Picture8]:
    """Frames that are sharp in one strip each, and the less so the farther from it."""
    width = scene.shape[1]
    spreads = [0.0, 1.5, 3.0, 5.0]
    blurred = [scene, *((gaussian(scene, spread, channel_axis=2) * 255).astype(np.uint8) for spread in spreads[1:])]
    strip = (np.arange(width) * count // width)[None, :, None]
    frames = []
    for number in range(count):
        away = np.abs(strip - number).clip(max=3)
        frames.append(np.choose(np.broadcast_to(away, scene.shape), blurred))
    return frames


def bracket(*stops: float) -> list[Picture8]:
    linear = (SCENE / 255) ** 2.2
    return [(np.clip(linear * 2.0**stop, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8) for stop in stops]


def error(fused: Picture8, truth: Picture8) -> float:
    return float(np.abs(fused.astype(float) - truth).mean())


@pytest.mark.parametrize("frames", [focus_stack(5), bracket(-3, 0, 3), bracket(-4, -2, 0, 2)])
def test_the_order_of_frames_does_not_matter(fuser: Fuser, frames: list[Picture8]) -> None:
    one, other = (
        fuser.fuse(frames),
        fuser.fuse([frames[index] for index in np.random.default_rng(0).permutation(len(frames))]),
    )
    assert error(one, other) < 0.01


@pytest.mark.parametrize("count", [3, 6, 12])
def test_detail_does_not_fade_with_the_number_of_frames(fuser: Fuser, count: int) -> None:
    frames = focus_stack(count)
    fused = fuser.fuse(frames)
    assert error(fused, SCENE) < 0.25 * min(error(frame, SCENE) for frame in frames)

    def sharpness(picture: Picture8) -> float:
        return float(np.abs(np.diff(picture.astype(float), axis=0)).mean())

    assert sharpness(fused) > 0.95 * sharpness(SCENE)


def test_a_bracket_keeps_shadows_and_lights(fuser: Fuser) -> None:
    frames = bracket(-3.5, 0, 3.5)
    fused = fuser.fuse(frames).astype(float)
    clipped = [(frame.max(2) > 250) | (frame.max(2) < 10) for frame in frames]
    lost = ((fused.max(2) > 250) | (fused.max(2) < 10)).mean()
    assert lost < 0.9 * min(np.mean(each) for each in (clipped[0], clipped[2]))


def test_grey_and_depth_are_those_of_a_pair(fuser: Fuser) -> None:
    frames = [frame[..., 1] for frame in focus_stack(3)]
    deep = frames[1].astype(np.uint16) * 257
    assert fuser.fuse(frames).shape == SCENE.shape[:2]
    assert fuser.fuse([frames[0], deep, frames[2]]).dtype == np.uint16


def test_one_colour_frame_among_grey_ones_lends_its_chroma(fuser: Fuser) -> None:
    from defusion.imaging import luminance

    visible = (SCENE * 0.5 + 64).astype(np.float32) / 255
    grey = luminance(visible)[..., 0]
    fused = fuser.fuse([1 - grey, visible, grey**2])
    chroma, kept = visible - luminance(visible), fused - luminance(fused)
    inside = (fused.min(2) > 0.001) & (fused.max(2) < 0.999)
    assert inside.mean() > 0.8
    assert np.abs(chroma - kept)[inside].max() < 1e-3


def test_a_frame_that_shows_hardly_anything_does_no_harm(fuser: Fuser) -> None:
    frames = bracket(-3, 0, 3)
    noise = np.abs(np.random.default_rng(0).normal(0, 2, SCENE.shape)).astype(np.uint8)
    fused = fuser.fuse(frames)
    for dead in (noise, 255 - noise):
        assert error(fuser.fuse([*frames, dead]), fused) < 4  # 30 and 27 where exposure counts nothing


def test_what_most_frames_have_clipped_keeps_its_colour(fuser: Fuser) -> None:
    """A pale orange wall beside a dark room: clipped in two of four frames, and nearly black in another."""
    scene = SCENE * 0.3
    scene[:, :120] = (230, 190, 150)
    linear = (scene / 255) ** 2.2
    frames = [(np.clip(linear * 2.0**stop, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8) for stop in (-6, -1, 2, 3)]
    red, green, blue = fuser.fuse(frames)[:, 10:110].astype(float).mean((0, 1))
    kept = (red - blue) / (red + green + blue) / ((230 - 150) / (230 + 190 + 150))
    assert kept > 0.7  # .23 where exposure counts nothing


def test_tiles_make_nearly_the_picture_of_the_whole(fuser: Fuser, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = focus_stack(4)
    whole = fuser.fuse(frames)
    monkeypatch.setattr(tiling, "WHOLE_PX", 0)
    monkeypatch.setattr(tiling, "OVERVIEW_PX", 12_000)
    in_tiles = fuser.fuse(frames)
    assert 0 < error(in_tiles, whole) < 1
    assert error(in_tiles, SCENE) < 0.25 * min(error(frame, SCENE) for frame in frames)


#: Ways to blend by everything that counts, whatever the figures are that ours are blended by.
BLENDS: dict[TaskName, Blending] = {
    "exposure": Blending(detail=0.8, tone=2.0, rest=0.7, rest_detail=0.3, verdict=0.0),
    "focus": Blending(detail=1.3, finest=1.1, verdict=0.7),
    "generic": Blending(),
}


@pytest.fixture
def blends(monkeypatch: pytest.MonkeyPatch) -> None:
    for task, blending in BLENDS.items():
        monkeypatch.setitem(BLENDINGS, task, blending)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has stacks fused by an overview, in tiles small enough for a test."""
    monkeypatch.setattr(tiling, "WHOLE_PX", 0)
    monkeypatch.setattr(tiling, "OVERVIEW_PX", 3_000)


def random_stack(count: int, height: int, width: int) -> list[Planes]:
    """Frames that differ in every place."""
    frames = np.random.default_rng(0).random((count, 1, 3, height, width), np.float32)
    ramp = np.linspace(0, 1, width, dtype=np.float32)
    return [frame * ((number + ramp) % 1) for number, frame in enumerate(frames)]


def view(planes: Planes) -> View:
    return lambda rows, columns: planes[..., rows, columns]


def fused(engine: Engine, frames: list[Planes], task: TaskName) -> Planes:
    size = Size(*frames[0].shape[2:])
    bands = stack.fuse(engine, lambda: map(view, frames), len(frames), size, task)
    return np.concatenate([band.planes[0] for band in bands], 2)


@pytest.mark.parametrize("task", BLENDS)
@pytest.mark.parametrize(("height", "width", "tile_px"), [(93, 131, 64), (93, 131, 96), (31, 203, 64), (203, 31, 96)])
@pytest.mark.usefixtures("tiny", "blends")
def test_tiles_make_the_stack_of_one_giant_tile(
    small_weights: WeightsFile, task: TaskName, height: int, width: int, tile_px: int
) -> None:
    engine, frames = load_engine(small_weights), random_stack(3, height, width)
    assert tiling.Overview.of(Size(height, width)).finer >= 1
    made = []
    for side_px in (tile_px, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            for module in (stack, tiling):
                patch.setattr(module, "TILE_PX", side_px)
            made.append(fused(engine, frames, task))
    assert made[0].shape == (1, 3, height, width)
    assert np.abs(made[0] - made[1]).max() <= 1e-5


@pytest.mark.parametrize("task", BLENDS)
@pytest.mark.usefixtures("tiny", "blends")
def test_slabs_make_the_stack_of_one(
    small_weights: WeightsFile, task: TaskName, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, frames, size = load_engine(small_weights), random_stack(3, 203, 61), Size(203, 61)
    for module in (stack, tiling):
        monkeypatch.setattr(module, "TILE_PX", 48)

    def by_detail() -> Planes:
        bands = stack.fuse_by_detail(engine, lambda: map(view, frames), len(frames), size)
        return np.concatenate([band.planes[0] for band in bands], 2)

    one = fused(engine, frames, task), by_detail()
    monkeypatch.setattr(stack, "SLAB_PX", 48 * 61)
    assert len(stack._slabs(size, 16, 8)) == 5
    for made, expected in zip((fused(engine, frames, task), by_detail()), one, strict=True):
        assert made.shape == expected.shape == (1, 3, *size)
        assert np.abs(made - expected).max() <= 1e-5


@pytest.mark.usefixtures("tiny", "blends")
def test_sums_are_those_of_a_slab(small_weights: WeightsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine(small_weights)
    for module in (stack, tiling):
        monkeypatch.setattr(module, "TILE_PX", 64)

    def most_bytes(height: int) -> int:
        (frame,), size = random_stack(1, height, 96), Size(height, 96)
        tracemalloc.start()
        for _ in stack.fuse(engine, lambda: [view(frame)] * 2, 2, size, "exposure"):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    most_bytes(200)  # compiles the graphs
    monkeypatch.setattr(stack, "SLAB_PX", 128 * 96)
    low, high = most_bytes(512), most_bytes(1536)
    assert high < 1.3 * low
    monkeypatch.setattr(stack, "SLAB_PX", 10**9)
    assert most_bytes(1536) > 2 * high


@pytest.mark.usefixtures("tiny", "blends")
def test_a_stack_in_tiles_that_see_no_farther_than_themselves_would_show_seams(
    small_weights: WeightsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, frames = load_engine(small_weights), random_stack(3, 93, 131)
    whole = fused(engine, frames, "focus")
    for module in (stack, tiling):
        monkeypatch.setattr(module, "TILE_PX", 64)
        monkeypatch.setattr(module, "octaves_reach_px", lambda count: 0)
    assert np.abs(fused(engine, frames, "focus") - whole).max() > 1e-3


@pytest.mark.parametrize("task", BLENDS)
@pytest.mark.parametrize("overview_px", [3_000, 10**6])
@pytest.mark.usefixtures("blends")
def test_engines_agree_on_a_stack(
    small_weights: WeightsFile, task: TaskName, overview_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "WHOLE_PX", overview_px)
    monkeypatch.setattr(tiling, "OVERVIEW_PX", overview_px)
    frames = random_stack(4, 75, 101)
    made, expected = (fused(load_engine(small_weights, engine=engine), frames, task) for engine in ENGINES)
    assert np.abs(made - expected).max() <= 1e-4


@pytest.mark.parametrize("overview_px", [3_000, 10**6])
@pytest.mark.usefixtures("blends")
def test_a_stack_of_equal_frames_is_that_frame(
    small_weights: WeightsFile, overview_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "WHOLE_PX", overview_px)
    monkeypatch.setattr(tiling, "OVERVIEW_PX", overview_px)
    (frame,) = random_stack(1, 75, 101)
    for task in BLENDS:
        assert np.abs(fused(load_engine(small_weights), [frame] * 3, task) - frame).max() <= 1e-5


@pytest.mark.usefixtures("tiny", "blends")
def test_a_frame_is_opened_for_the_sums_and_where_the_network_is_asked_for_the_reference(
    small_weights: WeightsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = random_stack(4, 61, 83)
    opened: list[int] = []

    def one_at_a_time() -> Iterator[View]:
        for number, frame in enumerate(frames):
            opened.append(number)
            yield view(frame)

    engine, size = load_engine(small_weights), Size(61, 83)
    assert len(list(stack.fuse(engine, one_at_a_time, 4, size, "generic"))) >= 1
    assert opened == [0, 1, 2, 3] * 2
    opened.clear()
    monkeypatch.setitem(BLENDINGS, "exposure", Blending(verdict=0))
    assert len(list(stack.fuse(engine, one_at_a_time, 4, size, "exposure"))) >= 1
    assert opened == [0, 1, 2, 3]
    opened.clear()
    assert len(list(stack.fuse_by_detail(engine, one_at_a_time, 4, size))) >= 1
    assert opened == [0, 1, 2, 3]


@pytest.mark.usefixtures("tiny", "blends")
def test_memory_does_not_grow_with_the_number_of_frames(small_weights: WeightsFile) -> None:
    engine, size = load_engine(small_weights), Size(240, 320)

    def most_bytes(count: int) -> int:
        def made_on_the_way() -> Iterator[View]:
            return (view(*random_stack(1, *size)) for _ in range(count))

        tracemalloc.start()
        for _ in stack.fuse(engine, made_on_the_way, count, size, "focus"):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    most_bytes(2)  # compiles the graphs
    few, many = most_bytes(3), most_bytes(12)
    frame_bytes = 4 * 3 * size.height * size.width
    assert few > 2 * frame_bytes
    assert many < few + frame_bytes


def counting(pictures: list[Picture], alive: list[int]) -> list[Frame]:
    """Frames that count how many are open at once."""

    class Counted:
        def __init__(self) -> None:
            alive[0] += 1
            alive[1] = max(alive)

        def __del__(self) -> None:
            alive[0] -= 1

    def opener(picture: Picture) -> Callable[[], Picture]:
        def open_it() -> Picture:
            opened = Picture(picture.samples.copy(), picture.icc, picture.exif)
            object.__setattr__(opened, "counted", Counted())
            return opened

        return open_it

    return [Frame(f"frame {number}", opener(picture)) for number, picture in enumerate(pictures)]


def test_few_frames_are_open_at_once(fuser: Fuser) -> None:
    pictures = [from_array(frame) for frame in focus_stack(12)]
    alive = [0, 0]
    fuser.fusing(counting(pictures, alive)).picture()
    gc.collect()
    assert alive[0] == 0
    assert 1 <= alive[1] <= 3


def test_files_are_fused_as_arrays_are(fuser: Fuser, tmp_path: Path) -> None:
    frames = focus_stack(3)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, frame in zip(paths, frames, strict=True):
        write(path, from_array(frame))
    assert np.array_equal(fuser.fuse(paths), fuser.fuse(frames))


def test_a_frame_of_another_size_is_named_unless_frames_are_aligned(fuser: Fuser) -> None:
    frames = focus_stack(4)
    frames[2] = frames[2][:-1]
    with pytest.raises(ImageError, match="source 3 is 240x191 pixels, source 1 is 240x192"):
        Fuser(align="off").fuse(frames)
    assert fuser.fuse(frames).shape == (191, 240, 3)


def test_a_frame_that_cannot_be_read_is_named(fuser: Fuser, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        write(path, from_array(SCENE))
    paths[1].write_bytes(paths[1].read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"1\.png is truncated or damaged"):
        fuser.fuse(paths)


def test_the_papers_head_refuses_more_than_two() -> None:
    with pytest.raises(WeightsError, match="3 sources came, but head 'paper' fuses two"):
        Fuser(head="paper").fuse(focus_stack(3))


def test_head_detail_takes_a_stack(fuser: Fuser) -> None:
    fused = Fuser(head="detail").fuse(focus_stack(5))
    assert error(fused, SCENE) < 1
