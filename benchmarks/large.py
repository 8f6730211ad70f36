"""Fuses files of up to a gigapixel by the command, and measures seconds and peak memory.

    python benchmarks/large.py [--megapixels 100 250 1000] [--tasks exposure focus infrared] [--bits 8] [--folder DIR]
                               [-o TABLE.md]

Each pair is made from free photographs, strip by strip: one file has tiles, the other strips, both with deflate. DIR
holds the pair and the result until they are measured; a gigapixel of 8 bits takes about 6 GB there. With `--bits 16`
the result of a gigapixel is a BigTIFF.

Peak memory is measured for the process. The last columns check the result: its middle and its last corner are read
back by region and compared with the sources.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from imagecodecs import deflate_encode, delta_encode
from numpy.typing import NDArray
from skimage.data import astronaut, coffee
from skimage.filters import gaussian
from tifffile import TiffFile, TiffWriter

from defusion.imaging import open_output, read

#: Width and height, by megapixels.
SIZES = {30: (6000, 5000), 100: (12500, 8000), 250: (20000, 12500), 1000: (40000, 25000)}
TASKS = ("exposure", "focus", "infrared")
SEGMENT_PX = 512

Texture = NDArray[np.float32]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class Source(NamedTuple):
    """The content of a source: a texture that repeats, and a factor for its brightness."""

    near: Texture
    far: Texture
    """The texture at the places that the other source shows best."""
    gain: float


def textures() -> tuple[Texture, Texture]:
    """Returns two free photographs, mirrored so that they repeat without an edge, sharp and out of focus."""
    photographs = [each[:400, :512] for each in (astronaut(), coffee())]
    row = np.concatenate(photographs, 1).astype(np.float32) / 255
    row = np.concatenate([row, row[:, ::-1]], 1)
    sharp = np.concatenate([row, row[::-1]])
    return sharp, gaussian(sharp, 3, mode="wrap", channel_axis=2).astype(np.float32)


def sources(task: str) -> tuple[Source, Source]:
    sharp, blurred = textures()
    if task == "exposure":
        return Source(sharp, sharp, 0.5), Source(sharp, sharp, 2.0)
    if task == "focus":
        return Source(sharp, blurred, 1.0), Source(blurred, sharp, 1.0)
    thermal = 1 - blurred.mean(2, keepdims=True)
    return Source(thermal, thermal, 1.0), Source(sharp, sharp, 1.0)


def strips(source: Source, width: int, height: int, bits: int) -> Iterator[Pixels]:
    """Yields the rows of a source, `SEGMENT_PX` at a time."""
    full = 2**bits - 1
    columns = np.arange(width)
    across = columns % source.near.shape[1]
    for top in range(0, height, SEGMENT_PX):
        rows = np.arange(top, min(top + SEGMENT_PX, height))
        down = rows % source.near.shape[0]
        places = ((columns // 3000 + rows[:, None] // 3000) % 2 == 0)[..., None]
        table = [np.clip(each * source.gain, 0, 1) * full for each in (source.near, source.far)]
        near, far = (each.astype(f"uint{bits}")[np.ix_(down, across)] for each in table)
        yield np.where(places, near, far)


def make(path: Path, source: Source, width: int, height: int, bits: int, *, tiled: bool) -> None:
    """Writes a source as a tiled TIFF or as a TIFF of strips."""
    channels = source.near.shape[2]
    if not tiled:
        form = {"height": height, "width": width, "channels": channels}
        with open_output(path, **form, depth="uint16" if bits == 16 else "uint8") as file:
            for strip in strips(source, width, height, bits):
                file.append(strip)
        return

    def tiles() -> Iterator[bytes]:
        for strip in strips(source, width, height, bits):
            beyond = ((0, SEGMENT_PX - len(strip)), (0, -width % SEGMENT_PX), (0, 0))
            padded = np.pad(strip, beyond, mode="edge")
            for left in range(0, width, SEGMENT_PX):
                tile = delta_encode(padded[:, left : left + SEGMENT_PX], axis=-2)
                yield bytes(deflate_encode(tile.tobytes(), level=1))

    with TiffWriter(path, bigtiff=True) as file:
        file.write(
            tiles(),
            shape=(height, width, channels),
            dtype=f"uint{bits}",
            photometric="rgb" if channels == 3 else "minisblack",
            tile=(SEGMENT_PX, SEGMENT_PX),
            compression="zlib",
            predictor=True,
        )


def fused_rows(files: list[Path], output: Path) -> tuple[float, float, str]:
    """Fuses files by the command, and returns seconds, peak megabytes and the task."""
    line = [sys.executable, "-m", "defusion", "fuse", *map(str, files), "-o", str(output)]
    watched = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=sys.stderr); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", watched, *line], capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    unit = 1 if sys.platform == "darwin" else 1024
    task = done.stderr.rpartition("(")[2].partition(":")[0]
    return seconds, int(done.stdout) * unit / 1e6, task


def distance(files: list[Path], output: Path) -> float:
    """Returns the largest share of pixels, over places all over the picture, that lie beyond both sources.

    A fused pixel should lie between the source pixels around it. A twentieth is allowed beyond that.
    """
    pictures = [read(each) for each in (*files, output)]
    height, width = pictures[0].height, pictures[0].width
    worst = 0.0
    for down in (0, 0.5, 1):
        for across in (0, 0.5, 1):
            top, left = round(down * (height - 256)), round(across * (width - 256))
            *ones, made = (each.region(slice(top, top + 256), slice(left, left + 256)).mean(2) for each in pictures)
            low, high = np.minimum(*ones), np.maximum(*ones)
            worst = max(worst, float(np.mean((made < low - 0.05) | (made > high + 0.05))))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", nargs="+", type=int, choices=SIZES, default=[100, 250, 1000])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    lines = [
        "| MP | size | bits | task | seconds | MP/s | peak MB | result MB | BigTIFF | beyond both sources, % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for megapixels in options.megapixels:
        width, height = SIZES[megapixels]
        for task in options.tasks:
            with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
                files = [Path(scratch, "tiles.tif"), Path(scratch, "strips.tif")]
                for file, source in zip(files, sources(task), strict=True):
                    make(file, source, width, height, options.bits, tiled=file.stem == "tiles")
                output = Path(scratch, "fused.tif")
                seconds, peak_mb, told = fused_rows(files, output)
                with TiffFile(output) as tif:
                    big = "yes" if tif.is_bigtiff else "no"
                cells = (
                    f"{width * height / 1e6:.0f}",
                    f"{width}x{height}",
                    options.bits,
                    told,
                    f"{seconds:.0f}",
                    f"{width * height / 1e6 / seconds:.2f}",
                    f"{peak_mb:.0f}",
                    f"{output.stat().st_size / 1e6:.0f}",
                    big,
                    f"{100 * distance(files, output):.2f}",
                )
            lines.append(f"| {' | '.join(map(str, cells))} |")
            print(lines[-1], flush=True)
            if options.output:
                options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"making the pairs took {ours / 1e3:.0f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
