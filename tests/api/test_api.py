"""The names that users learn: arrays in, arrays out."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from skimage import data
from tifffile import imwrite

import defusion
from defusion import EngineError, Fuser, ImageError, OptionError, WeightsError
from defusion.api.sources import frames_of
from defusion.imaging import Picture, from_array, luminance, tiff_segments, write
from defusion.weights import bundled


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser()


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.astronaut()[40:241, 100:331])


def masked(scene: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two sources, each black where the other keeps the scene."""
    rng = np.random.default_rng(seed)
    cells = np.kron(rng.random((13, 15)) < 0.5, np.ones((16, 16))).astype(bool)[: scene.shape[0], : scene.shape[1]]
    a, b = scene.copy(), scene.copy()
    a[cells], b[~cells] = 0, 0
    return a, b


def psnr(picture: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    error = np.mean((picture.astype(float) - truth) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def test_a_picture_fused_with_itself_stays_itself(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    assert psnr(fuser.fuse([scene, scene]), scene) >= 30


def test_a_copy_given_twice_changes_nothing(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    a, b = masked(scene, seed=0)
    assert np.array_equal(fuser.fuse([a, b, a, b, b]), fuser.fuse([a, b]))


def test_four_sources_may_come_in_any_order(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    frames = [np.clip(scene * 2.0**stops, 0, 255).astype(np.uint8) for stops in (-2, -1, 0, 1)]
    fused, other = fuser.fuse(frames), fuser.fuse([frames[number] for number in (2, 0, 3, 1)])
    assert np.abs(fused.astype(int) - other).max() <= 1


@pytest.mark.parametrize("grey", [False, True])
def test_parts_add_up_to_the_picture(fuser: Fuser, scene: NDArray[np.uint8], grey: bool) -> None:
    pair = [each[..., 0] if grey else each for each in (scene // 2, 255 - (255 - scene) // 2)]
    common, unique_a, unique_b, fused = (part.astype(int) for part in fuser.decompose(*pair))
    assert np.array_equal(common + unique_a + unique_b, fused)
    assert min(part.min() for part in (common, unique_a, unique_b)) >= 0
    floats = fuser.decompose(*(each / np.float32(255) for each in pair))
    assert np.abs(floats.common + floats.unique_a + floats.unique_b - floats.fused).max() < 1e-5


def test_an_infrared_and_a_visible_source_have_parts_that_add_up(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    common, unique_a, unique_b, fused = (part.astype(int) for part in fuser.decompose(255 - scene[..., 0], scene))
    assert np.array_equal(common + unique_a + unique_b, fused)


def test_a_place_that_is_transparent_never_shows(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    alpha = np.full((*scene.shape[:2], 1), 255, np.uint8)
    alpha[60:160, 60:180] = 0
    made = []
    for fill in (0, 255):
        filled = scene // 2
        filled[60:160, 60:180] = fill
        made.append(fuser.fuse([Picture(filled, alpha=alpha), Picture(scene)]).pixels)
    assert np.abs(made[0] - made[1])[70:150, 70:170].max() < 0.02


def test_each_source_fills_the_holes_of_the_other(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    a, b = masked(scene, seed=0)
    assert psnr(fuser.fuse([a, b]), scene) > max(psnr(a, scene), psnr(b, scene)) + 3


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_sources_does_not_matter(fuser: Fuser, scene: NDArray[np.uint8], seed: int) -> None:
    a, b = masked(scene, seed)
    assert np.array_equal(fuser.fuse([a, b]), fuser.fuse([b, a]))
    assert np.array_equal(fuser.decompose(a, b).fused, fuser.decompose(b, a).fused)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_dtype_range_and_channels_are_kept(
    fuser: Fuser, scene: NDArray[np.uint8], dtype: type[np.generic], channels: int | None
) -> None:
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    source = (scene[:65, :70] / 255 * full).astype(dtype)
    source = source[..., 0] if channels is None else source[..., :channels]
    fused = fuser.fuse([source, source])
    assert (fused.shape, fused.dtype) == (source.shape, source.dtype)
    assert np.abs(fused.astype(float) - source).mean() < 0.03 * full


@pytest.mark.filterwarnings("ignore::defusion.FusionWarning")
@pytest.mark.parametrize("dtype", [np.int16, np.int64])
def test_signed_numbers_are_fused_in_their_own_unit(
    fuser: Fuser, scene: NDArray[np.uint8], dtype: type[np.signedinteger[Any]]
) -> None:
    """As of a CT, in Hounsfield units."""
    dark, bright = ((scene[:65, :70, 1] / 255 * most - 1000).round().astype(dtype) for most in (1800, 3000))
    fused = fuser.fuse([dark, bright])
    assert fused.dtype == dtype and "source 1: " + np.dtype(dtype).name + " samples read as floats" in fused.notes
    assert dark.min() - 50 < fused.min() < -500 and 1000 < fused.max() < bright.max() + 50
    assert np.corrcoef(fused.ravel(), bright.ravel())[0, 1] > 0.95


def test_the_result_is_as_deep_as_the_deepest_source_and_in_colour_if_one_is(
    fuser: Fuser, scene: NDArray[np.uint8]
) -> None:
    grey = scene[..., 1].astype(np.uint16) * 257
    fused = fuser.fuse([grey, scene])
    assert (fused.shape, fused.dtype) == (scene.shape, np.dtype(np.uint16))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        *(((np.bool_, np.uint8), np.uint8), ((np.float16, np.float64), np.float64)),
        *(((np.float16, np.uint16), np.float32), ((">u2", np.uint8), np.uint16), ((np.bool_, np.bool_), np.bool_)),
    ],
)
def test_the_order_of_arrays_does_not_change_the_dtype(
    fuser: Fuser, scene: NDArray[np.uint8], dtypes: tuple[DTypeLike, DTypeLike], expected: type[np.generic]
) -> None:
    a, b = (np.ones((33, 34), dtype) for dtype in dtypes)
    assert fuser.fuse([a, b]).dtype.newbyteorder("=") == fuser.fuse([b, a]).dtype.newbyteorder("=") == expected


def test_grey_files_give_grey_arrays(fuser: Fuser, scene: NDArray[np.uint8], tmp_path: Path) -> None:
    grey = scene[:40, :50, 0]
    write(tmp_path / "a.png", from_array(grey))
    write(tmp_path / "b.png", from_array(scene[:40, :50]))
    assert fuser.fuse([tmp_path / "a.png"] * 2).shape == (40, 50)
    assert fuser.decompose(tmp_path / "a.png", tmp_path / "a.png").common.shape == (40, 50)
    assert fuser.fuse([grey[..., np.newaxis], tmp_path / "a.png"]).shape == (40, 50, 1)
    assert fuser.fuse([grey, tmp_path / "b.png"]).shape == (40, 50, 3)


def test_a_generator_is_a_list(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    sources = [scene[:40, :50, 0] / 255, scene[:40, :50, 1] / 255]
    fused = fuser.fuse(source for source in sources)
    assert (fused.dtype, fused.shape) == (np.float64, (40, 50))
    assert np.array_equal(fused, fuser.fuse(sources))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        *((b"a.png", "of type bytes; expected a path, an array"), (None, "of type NoneType")),
        *(("a\0.png", "cannot be opened"), ("a" * 5000, "cannot be opened"), ([1], "of type list")),
    ],
)
def test_what_is_no_source_is_refused(fuser: Fuser, source: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        fuser.fuse([source, source])


def test_weights_that_are_written_anew_are_loaded_anew(scene: NDArray[np.uint8], tmp_path: Path) -> None:
    file, (a, b) = tmp_path / "mine.safetensors", masked(scene, 0)
    made = []
    for weights in ("pyramid", "paper"):
        file.write_bytes(bundled()[weights].read_bytes())
        made.append(defusion.fuse([a, b], weights=file))
    assert not np.array_equal(*made)
    fuser = Fuser(weights=file)
    file.unlink()
    with pytest.raises(WeightsError, match="was removed after it was opened"):
        fuser.fuse([a, b])


def test_grey_and_colour_keep_the_colours_chroma(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    visible = (scene * 0.5 + 64).astype(np.float32) / 255
    infrared = 1 - luminance(visible)
    fused = fuser.fuse([infrared.astype(np.float32), visible])
    chroma, kept = visible - luminance(visible), fused - luminance(fused)
    inside = (fused.min(2) > 0.001) & (fused.max(2) < 0.999)
    assert inside.mean() > 0.8
    assert np.abs(chroma - kept)[inside].max() < 1e-3


def test_grey_sources_give_a_grey_picture(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    grey = np.repeat(scene[..., :1], 3, 2)
    fused = fuser.fuse([grey, grey[::-1].copy()])
    assert np.ptp(fused, axis=2).max() == 0


def test_paths_are_accepted(fuser: Fuser, scene: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(scene).save(tmp_path / "a.png")
    fused = fuser.fuse([tmp_path / "a.png", str(tmp_path / "a.png")])
    assert np.array_equal(fused, fuser.fuse([scene, scene]))


def test_files_are_fused_into_a_file_that_keeps_what_they_hold(
    fuser: Fuser, scene: NDArray[np.uint8], tmp_path: Path
) -> None:
    alpha = np.dstack([scene // 2, np.full(scene.shape[:2], 128, np.uint8)])
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    Image.fromarray(scene).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(alpha).save(tmp_path / "b.png")
    sources = [tmp_path / "a.png", str(tmp_path / "b.png")]
    made = fuser.fuse_files(sources, tmp_path / "out.png")
    with Image.open(made.output) as written:
        np.testing.assert_array_equal(np.asarray(written), fuser.fuse(sources))
        assert written.getexif()[0x0110] == "a camera"
    assert made.notes == ("b.png: alpha channel dropped",)
    assert made.facts["notes"] == list(made.notes) and made.facts["sources"] == 2
    assert (made.facts["width"], made.facts["height"]) == (scene.shape[1], scene.shape[0])


def test_decompose_says_what_is_common_and_what_is_unique(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(0)
    noise = np.abs(rng.normal(size=scene.shape)).clip(0, 1) * 255
    a, b = scene.copy(), scene.copy()
    a[60:120, 40:120] = noise[60:120, 40:120]
    b[110:170, 130:200] = noise[110:170, 130:200]
    parts = fuser.decompose(a, b)
    inner = (slice(70, 100), slice(50, 110))  # b alone shows the scene there
    assert parts.unique_b[inner].mean() > parts.unique_a[inner].mean()
    assert all(part.shape == scene.shape and part.dtype == np.uint8 for part in parts)


def test_one_fuser_serves_several_threads(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    pairs = [masked(scene, seed) for seed in range(6)]
    alone = [fuser.fuse(pair) for pair in pairs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(fuser.fuse, pairs))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_weights_say_how_the_picture_is_made(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    a, b = masked(scene, seed=0)
    painted = Fuser(weights="paper")
    assert not np.array_equal(fuser.fuse([a, b]), painted.fuse([a, b]))
    assert psnr(painted.fuse([scene, scene]), scene) > 20
    with pytest.raises(WeightsError, match="3 sources came, but weights 'paper' fuse two"):
        painted.fuse([a, b, scene])


@pytest.mark.parametrize("count", [0, 1])
def test_two_sources_are_expected(fuser: Fuser, scene: NDArray[np.uint8], count: int) -> None:
    with pytest.raises(ImageError, match=f"^{count} source"):
        fuser.fuse([scene] * count)


def test_a_lone_array_is_refused(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="expected a list of two or more"):
        fuser.fuse(scene)


def test_sizes_have_to_match_unless_sources_are_aligned(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="source 2 is 230x201 pixels, source 1 is 231x201"):
        defusion.fuse([scene, scene[:, 1:]], align="off")
    assert fuser.fuse([scene, scene[:, 1:]]).shape == scene.shape  # all but a column is in both


def test_nan_is_refused_with_its_count(fuser: Fuser, scene: NDArray[np.uint8]) -> None:
    broken = (scene / 255).astype(np.float32)
    broken[3, 5] = np.nan
    with pytest.raises(ImageError, match="source 1 holds 3 NaN"):
        fuser.fuse([broken, broken])


@pytest.mark.parametrize(
    ("needed", "work"),
    [
        (27, lambda fuser, scene: fuser.fuse([scene] * 3)),
        (27, lambda fuser, scene: fuser.decompose(scene, scene)),
        (44, lambda _, scene: Fuser(weights="paper").decompose(scene, scene)),
    ],
    ids=["fuse", "decompose", "paper"],
)
def test_too_little_memory_is_told_before_any_work(
    fuser: Fuser, scene: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, needed: int, work: Callable[..., object]
) -> None:
    monkeypatch.setattr("defusion.system.machine.free_bytes", lambda: 10_000_000)
    with pytest.raises(
        EngineError, match=rf"takes about {needed} MB of memory at once and 10 MB are free; close other"
    ):
        work(fuser, scene)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(WeightsError, match="no weights are named 'large'"):
        Fuser(weights="large")
    with pytest.raises(OptionError, match="engine came as 'abacus'"):
        Fuser(engine="abacus")
    with pytest.raises(OptionError, match="precision came as 'int3'"):
        Fuser(precision="int3")


def test_all_is_what_the_module_shows() -> None:
    assert sorted(defusion.__all__) == defusion.__all__
    assert all(hasattr(defusion, name) for name in defusion.__all__)
    with pytest.raises(AttributeError, match="no attribute 'melt'"):
        _ = defusion.melt


@pytest.mark.parametrize("statement", ["import defusion", "import defusion.cli", "import defusion.model"])
def test_imports_stay_light(statement: str) -> None:
    heavy = {"torch", "openvino", "cv2", "lightning", "dask", "starlette", "ray"}
    code = f"import sys; {statement}; print(sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_the_version_is_looked_up_when_it_is_asked_for() -> None:
    code = "import sys, defusion; print('importlib.metadata' in sys.modules, defusion.__version__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False", version("defusion")]


def test_fusing_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, defusion\n"
        "print(defusion.fuse([np.zeros((40, 48, 3), np.uint8), np.full((40, 48, 3), 9, np.uint8)]).shape)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "(40, 48, 3)"


@pytest.mark.parametrize("grey", [False, True])
def test_a_large_file_is_never_decoded_whole_and_each_piece_a_few_times(
    tmp_path: Path, grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sixteenth of a large picture: tiles, halos and what is kept are in proportion."""
    monkeypatch.setattr(tiff_segments, "_KEPT_ROWS", 384)
    monkeypatch.setattr(tiff_segments, "_AT_ONCE_BYTES", 2**20)
    scene = np.tile(data.astronaut(), (5, 2, 1))[:, :1000]
    sources = [scene[..., 0] if grey else scene // 2, 255 - scene if grey else scene]
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path, source in zip(paths, sources, strict=True):
        imwrite(path, source, tile=(128, 128), compression="zlib")
    decoded: Counter[tuple[int, int]] = Counter()
    layout = tiff_segments._layout

    def counting(page: object) -> tuple[object, ...]:
        high, wide, places, decode = layout(page)

        def count(content: bytes, number: int) -> np.ndarray:
            decoded[id(page), number] += 1
            return decode(content, number)

        return high, wide, places, count

    monkeypatch.setattr(tiff_segments, "_layout", counting)
    fused = Fuser(align="off").fuse_frames(frames_of(paths))
    assert fused.plan.task == ("infrared" if grey else "exposure")
    rows = [len(band) for band in fused.bands]
    assert sum(rows) == len(scene)
    assert len(decoded) == 2 * 20 * 8
    # To see what the sources are, for the stage before, for the tiles with their halos, and for colour.
    assert max(decoded.values()) <= 8
    assert sum(decoded.values()) / len(decoded) <= 6
