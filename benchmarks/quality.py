"""Measures the picture quality of weights on a folder of scenes.

    python benchmarks/quality.py BENCH [--weights FILE] [--sheets DIR] [-o TABLE.md]

BENCH holds <set>/<scene>/<role>.<suffix>. Four things are measured:

- truth: PSNR of the fused picture against `gt`, in sets whose scenes have one; beside it the plain average's;
- identical: PSNR of a picture fused with itself against that picture, on 50 pictures of all sets;
- masked: PSNR against the scene of sources that the paper's pretext masked (eq. 1), same pictures;
- parts: mean absolute error of the fused picture and of the parts of those masked sources.

PSNR is 10 log10(1 / MSE) over all pixels and channels of a picture in [0, 1], then the mean over pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scenes import pair_of, psnr

from defusion.api.fuser import Fuser
from defusion.imaging import Picture, read, write
from defusion.imaging.figure import labelled_panels
from defusion.pretext import Pretext
from defusion.runtime import Planes

PICTURES = 50
CROP_PX = 256


def against_truth(fuser: Fuser, bench: Path) -> list[tuple[str, int, float, float]]:
    rows = []
    for folder in sorted(bench.iterdir()):
        scenes = [scene for scene in sorted(folder.glob("*")) if list(scene.glob("gt.*"))]
        ours, average = [], []
        for scene in scenes:
            a, b = (read(file) for file in pair_of(scene))
            truth = read(next(scene.glob("gt.*"))).pixels
            ours.append(psnr(fuser.fuse([a, b]).pixels, truth))
            average.append(psnr((a.pixels + b.pixels) / 2, truth))
        if scenes:
            rows.append((folder.name, len(scenes), float(np.mean(ours)), float(np.mean(average))))
    return rows


def on_single_pictures(fuser: Fuser, bench: Path) -> list[tuple[str, str]]:
    """Measures what needs only single pictures. Returns pairs of a description and a value."""
    scenes = sorted(scene for scene in bench.glob("*/*") if scene.is_dir())
    chosen = [scenes[i] for i in np.linspace(0, len(scenes) - 1, PICTURES).astype(int)]
    pictures = [read(pair_of(scene)[0]) for scene in chosen]
    identical = [psnr(fuser.fuse([each, each]).pixels, each.pixels) for each in pictures]
    masked, errors = on_masked_sources(fuser, [middle_of(each) for each in pictures])
    return [
        ("PSNR of a picture fused with itself", f"{np.mean(identical):.2f} dB"),
        ("PSNR of CUD-masked sources", f"{masked:.2f} dB"),
        *((f"mean absolute error, {name}", f"{found:.4f}") for name, found in errors.items()),
    ]


def middle_of(picture: Picture) -> Planes:
    """Returns the middle of a picture, up to `CROP_PX` wide and high. Its sides are multiples of eight."""
    high, wide = (min(side, CROP_PX) // 8 * 8 for side in picture.pixels.shape[:2])
    top, left = ((side - size) // 2 for side, size in zip(picture.pixels.shape, (high, wide), strict=False))
    crop = picture.pixels[top : top + high, left : left + wide]
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None])


def on_masked_sources(fuser: Fuser, scenes: Sequence[Planes]) -> tuple[float, dict[str, float]]:
    """Masks scenes by the paper's pretext, fuses them and measures the results, as means over scenes.

    Returns:
        PSNR of the fused picture, and the mean absolute errors of the parts and the fused picture by name.
    """
    generator = torch.Generator().manual_seed(0)
    pretext = Pretext()
    masked: list[float] = []
    errors: dict[str, list[float]] = {}
    for scene in scenes:
        batch = pretext(torch.from_numpy(scene), generator=generator)
        parts = fuser.decompose(*(pictured(source) for source in batch.sources))
        targets = (batch.common, *batch.uniques, batch.scene)
        for name, part, target in zip(parts._fields, parts, targets, strict=True):
            errors.setdefault(name, []).append(float(np.abs(part.pixels - pictured(target).pixels).mean()))
        masked.append(psnr(parts.fused.pixels, pictured(batch.scene).pixels))
    return float(np.mean(masked)), {name: float(np.mean(found)) for name, found in errors.items()}


def pictured(planes: torch.Tensor) -> Picture:
    """Turns planes [1, 3, H, W] into a picture."""
    return Picture(planes[0].permute(1, 2, 0).numpy())


def draw_sheets(fuser: Fuser, bench: Path, out: Path, most: int = 20) -> None:
    """Draws sources, parts and the fused picture of up to `most` scenes of each set."""
    for folder in sorted(bench.iterdir()):
        scenes = sorted(scene for scene in folder.glob("*") if scene.is_dir())
        for scene in scenes[:: max(1, len(scenes) // most)][:most]:
            a, b = (read(file) for file in pair_of(scene))
            if a.pixels.shape == b.pixels.shape and a.pixels.size < 12e6:
                parts = fuser.decompose(a, b)
                panels: dict[str, Picture] = {"source a": a, "source b": b, **parts._asdict()}
                (out / folder.name).mkdir(parents=True, exist_ok=True)
                write(out / folder.name / f"{scene.name}.png", labelled_panels(panels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    fuser = Fuser(weights=options.weights)
    lines = [
        f"Weights `{fuser.weights.path.stem}`.",
        "",
        "| measured | scenes | value | plain average |",
        "|---|---|---|---|",
    ]
    for name, scenes, ours, average in against_truth(fuser, options.bench):
        lines.append(f"| PSNR against the truth, {name} | {scenes} | {ours:.2f} dB | {average:.2f} dB |")
    lines += [
        f"| {measured} | {PICTURES} | {value} | |" for measured, value in on_single_pictures(fuser, options.bench)
    ]
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    if options.sheets:
        draw_sheets(fuser, options.bench, options.sheets)


if __name__ == "__main__":
    main()
