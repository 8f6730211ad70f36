"""What files claim is checked before it is believed, and damage is not taken in silence."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from defusion.errors import ImageError
from defusion.imaging import from_array, read, write
from defusion.imaging.decoded import limit_pixels

NOISE = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    made = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def test_bombs_take_neither_memory_nor_time(shared: Path) -> None:
    folder = shared / "field" / "robustness" / "bombs"
    if not folder.is_dir():
        pytest.skip(f"no bombs: {folder} is absent")
    for name in (
        "tif_2e31_none.tif",
        "tif_60kx70k_none.tif",
        "jpeg_grey_65500.jpg",
        "jpeg_65500x20000.jpg",
        "png8_37k.png",
        "bmp_35k.bmp",
        "bmp_rle60k.bmp",
        "webp_16383.webp",
    ):
        before, began = psutil.Process().memory_info().rss, time.monotonic()
        with pytest.raises(ImageError, match="too short for that"):
            read(folder / name)
        assert psutil.Process().memory_info().rss - before < 2**28, name
        assert time.monotonic() - began < 20, name


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_png_with_half_its_rows_is_refused(tmp_path: Path, bits: int, interlace: int) -> None:
    grey = struct.pack(">IIBBBBB", 48 * 24 // bits, 64, bits, 0, 0, 0, interlace)
    rows = np.concatenate([np.zeros((64, 1), np.uint8), NOISE.reshape(64, -1)], axis=1)[:32].tobytes()
    (tmp_path / "a.png").write_bytes(png([(b"IHDR", grey), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]))
    with pytest.raises(ImageError, match="truncated or damaged"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path, mode: str) -> None:
    Image.fromarray(NOISE).convert(mode).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[content.index(b"IDAT") + 500] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="truncated or damaged"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (48, 64)])
def test_whole_pngs_pass(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    Image.fromarray(NOISE).resize(size).convert(mode).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").width == size[0]


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    made = io.BytesIO()
    Image.fromarray(NOISE).save(made, "JPEG", progressive=True)
    (tmp_path / "a.jpg").write_bytes(made.getvalue())
    assert read(tmp_path / "a.jpg").width == 48
    content = made.getvalue()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:last] + content[last:-2] * 200 + content[-2:])
    with pytest.raises(ImageError, match=r"holds 2\d\d scans, expected 100 at most"):
        read(tmp_path / "a.jpg")


def test_memory_that_is_not_free_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.zeros((6000, 6000), np.uint8)
    grey[::2] = np.random.default_rng(0).integers(0, 256, (3000, 6000))
    write(tmp_path / "a.png", from_array(grey))
    monkeypatch.setattr("defusion.imaging.limits.free_bytes", lambda: 10**8)
    with pytest.raises(ImageError, match="takes about 108 MB of memory and 100 MB are free"):
        read(tmp_path / "a.png")


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    made = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(made, form, **options)
    return made.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_was_cut_and_ended_is_refused(tmp_path: Path, mode: str, progressive: bool) -> None:
    content = saved("JPEG", mode, progressive=progressive)
    for name, made in {
        "cut": content[: len(content) * 2 // 3] + b"\xff\xd9",
        "nearly": content[:-24] + b"\xff\xd9",
        "zeros": content[: len(content) * 2 // 3] + bytes(len(content) // 3),
        "open": content[:-2],
    }.items():
        (tmp_path / f"{name}.jpg").write_bytes(made)
        with pytest.raises(ImageError, match="is truncated or damaged"):
            read(tmp_path / f"{name}.jpg")
    (tmp_path / "more.jpg").write_bytes(content + b"behind its end" * 99)
    assert read(tmp_path / "more.jpg").width == 48


def test_a_jpeg_that_may_be_damaged_is_told(tmp_path: Path) -> None:
    content = saved("JPEG", "RGB")
    content = content[: len(content) // 2] + bytes(2000) + b"\xff\xd9"
    (tmp_path / "a.jpg").write_bytes(content)
    assert "a.jpg: may be damaged, " in read(tmp_path / "a.jpg").notes[0]


@pytest.mark.parametrize("name", ["a.webp", "b.webp", "a.avif", "a.jp2"])
def test_an_end_of_zeros_is_told(tmp_path: Path, name: str) -> None:
    content = {
        "a.webp": lambda: saved("WEBP", "RGB", lossless=True),
        "b.webp": lambda: saved("WEBP", "RGB"),
        "a.avif": lambda: imagecodecs.avif_encode(NOISE),
        "a.jp2": lambda: imagecodecs.jpeg2k_encode(NOISE, level=0, codecformat="jp2"),
    }[name]()
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name).notes == ()
    (tmp_path / name).write_bytes(content[:-700] + bytes(700))
    assert f"{name}: may be damaged, its last 700 bytes are zeros" in read(tmp_path / name).notes


@pytest.mark.parametrize("side", [64, 3200])
def test_a_jpeg_inside_a_tiff_that_was_cut_is_refused(tmp_path: Path, side: int) -> None:
    picture = np.tile(NOISE, (side // 64, side // 48 + 1, 1))[:, :side]
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", compression="jpeg", rowsperstrip=32)
    assert read(tmp_path / "a.tif").region(slice(0, 1), slice(0, 1)).shape == (1, 1, 3)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        counts = tif.pages[0].tags["StripByteCounts"]
        kind = {3: "<H", 4: "<I"}[counts.dtype]
        at, last = counts.valueoffset + (counts.count - 1) * struct.calcsize(kind), tif.pages[0].databytecounts[-1]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    assert struct.unpack_from(kind, content, at) == (last,)
    struct.pack_into(kind, content, at, last // 2)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"[Pp]remature end"):
        read(tmp_path / "a.tif").region(slice(0, None), slice(0, 16))


def test_pictures_above_the_limit_of_pillow_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.webp").write_bytes(saved("WEBP", lossless=True))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert np.array_equal(read(tmp_path / "a.webp").samples, NOISE)
    assert Image.MAX_IMAGE_PIXELS == 1000


def claims() -> dict[str, bytes]:
    """Small files that say that they are very large."""
    gif = bytearray(saved("GIF", "P"))
    struct.pack_into("<HH", gif, 6, 65535, 65535)
    bmp = bytearray(saved("BMP"))
    struct.pack_into("<ii", bmp, 18, 30000, -30000)
    second = io.BytesIO()
    with tifffile.TiffWriter(second) as tif:
        tif.write(NOISE[::8, ::8], photometric="rgb", subfiletype=1, metadata=None)
        tif.write(NOISE, photometric="rgb", compression="zlib", metadata=None)
    second.seek(0)
    tags = tifffile.TiffFile(second).pages[1].tags
    places = [tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")]
    pages = bytearray(second.getvalue())
    for place in places:
        struct.pack_into("<I", pages, place, 37000)
    jp2 = bytearray(imagecodecs.jpeg2k_encode(np.zeros((64, 64, 3), np.uint8), level=0, codecformat="j2k"))
    for at in (8, 24):  # of the picture, and of its one tile
        struct.pack_into(">II", jp2, at, 30000, 30000)
    # Their decoder takes five times the samples.
    flat = jp2.replace(struct.pack(">II", 30000, 30000), struct.pack(">II", 12000, 12000))
    jxl = b"\xff\x0a" + (2 << 1 | 29999 << 3 | 1 << 21).to_bytes(6, "little") + bytes(40)  # a square
    return {
        "a.gif": bytes(gif),
        "a.bmp": bytes(bmp),
        "a.tif": bytes(pages),
        "a.j2k": bytes(jp2),
        "b.j2k": bytes(flat),
        "a.jxl": jxl,
    }


@pytest.mark.parametrize("name", claims())
def test_what_is_too_short_for_its_claim_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(claims()[name])
    with pytest.raises(ImageError, match="and is too short for that"):
        read(tmp_path / name)


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (320, 256), (60, 41), (7, 513), (160, 90), (2, 20000)])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    limit_pixels(0)
    try:
        for number, container in enumerate((False, True)):
            data = imagecodecs.jpegxl_encode(np.zeros(size[::-1], np.uint8), usecontainer=container)
            (tmp_path / f"{number}.jxl").write_bytes(data)
            with pytest.raises(ImageError, match=f"says that it is {size[0]}x{size[1]} pixels"):
                read(tmp_path / f"{number}.jxl")
    finally:
        limit_pixels(None)


@pytest.mark.parametrize("tag", [34675, 700])
def test_a_profile_that_is_a_number_is_left_out(tmp_path: Path, tag: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", NOISE, photometric="rgb", extratags=[(tag, 4, 1, 5, True)])
    assert read(tmp_path / "a.tif").region(slice(0, 8), slice(0, 8)).shape == (8, 8, 3)


def test_a_box_that_ends_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    data = bytearray(imagecodecs.jpegxl_encode(NOISE, usecontainer=True))
    data[12] = 0x80  # of the size of the second box
    (tmp_path / "a.jxl").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="has no picture"):
            read(tmp_path / "a.jxl")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
