"""Damaged files of every kind: one sentence or a picture, never another exception, much memory or a long time.

`make fuzz N=12000` runs more of them; DEFUSION_FUZZ_SEED takes others.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from defusion.errors import ImageError
from defusion.imaging import read

COUNT = int(os.environ.get("DEFUSION_FUZZ", "240"))
SEED = int(os.environ.get("DEFUSION_FUZZ_SEED", "0"))
NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)


def good_files(folder: Path) -> list[Path]:
    picture = Image.fromarray(NOISE)
    for name, options in {
        **{"a.png": {}, "a.bmp": {}, "a.webp": {"lossless": True}, "b.webp": {}, "a.jpg": {}},
        **{"b.jpg": {"progressive": True}, "lzw.tif": {"compression": "tiff_lzw"}},
    }.items():
        picture.save(folder / name, **options)
    picture.convert("P").save(folder / "b.png")
    deep = NOISE.astype(np.uint16) * 257
    for name, compression in {"none": None, "deflate": "zlib", "lzma": "lzma", "zstd": "zstd"}.items():
        tifffile.imwrite(folder / f"{name}.tif", deep, compression=compression, photometric="rgb")
    tifffile.imwrite(folder / "white.tif", NOISE[..., 0], photometric="miniswhite")
    tifffile.imwrite(folder / "float.tif", NOISE[..., 0] / np.float32(255), tile=(16, 16))
    return sorted(folder.iterdir())


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes a few bytes, mostly near the start or the end, where headers are; or cuts, or doubles a part."""
    made = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        at = int(len(made) * rng.random() ** 3)
        at = at if rng.random() < 0.5 else len(made) - 1 - at
        made[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
    kind, at = rng.random(), int(rng.integers(1, len(made)))
    if kind < 0.1:
        del made[at:]
    elif kind < 0.2:
        made[at:at] = made[: rng.integers(1, 200)]
    return bytes(made)


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    contents = [(file.name, file.read_bytes()) for file in good_files(tmp_path / "good")]
    rng = np.random.default_rng(SEED)
    failed = []
    for number in range(COUNT):
        name, content = contents[number % len(contents)]
        file = tmp_path / name
        file.write_bytes(mutated(content, rng))
        began = time.monotonic()
        try:
            picture = read(file)
            picture.region(slice(0, 64), slice(0, 64))
        except ImageError:
            pass
        except Exception as error:
            failed.append(f"{number} {name}: {type(error).__name__}: {error}")
        if time.monotonic() - began > 20:
            failed.append(f"{number} {name}: took {time.monotonic() - began:.0f} s")
    assert failed == []
    if COUNT >= 1000 and sys.platform == "linux":  # by itself, as `make fuzz` runs it
        resource = pytest.importorskip("resource")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1.5e6  # kB
