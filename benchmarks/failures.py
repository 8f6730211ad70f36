"""Draws failures of fusing on pairs that are made from free photographs of scikit-image.

    python benchmarks/failures.py -o docs/failures.jpg [--weights FILE]

The photographs are `rocket` (NASA and SpaceX, public domain) and `camera` (Lav Varshney, CC0). Parts are at 100 %.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from defusion.api import Fuser
from defusion.evaluation.baselines import laplacian, mertens
from defusion.imaging import Picture, write
from defusion.imaging.figure import labelled_panels

SIDE_PX = 240
JPEG_QUALITY = 88

#: Exposures of an evening sky, as factors of light: in the longer one blue clips first, then green.
EXPOSURES = (0.5, 24.0)

#: What is darker than this in visible light is a warm coat; and how bright it and all else is in infrared.
DARK = 0.22
WARM, COLD = 0.72, 0.3


def exposures() -> tuple[Picture, Picture]:
    light = (data.rocket().astype(np.float32) / 255) ** np.float32(2.2)
    under, over = (_picture(np.clip(factor * light, 0, 1) ** np.float32(1 / 2.2)) for factor in EXPOSURES)
    return under, over


def visible_and_warm() -> tuple[Picture, Picture]:
    """A man in a dark coat before a bright sky, and the same man, warmer than all around him."""
    half = cv2.resize(data.camera(), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    coat = cv2.morphologyEx((half < DARK).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5)))
    coat = cv2.morphologyEx(coat, cv2.MORPH_CLOSE, np.ones((7, 7))).astype(np.float32)
    heat = cv2.GaussianBlur(COLD + 0.05 * half + (WARM - COLD) * coat, (0, 0), 1.0)
    return _picture(half[..., None]), _picture(heat[..., None])


def _picture(pixels: np.ndarray) -> Picture:
    return Picture.of_pixels(pixels.astype(np.float32), "uint8")


def _part(picture: Picture, top: int, left: int) -> Picture:
    return _picture(picture.pixels[top : top + SIDE_PX, left : left + SIDE_PX])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--weights")
    options = parser.parse_args()
    fuser = Fuser(weights=options.weights)
    panels: dict[str, Picture] = {}
    for kind, (a, b), baseline, (top, left) in (
        ("exposures", exposures(), mertens, (90, 200)),
        ("warm man", visible_and_warm(), laplacian, (16, 0)),
    ):
        fused = fuser.fuse_pictures([a, b])
        other = _picture(np.clip(baseline(a.pixels, b.pixels), 0, 1))
        made = {"source a": a, "source b": b, "defusion": fused, baseline.__name__: other}
        panels |= {f"{kind}: {label}": _part(picture, top, left) for label, picture in made.items()}
    sheet = labelled_panels(panels, columns=4).samples[:, :]
    if options.output.suffix == ".jpg":
        cv2.imwrite(str(options.output), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    else:
        write(options.output, Picture(sheet))


if __name__ == "__main__":
    main()
