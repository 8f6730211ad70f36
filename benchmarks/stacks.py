"""Stacks of a folder of scenes: does detail fade, does the order matter, how much memory do they take?

    python benchmarks/stacks.py BENCH [--repeat SCENE=28] [--most-mp 4] [--made 10 100] [-o TABLE.md]

A scene is a stack if its files are named frame_*. Each runs in a process of its own, through the command's own
code, to a 16-bit or 8-bit TIFF:

- sharpness: spatial frequency of the fused picture where the sharpest frame is sharpest, as a part of that frame's,
  over windows of 32 pixels, the sharper half of them;
- turned, of exposures: part of the places with colour, in the frame that is best exposed there, whose colour in the
  fused picture is rather the opposite;
- kept, of exposures: median saturation of these places, as a part of that frame's;
- order: largest and mean difference of the picture of the reversed stack, of 255 levels;
- peak memory and seconds.

`--repeat SCENE=N` names a stack's files again and again up to N, so that memory can be read at that length.

`--made` adds focus stacks of so many frames of 3 megapixels, made from a free photograph: a slope from left to right,
each frame in focus at a depth of its own and out of focus by its distance from that. `--made` with no BENCH runs them
alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scenes import scenes
from scipy.ndimage import gaussian_filter
from skimage.data import astronaut

from defusion.imaging import from_array, read, write

#: Spread of what is farthest from a made frame's focus.
MOST_SPREAD_PX = 12.0

#: A place has colour if its channels are at least so far from their mean.
COLOURED = 10 / 255


def run(files: list[Path], output: Path) -> tuple[float, float]:
    """Fuses files by the command; returns seconds and peak megabytes."""
    line = [sys.executable, "-m", "defusion", "fuse", *map(str, files), "-o", str(output)]
    watched = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", watched, *line], check=True, capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - began, int(done.stdout) * unit / 1e6


def megapixels(file: Path) -> float:
    picture = read(file)
    return picture.height * picture.width / 1e6


def frequency(pixels: np.ndarray) -> np.ndarray:
    """Spatial frequency, of 255 levels, of each window of 32 pixels."""
    luminance = pixels.mean(2) * 255
    squares = np.square(np.diff(luminance, axis=0))[:, :-1] + np.square(np.diff(luminance, axis=1))[:-1]
    rows, columns = (side // 32 for side in squares.shape)
    windows = squares[: rows * 32, : columns * 32].reshape(rows, 32, columns, 32)
    return np.sqrt(windows.mean((1, 3)))


def sharpness(fused: np.ndarray, files: list[Path]) -> float:
    best = frequency(read(files[0]).pixels)
    for file in files[1:]:
        best = np.maximum(best, frequency(read(file).pixels))
    detailed = best >= np.median(best)
    return float(np.median(frequency(fused)[detailed] / best[detailed]))


def colours(fused: np.ndarray, files: list[Path]) -> tuple[float, float]:
    """Part of coloured places that are turned, and the median saturation that is kept; see above."""
    best = np.full_like(fused, 9)
    for pixels in (read(file).pixels for file in files):
        away, least = (np.square(each - 0.5).sum(2, keepdims=True) for each in (pixels, best))
        best = np.where(away < least, pixels, best)
    chroma, of_best = (each - each.mean(2, keepdims=True) for each in (fused, best))
    coloured = np.linalg.norm(of_best, axis=2) > COLOURED
    turned = (chroma * of_best).sum(2)[coloured] < 0
    saturations = [
        np.linalg.norm(of_colour, axis=2)[coloured] / (picture.mean(2)[coloured] + 0.05)
        for of_colour, picture in ((chroma, fused), (of_best, best))
    ]
    return float(turned.mean()), float(np.median(saturations[0] / saturations[1]))


def make_stack(folder: Path, count: int) -> list[Path]:
    """Writes a focus stack of a slope: frames whose spread of focus grows with the distance from their own depth."""
    photograph = np.tile(astronaut(), (3, 4, 1))[:1500, :2000].astype(np.float32)
    spreads = np.linspace(0, MOST_SPREAD_PX, 9)
    blurred = np.stack([photograph, *(gaussian_filter(photograph, (spread, spread, 0)) for spread in spreads[1:])])
    depth = np.linspace(0, 1, photograph.shape[1])
    files = []
    for number in range(count):
        # The least spread is where a frame is in focus; between two spreads pixels are mixed.
        place = np.abs(depth - number / (count - 1)) * (len(spreads) - 1)
        before = np.minimum(place.astype(int), len(spreads) - 2)
        columns, part = np.arange(len(depth)), (place - before).astype(np.float32)[:, None]
        mixed = blurred[before, :, columns] * (1 - part)[:, None] + blurred[before + 1, :, columns] * part[:, None]
        files.append(folder / f"frame_{number:03}.png")
        write(files[-1], from_array(np.rint(mixed.transpose(1, 0, 2)).astype(np.uint8)))
    return files


def row_of(name: str, files: list[Path], scratch: Path) -> str:
    one, other = scratch / "one.tif", scratch / "other.tif"
    seconds, megabytes = run(files, one)
    run(files[::-1], other)
    fused, reverse = read(one).pixels, read(other).pixels
    apart = np.abs(fused - reverse) * 255
    turned, kept = colours(fused, files) if name.startswith("exposure") else (0.0, 0.0)
    cells = [
        *(name, len(files), f"{fused.shape[0] * fused.shape[1] / 1e6:.1f}", f"{sharpness(fused, files):.3f}"),
        *((f"{turned:.1%}", f"{kept:.2f}") if name.startswith("exposure") else ("", "")),
        *(f"{apart.mean():.4f}, {apart.max():.0f}", f"{seconds:.1f}", f"{megabytes:.0f}"),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, nargs="?")
    parser.add_argument("--repeat", nargs="*", default=[])
    parser.add_argument("--most-mp", type=float, default=100)
    parser.add_argument("--made", nargs="*", type=int, default=[10, 100])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    lengths = {name: int(count) for name, count in (each.split("=") for each in options.repeat)}
    lines = [
        "| stack | frames | MP | sharpness | turned | kept | reversed: mean, largest | seconds | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for name, folders in scenes(options.bench) if options.bench else ():
            for scene in folders:
                files = sorted(scene.glob("frame_*"))
                if len(files) < 2 or megapixels(files[0]) > options.most_mp:
                    continue
                if scene.name in lengths:
                    files = (files * lengths[scene.name])[: lengths[scene.name]]
                lines.append(row_of(f"{name}/{scene.name}", files, Path(scratch)))
                print(lines[-1], flush=True)
        for count in options.made:
            with tempfile.TemporaryDirectory() as folder:
                lines.append(row_of("a slope, made", make_stack(Path(folder), count), Path(scratch)))
            print(lines[-1], flush=True)
    text = "\n".join(lines)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
