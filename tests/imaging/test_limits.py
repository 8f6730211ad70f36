"""What files claim is checked before it is believed, and damage is not taken in silence."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from defusion.errors import ImageError
from defusion.imaging import from_array, read, write

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
    ):
        before, began = psutil.Process().memory_info().rss, time.monotonic()
        with pytest.raises(ImageError, match="too short for that"):
            read(folder / name)
        assert psutil.Process().memory_info().rss - before < 2**28, name
        assert time.monotonic() - began < 20, name


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_png_with_half_its_rows_is_refused(tmp_path: Path, interlace: int) -> None:
    head = struct.pack(">IIBBBBB", 48, 64, 8, 2, 0, 0, interlace)
    rows = np.concatenate([np.zeros((64, 1), np.uint8), NOISE.reshape(64, -1)], axis=1)[:32].tobytes()
    (tmp_path / "a.png").write_bytes(png([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]))
    with pytest.raises(ImageError, match="bytes of its rows, expected"):
        read(tmp_path / "a.png")


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png", from_array(NOISE))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[content.index(b"IDAT") + 500] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="checksum of chunk IDAT is wrong"):
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
