"""TIFFs read by strips and tiles: any region, from any thread, in little memory; damage is told when it is met."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from defusion.errors import ImageError
from defusion.imaging import from_array, read, tiff_segments, to_array, write
from defusion.imaging.tiff_segments import TiffSamples

COLOUR = data.astronaut()[40:140, 100:250]  # 100x150
DEEP = COLOUR.astype(np.uint16) * 257 + np.arange(150, dtype=np.uint16)[:, np.newaxis] % 200
FLOAT = DEEP * np.float32(1 / 65535)

LAYOUTS = {
    "plain": {},
    "plain rows": {"rowsperstrip": 7},
    "lzw strips": {"rowsperstrip": 7, "compression": "lzw"},
    "predicted strips": {"rowsperstrip": 1, "compression": "adobe_deflate", "predictor": True},
    "packed strips": {"rowsperstrip": 16, "compression": "packbits"},
    "zstd strips": {"rowsperstrip": 16, "compression": "zstd"},
    "tiles": {"tile": (32, 48)},
    "deflated tiles": {"tile": (16, 32), "compression": "adobe_deflate", "predictor": True},
    "big": {"bigtiff": True, "rowsperstrip": 9, "compression": "lzw"},
}
SAMPLES = {"8": COLOUR, "16": DEEP, "float": FLOAT, "grey 16": DEEP[..., 1], "grey float": FLOAT[..., 2]}
SLICES = st.builds(slice, st.none() | st.integers(-9, 160), st.none() | st.integers(0, 160), st.integers(1, 40))


@pytest.fixture(autouse=True)
def _small_files_too() -> Iterator[None]:
    """Hypothesis runs many examples in one test, so this is one patch for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff_segments, "_AT_ONCE_BYTES", 0)
        yield


def saved(path: Path, samples: np.ndarray, **options: object) -> Path:
    photometric = "minisblack" if samples.ndim == 2 else "rgb"
    tifffile.imwrite(path, samples, **{"photometric": photometric, **options})
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Path]:
    folder = tmp_path_factory.mktemp("tiffs")
    return {
        (layout, kind, order): saved(
            folder / f"{layout} {kind} {'little' if order == '<' else 'big'}.tif", samples, byteorder=order, **options
        )
        for layout, options in LAYOUTS.items()
        for kind, samples in SAMPLES.items()
        for order in "<>"
    }


@given(
    layout=st.sampled_from(list(LAYOUTS)),
    kind=st.sampled_from(list(SAMPLES)),
    order=st.sampled_from("<>"),
    rows=SLICES,
    columns=SLICES,
)
def test_any_region_is_that_of_the_whole(files, layout, kind, order, rows, columns):
    picture = read(files[layout, kind, order])
    samples = SAMPLES[kind].reshape(100, 150, -1)
    assert isinstance(picture.samples, TiffSamples)
    assert (picture.depth, picture.grey, picture.notes) == (samples.dtype.name, samples.shape[2] == 1, ())
    region = picture.samples[rows, columns]
    assert region.dtype == samples.dtype
    np.testing.assert_array_equal(region, samples[rows, columns])
    np.testing.assert_array_equal(picture.region(rows, columns), from_array(samples).region(rows, columns))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", SAMPLES)
def test_the_whole_is_there_for_numpy(files, layout, kind):
    picture = read(files[layout, kind, ">"])
    np.testing.assert_array_equal(np.asarray(picture.samples), SAMPLES[kind].reshape(100, 150, -1))
    np.testing.assert_array_equal(to_array(picture, SAMPLES[kind]), SAMPLES[kind])
    np.testing.assert_array_equal(picture.samples[90:], SAMPLES[kind].reshape(100, 150, -1)[90:])


@pytest.mark.parametrize("colour", ["rgb", "ycbcr"])
def test_jpeg_tiles(tmp_path, colour):
    options = {"compression": "jpeg", "compressionargs": {"outcolorspace": colour}, "tile": (32, 32)}
    path = saved(tmp_path / "a.tif", COLOUR, **options)
    picture = read(path)
    assert isinstance(picture.samples, TiffSamples)
    np.testing.assert_array_equal(np.asarray(picture.samples), tifffile.imread(path))


def test_a_hole_in_a_sparse_file_is_black(tmp_path):
    content = bytearray(saved(tmp_path / "a.tif", COLOUR, tile=(32, 48), compression="lzw").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tif.pages[0].tags[name]
            size = {3: 2, 4: 4}[tag.dtype]
            content[tag.valueoffset : tag.valueoffset + size] = bytes(size)
    (tmp_path / "a.tif").write_bytes(content)
    assert read(tmp_path / "a.tif").samples[:33, :49].tolist()[0][0] == [0, 0, 0]
    np.testing.assert_array_equal(read(tmp_path / "a.tif").samples[32:, :], COLOUR[32:])
    assert "strips or tiles are left out" in read(tmp_path / "a.tif").notes[0]


def test_a_strip_without_bytes_is_damage(tmp_path):
    content = bytearray(saved(tmp_path / "a.tif", COLOUR, tile=(32, 48), compression="lzw").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        tag = tif.pages[0].tags["TileByteCounts"]
    size = {3: 2, 4: 4}[tag.dtype]
    content[tag.valueoffset : tag.valueoffset + size] = bytes(size)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match="1 of its strips or tiles have no bytes"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("key", [slice(None, None, -1), (slice(3), slice(9, 3, -2))])
def test_backward_slices_are_refused(files, key):
    with pytest.raises(ValueError, match="steps above zero"):
        read(files["tiles", "8", "<"]).samples[key]


# ---------------------------------------------------------------------- what is decoded, and how often


def counted(samples: TiffSamples, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    decoded: list[int] = []
    decode = samples._decode

    def count(content: bytes, number: int) -> np.ndarray:
        decoded.append(number)
        return decode(content, number)

    monkeypatch.setattr(samples, "_decode", count)
    return decoded


def test_only_what_a_region_touches_is_decoded_and_once(tmp_path, monkeypatch):
    samples = read(saved(tmp_path / "a.tif", DEEP, tile=(32, 48), compression="lzw")).samples  # 4 x 4 tiles
    decoded = counted(samples, monkeypatch)
    samples[32:64, 0:48]
    assert decoded == [4]
    samples[30:34, 40:100]
    assert sorted(decoded) == [0, 1, 2, 4, 5, 6]
    samples[0:40, 0:144]
    assert sorted(decoded) == [0, 1, 2, 4, 5, 6]


def test_steps_pass_over_segments(tmp_path, monkeypatch):
    samples = read(saved(tmp_path / "a.tif", DEEP, rowsperstrip=5, compression="lzw")).samples
    decoded = counted(samples, monkeypatch)
    samples[2::50, ::3]
    assert sorted(decoded) == [0, 10]


def test_what_is_kept_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_segments, "_KEPT_ROWS", 20)
    samples = read(saved(tmp_path / "a.tif", DEEP, rowsperstrip=5, compression="lzw")).samples
    decoded = counted(samples, monkeypatch)
    for _ in range(2):
        for top in range(0, 100, 10):
            np.testing.assert_array_equal(samples[top : top + 10], DEEP[top : top + 10])
            assert sum(each.nbytes for each in samples._kept.values()) == samples._kept_bytes <= 20 * 150 * 6
    assert len(decoded) == 40, "what is long ago is decoded anew"


def test_many_threads_read_one_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_segments, "_KEPT_ROWS", 20)
    samples = read(saved(tmp_path / "a.tif", DEEP, tile=(16, 16), compression="adobe_deflate")).samples
    start = threading.Barrier(8)

    def look(seed: int) -> bool:
        start.wait()
        corners = np.random.default_rng(seed).integers(0, 90, (40, 2))
        return all(np.array_equal(samples[y : y + 40, x : x + 40], DEEP[y : y + 40, x : x + 40]) for y, x in corners)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(8)))
    assert sum(each.nbytes for each in samples._kept.values()) == samples._kept_bytes


@pytest.mark.parametrize(
    "options", [{"rowsperstrip": 8, "compression": "zlib"}, {"tile": (64, 64), "compression": "zlib"}, {}]
)
def test_large_pictures_pass_in_little_memory(tmp_path, monkeypatch, options):
    monkeypatch.setattr(tiff_segments, "_KEPT_ROWS", 128)
    height, width = 6000, 1000
    whole = np.broadcast_to(np.arange(height, dtype=np.uint16)[:, np.newaxis, np.newaxis], (height, width, 3))
    path = saved(tmp_path / "a.tif", np.ascontiguousarray(whole), **options)
    tracemalloc.start()
    try:
        picture = read(path)
        assert (picture.region(slice(5990, 6000), slice(0, 10))[..., 0] * 65535).round().tolist()[9] == [5999] * 10
        write(tmp_path / "b.tif", picture)
        write(tmp_path / "b.png", picture)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.9 * whole.nbytes, f"{peak / 1e6:.0f} MB for a picture of {whole.nbytes / 1e6:.0f} MB"
    np.testing.assert_array_equal(read(tmp_path / "b.png").samples, whole)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), whole)


# ---------------------------------------------------------------------- what is decoded at once


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (DEEP, {"extratags": [(274, 3, 1, 6, True)], "rowsperstrip": 5}),
        (np.ascontiguousarray(np.moveaxis(DEEP, 2, 0)), {"planarconfig": "separate"}),
        (DEEP[..., 0], {"photometric": "miniswhite", "rowsperstrip": 5}),
        (np.dstack([DEEP, DEEP[..., :1]]), {"extrasamples": [2], "rowsperstrip": 5}),
        (FLOAT.astype(np.float16), {"rowsperstrip": 5}),
        (DEEP, {"rowsperstrip": 100, "compression": "lzw"}),
    ],
)
def test_other_layouts_are_decoded_at_once(tmp_path, samples, options):
    assert isinstance(read(saved(tmp_path / "a.tif", samples, **options)).samples, np.ndarray)


def test_small_pictures_are_decoded_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_segments, "_AT_ONCE_BYTES", DEEP.nbytes)
    assert isinstance(read(saved(tmp_path / "a.tif", DEEP, rowsperstrip=5)).samples, np.ndarray)


# ---------------------------------------------------------------------- damage and bad values, met late


def test_bad_floats_are_told_where_they_are(tmp_path):
    floats = FLOAT.copy()
    floats[90, 3, 0], floats[50, 3, 0] = np.nan, np.inf
    picture = read(saved(tmp_path / "a.tif", floats, rowsperstrip=10, compression="lzw"))
    np.testing.assert_array_equal(picture.region(slice(0, 50), slice(None)), FLOAT[:50])
    with pytest.raises(ImageError, match=r"^a\.tif holds 1 NaN or infinite"):
        picture.region(slice(0, 51), slice(None))
    with pytest.raises(ImageError, match=r"^a\.tif holds 1 NaN"):
        write(tmp_path / "b.tif", replace(picture, samples=picture.samples[60:]))
    assert [each.name for each in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("compression", ["lzw", "adobe_deflate", "zstd"])
def test_a_damaged_segment_costs_only_itself(tmp_path, compression):
    path = saved(tmp_path / "a.tif", DEEP, rowsperstrip=10, compression=compression)
    with tifffile.TiffFile(path) as tif:
        at, size = tif.pages[0].dataoffsets[5], tif.pages[0].databytecounts[5]
    content = bytearray(path.read_bytes())
    content[at : at + size] = bytes(size)
    path.write_bytes(content)
    picture = read(path)
    np.testing.assert_array_equal(picture.samples[60:], DEEP[60:])
    with pytest.raises(ImageError, match=r"a\.tif is truncated or damaged"):
        picture.region(slice(40, 70), slice(None))
    with pytest.raises(ImageError, match=r"a\.tif is truncated or damaged"):
        write(tmp_path / "b.tif", picture)
    assert [each.name for each in tmp_path.iterdir()] == ["a.tif"]


def test_a_file_cut_after_it_was_opened_is_told(tmp_path):
    path = saved(tmp_path / "a.tif", DEEP, rowsperstrip=10, compression="lzw")
    picture = read(path)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ImageError, match=r"a\.tif is truncated or damaged"):
        picture.region(slice(90, 100), slice(None))


def test_strips_that_are_missing_are_noticed(tmp_path):
    path = saved(tmp_path / "a.tif", DEEP, rowsperstrip=10, compression="lzw")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags["ImageLength"].offset
    content[at + 8 : at + 12] = (200).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"truncated or damaged"):
        read(path).region(slice(0, 200), slice(None))


# ---------------------------------------------------------------------- the file behind a picture


def test_a_picture_can_be_written_over_its_own_file(tmp_path):
    path = saved(tmp_path / "a.tif", DEEP, rowsperstrip=10, compression="lzw")
    picture = read(path)
    write(path, picture)
    np.testing.assert_array_equal(imagecodecs.imread(path), DEEP)
    np.testing.assert_array_equal(picture.samples[50:], DEEP[50:])


def test_the_file_is_closed_when_the_picture_is_gone(tmp_path):
    picture = read(saved(tmp_path / "a.tif", DEEP, rowsperstrip=10))
    file = picture.samples._file
    assert not file.closed
    del picture
    gc.collect()
    assert file.closed


def test_pages_in_a_circle_are_damage(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([COLOUR] * 3), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[2]
        next_at = last.offset + 2 + 12 * len(last.tags)
    content = bytearray(path.read_bytes())
    content[next_at : next_at + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tif is truncated or damaged"):
        read(path)
