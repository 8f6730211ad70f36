"""Damaged files of every kind: one sentence or what they hold, never another exception, much memory or a long time.

`make fuzz N=12000` runs more of them; DEFUSION_FUZZ_SEED takes others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors.numpy import save as to_bytes

from defusion import align
from defusion.alignment.record import Alignment
from defusion.batch.manifest import of_manifest
from defusion.errors import DefusionError
from defusion.imaging import from_array, read, write
from defusion.training.recipe import load_recipe
from defusion.weights import bundled
from defusion.weights.file import WeightsFile, save

COUNT = int(os.environ.get("DEFUSION_FUZZ", "240"))
SEED = int(os.environ.get("DEFUSION_FUZZ_SEED", "0"))
NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)

TOML = """name = "mine"
base = "small"
epochs = 2
batch = 4
crop_px = 128
learning_rate = 1e-3
[pretext]
freeform = 0.3
[pretext.distortions]
noise = 0.4
"""


def look(file: Path) -> None:
    read(file).region(slice(0, 64), slice(0, 64))


def pictures(folder: Path) -> None:
    picture = Image.fromarray(NOISE)
    for name, options in {
        **{"a.png": {}, "a.bmp": {}, "a.webp": {"lossless": True}, "b.webp": {}, "a.jpg": {}, "a.ppm": {}},
        **{
            "b.jpg": {"progressive": True},
            "lzw.tif": {"compression": "tiff_lzw"},
            "jpeg.tif": {"compression": "jpeg"},
        },
    }.items():
        picture.save(folder / name, **options)
    for name in ("b.png", "a.gif", "b.bmp"):
        picture.convert("P").save(folder / name)
    deep = NOISE.astype(np.uint16) * 257
    for name, compression in {"none": None, "deflate": "zlib", "lzma": "lzma", "zstd": "zstd"}.items():
        tifffile.imwrite(folder / f"{name}.tif", deep, compression=compression, photometric="rgb")
    tifffile.imwrite(folder / "stack.tif", deep.transpose(2, 0, 1).copy(), imagej=True)
    tifffile.imwrite(folder / "white.tif", NOISE[..., 0], photometric="miniswhite")
    tifffile.imwrite(folder / "float.tif", NOISE[..., 0] / np.float32(255), tile=(16, 16))
    (folder / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(NOISE, usecontainer=True))
    (folder / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(NOISE, level=0, codecformat="jp2"))
    (folder / "a.avif").write_bytes(imagecodecs.avif_encode(NOISE))
    if find_spec("OpenEXR"):
        write(folder / "a.exr", from_array(NOISE / np.float32(255)))
    if find_spec("rawpy"):
        of_filters = [
            (33421, 3, 2, (2, 2), True),
            (33422, 1, 4, (0, 1, 1, 2), True),
            (50706, 1, 4, (1, 4, 0, 0), True),
        ]
        mosaic = deep[..., 1] >> 2
        tifffile.imwrite(folder / "a.dng", mosaic, photometric=32803, extratags=of_filters, metadata=None)


#: Who reads what is no picture, by suffix.
OTHERS: dict[str, Callable[[Path], object]] = {
    ".safetensors": lambda file: WeightsFile.open(file).tensors(),
    ".toml": lambda file: load_recipe(str(file)),
    ".json": Alignment.load,
    ".csv": lambda file: of_manifest(str(file)),
    ".jsonl": lambda file: of_manifest(str(file)),
}


def others(folder: Path) -> None:
    of_ours = WeightsFile.open(next(iter(bundled().values())))
    save(folder / "a.safetensors", {"w": np.zeros((2, 3), np.float32)}, of_ours.config, of_ours.about)
    (folder / "a.toml").write_text(TOML)
    (folder / "a.csv").write_text("scene,sources,options\none,a.png;b.png,align=off\n")
    (folder / "a.jsonl").write_text('{"scene": "one", "sources": ["a.png", "b.png"], "options": {"align": "off"}}\n')
    align([NOISE, np.roll(NOISE, 2, 1)]).alignment.save(folder / "a.json")


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


def test_mutated_files_are_read_or_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, work = tmp_path / "good", tmp_path / "work"
    good.mkdir()
    work.mkdir()
    pictures(good)
    others(good)
    contents = [(file.name, file.read_bytes()) for file in sorted(good.iterdir())]
    rng = np.random.default_rng(SEED)
    failed = []
    capfd.readouterr()
    for number in range(COUNT):
        name, content = contents[number % len(contents)]
        file = work / name
        file.write_bytes(mutated(content, rng))
        began = time.process_time()
        try:
            OTHERS.get(file.suffix, look)(file)
        except DefusionError:
            pass
        except Exception as error:
            failed.append(f"{number} {name}: {type(error).__name__}: {error}")
        if (took := time.process_time() - began) > 20:
            failed.append(f"{number} {name}: took {took:.0f} s")
        if any(said := capfd.readouterr()):
            failed.append(f"{number} {name}: said {said}")
        file.unlink()
        if left := list(work.iterdir()):
            failed.append(f"{number} {name}: left {left}")
    assert failed == []
    if COUNT >= 1000 and sys.platform == "linux":  # by itself, as `make fuzz` runs it
        resource = pytest.importorskip("resource")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1.5e6  # kB


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", DEEP),
        ("a.jsonl", DEEP + "\n"),
        ("b.jsonl", '{"scene": "a", "sources": ' + DEEP + "\n"),
        ("b.json", '{"frames": [], "width": 1e999, "height": 8, "reference": "a"}'),
        ("c.json", '{"frames": [3], "width": 8, "height": 8, "reference": "a"}'),
        ("c.jsonl", '{"scene": "a", "sources": 3}\n'),
        ("d.jsonl", '{"scene": "a", "sources": ["a"], "options": 3}\n'),
    ],
)
def test_what_is_nested_deeply_or_of_a_wrong_kind_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DefusionError):
        OTHERS[(tmp_path / name).suffix](tmp_path / name)


@pytest.mark.parametrize("told", [DEEP, '{"config": ' + DEEP, "3", "[]", '{"config": 3, "about": {}, "sha256": ""}'])
def test_weights_whose_description_makes_no_sense_are_refused(tmp_path: Path, told: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(to_bytes({"w": np.zeros(3, np.float32)}, {"defusion": told}))
    with pytest.raises(DefusionError, match="cannot make sense"):
        WeightsFile.open(tmp_path / "a.safetensors")
