"""Measures alignment on scenes that are warped by known matrices: `python benchmarks/align.py BENCH -o rows.jsonl`.

Every second scene by name steers what is tuned (--half steer), the others are reported (--half report). The sets
themselves are not exact; so beside the error against the known warp, which takes them as exact, stands *agreement*: a
source aligned after a shift of a few pixels, and aligned after a known warp, must give matrices that differ by what
is known. (As it is, a source that nearly lines up would be left where it is, and its matrix would say nothing about
fractions of a pixel.)

Rows that are in the file already are not made again, so a run can be broken off, or done in slices (--part 2/5).
`--by keypoints` and `--by ecc` measure OpenCV's own ways. `--show` prints the table of a file, `--calibrate` the
weights of the confidence for `alignment/verdict.py`.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defusion.alignment.geometry import Matrix, Shape, mapped, shifted
from defusion.alignment.pair import PairAlignment, lined_up
from defusion.alignment.representation import LuminancePyramid
from defusion.imaging import luminance, read

MOST_PX = 1.2e6
MARGIN = 0.1
WRONG_PX = 5.0
#: Maps pixels of a frame that is only shifted to those of the window.
SHIFT = shifted(3.4, -2.6)
WARPS = {
    "exposure": ("h2", "h5", "similarity"),
    "focus": ("h2", "h5", "similarity"),
    **dict.fromkeys(("roadscene", "vifb", "tno"), ("h2", "crop")),
    "medical": ("similarity",),
}


class Pair(NamedTuple):
    """Two files of one scene."""

    kind: str
    name: str
    reference: Path
    moving: Path


def pairs(bench: Path) -> Iterator[Pair]:
    """Returns all pairs of the bench. From an exposure stack, these are the pairs of neighbouring frames."""
    folders = {
        "exposure": ("mefb", "exposure_stacks_kedema", "exposure_stacks_ipol"),
        "focus": ("mfifb",),
        **{each: (each,) for each in ("roadscene", "vifb", "tno")},
        "medical": ("medical_mri_ct", "medical_mri_pet", "medical_mri_spect"),
    }
    first = {"near": 0, "vis": 0}
    for kind, sets in folders.items():
        scenes = [scene for each in sets for scene in sorted((bench / each).iterdir())]
        for scene in scenes:
            files = sorted(scene.iterdir(), key=lambda file: (first.get(file.stem, 1), file.name))
            for number, (a, b) in enumerate(pairwise(files)):
                if a.stem != b.stem and (number == 0 or kind == "exposure"):
                    yield Pair(kind, f"{scene.parent.name}/{scene.name}/{number}", a, b)


def loaded(path: Path, shape: Shape | None = None) -> NDArray[np.float32]:
    picture = np.ascontiguousarray(luminance(read(path).pixels)[..., 0])
    height, width = picture.shape
    shrink = min(1.0, (MOST_PX / picture.size) ** 0.5)
    shape = shape or Shape(round(height * shrink), round(width * shrink))
    if shape != picture.shape:
        picture = cv2.resize(picture, (shape.width, shape.height), interpolation=cv2.INTER_AREA)
    return picture


def warp_of(kind: str, window: Shape, rng: np.random.Generator) -> tuple[Matrix, Shape]:
    """Returns a random matrix that maps pixels of the warped frame to pixels of the window, and the frame's shape."""
    height, width = window
    corners, middle = window.corners, np.array([(width - 1) / 2, (height - 1) / 2])
    if kind == "none":
        return np.eye(3), window
    if kind in ("h2", "h5"):
        moved = corners + rng.uniform(-1, 1, (4, 2)) * width * (0.02 if kind == "h2" else 0.05)
        return perspective(corners, moved), window
    size, field = (np.exp(rng.uniform(np.log(0.9), np.log(1.1))), 1.0), 1.0
    if kind == "crop":
        size, field = (1 / rng.uniform(0.3, 1.0), 1.0), rng.uniform(0.65, 1.0)
    factor = size[0]
    shape = window if kind == "similarity" else Shape(*(round(side / factor * field) for side in window))
    turn = np.deg2rad(rng.uniform(-3, 3))
    linear = factor * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([(shape.width - 1) / 2, (shape.height - 1) / 2])
    away = rng.uniform(-0.03, 0.03, 2) * width + rng.uniform(-0.5, 0.5, 2) * (1 - field) * np.array([width, height])
    moved = (shape.corners - centre) @ linear.T + middle + away
    if kind == "crop":
        moved = moved + rng.uniform(-1, 1, (4, 2)) * width * 0.008
    return perspective(shape.corners, moved), shape


def perspective(source: NDArray[np.float64], target: NDArray[np.float64]) -> Matrix:
    return np.asarray(cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32)), np.float64)


def warped(
    picture: NDArray[np.float32], matrix: Matrix, shape: Shape, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Warps by Lanczos interpolation at exact positions, and adds noise of one 8-bit level."""
    factor = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if factor > 1.2:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.45 * factor)
    across, down = np.meshgrid(np.arange(shape.width), np.arange(shape.height))
    at = mapped(matrix, np.stack([across.ravel(), down.ravel()], 1).astype(float))
    base = np.floor(at).astype(int)
    taps = np.arange(-2, 4)

    def weights(part: NDArray[np.float64]) -> NDArray[np.float64]:
        away = part[:, None] - taps
        kernel = np.sinc(away) * np.sinc(away / 3)
        return kernel / kernel.sum(1, keepdims=True)

    in_x, in_y = weights(at[:, 0] - base[:, 0]), weights(at[:, 1] - base[:, 1])
    made = np.zeros(len(at))
    for i, down_by in enumerate(taps):
        y = np.clip(base[:, 1] + down_by, 0, picture.shape[0] - 1)
        row = sum(
            in_x[:, j] * picture[y, np.clip(base[:, 0] + by, 0, picture.shape[1] - 1)] for j, by in enumerate(taps)
        )
        made += in_y[:, i] * row
    noisy = made + rng.normal(0, 1 / 255, len(at))
    return (np.round(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32).reshape(shape)


def error(found: Matrix, true: Matrix, moving: Shape) -> float:
    """Returns the mean distance of the warped frame's corners from their true positions, in pixels of the reference.

    Args:
        found: Maps the reference to the warped frame.
        true: Maps the warped frame to the reference.
        moving: Shape of the warped frame.
    """
    with np.errstate(all="ignore"):
        off = mapped(np.linalg.inv(found), moving.corners) - mapped(true, moving.corners)
    return float(np.nan_to_num(np.hypot(*off.T), nan=1e6).mean())


def by_keypoints(reference: NDArray[np.float32], moving: NDArray[np.float32]) -> Matrix:
    """Aligns by OpenCV's SIFT and MAGSAC++."""
    sift = cv2.SIFT.create()
    (of_a, said_a), (of_b, said_b) = (
        sift.detectAndCompute(np.round(255 * each).astype(np.uint8), None) for each in (reference, moving)
    )
    if said_a is None or said_b is None:
        return np.eye(3)
    near = [each for each in cv2.BFMatcher().knnMatch(said_a, said_b, 2) if len(each) == 2]
    sure = [first for first, second in near if first.distance < 0.8 * second.distance]
    if len(sure) < 4:
        return np.eye(3)
    places = (
        np.array([of_a[each.queryIdx].pt for each in sure]),
        np.array([of_b[each.trainIdx].pt for each in sure]),
    )
    found, _inliers = cv2.findHomography(*places, cv2.USAC_MAGSAC, 3.0)
    return np.eye(3) if found is None else np.asarray(found, np.float64)


def by_ecc(reference: NDArray[np.float32], moving: NDArray[np.float32]) -> Matrix:
    """Aligns by OpenCV's ECC, which starts at no motion."""
    planes = (cv2.GaussianBlur(each, (0, 0), 2) for each in (reference, moving))
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    try:
        _, found = cv2.findTransformECC(*planes, np.eye(3, dtype=np.float32), cv2.MOTION_HOMOGRAPHY, stop, None, 5)
    except cv2.error:  # it does not converge
        return np.eye(3)
    return np.asarray(found, np.float64)


OTHER_WAYS = {"keypoints": by_keypoints, "ecc": by_ecc}


def row_by(way: str, pair: Pair, warp: str) -> dict[str, Any]:
    """Measures another way of aligning on what `rows_of` measures."""
    a = loaded(pair.reference)
    b = loaded(pair.moving, Shape(*a.shape))
    left, top = round(a.shape[1] * MARGIN), round(a.shape[0] * MARGIN)
    window = Shape(a.shape[0] - 2 * top, a.shape[1] - 2 * left)
    reference = np.ascontiguousarray(a[top : top + window.height, left : left + window.width])
    plain = warped(b, shifted(left, top) @ SHIFT, window, np.random.default_rng(zlib.crc32(pair.name.encode())))
    rng = np.random.default_rng(zlib.crc32(f"{pair.name} {warp}".encode()))
    true, shape = warp_of(warp, window, rng)
    moving = warped(b, shifted(left, top) @ true, shape, rng)
    align = OTHER_WAYS[way]
    own = SHIFT @ align(reference, plain)
    start = time.process_time()
    found = align(reference, moving)
    seconds = time.process_time() - start
    of_own = np.linalg.inv(np.linalg.inv(true) @ own)
    return {
        "kind": pair.kind,
        "name": pair.name,
        "warp": warp,
        "error": error(found, true, shape),
        "agreement": error(found, of_own, shape),
        "unaligned": None,
        "seconds": seconds,
        **{"aligned": True, "confidence": 1.0},  # these ways do not say how sure they are
    }


def rows_of(pair: Pair, warps: list[str]) -> Iterator[dict[str, Any]]:
    a = loaded(pair.reference)
    b = loaded(pair.moving, Shape(*a.shape))
    left, top = round(a.shape[1] * MARGIN), round(a.shape[0] * MARGIN)
    window = Shape(a.shape[0] - 2 * top, a.shape[1] - 2 * left)
    reference = LuminancePyramid(a[top : top + window.height, left : left + window.width])
    rng = np.random.default_rng(zlib.crc32(pair.name.encode()))
    own = lined_up(reference, LuminancePyramid(warped(b, shifted(left, top) @ SHIFT, window, rng)))
    own = own._replace(matrix=SHIFT @ own.matrix)
    for warp in warps:
        rng = np.random.default_rng(zlib.crc32(f"{pair.name} {warp}".encode()))
        true, shape = warp_of(warp, window, rng)
        moving = LuminancePyramid(warped(b, shifted(left, top) @ true, shape, rng))
        start = time.process_time()
        found = lined_up(reference, moving)
        yield row_of(pair, warp, own, found, true, window, shape, time.process_time() - start)


def row_of(
    pair: Pair,
    warp: str,
    own: PairAlignment,
    found: PairAlignment,
    true: Matrix,
    window: Shape,
    shape: Shape,
    seconds: float,
) -> dict[str, Any]:
    of_own = np.linalg.inv(np.linalg.inv(true) @ own.matrix)  # the truth as the set's own alignment has it
    return {
        "kind": pair.kind,
        "name": pair.name,
        "warp": warp,
        "error": error(found.matrix, true, shape),
        "agreement": error(found.matrix, of_own, shape),
        "own": error(own.matrix, np.eye(3), window),
        "unaligned": error(np.eye(3), true, shape) if shape == window else None,
        "seconds": seconds,
        "model": found.model,
        "aligned": found.verdict.good,
        "own_aligned": own.verdict.good,
        "own_features": own.verdict.features,
        "confidence": found.verdict.confidence,
        "residual_px": found.verdict.residual_px,
        "features": found.verdict.features,
        "matrix": found.matrix.tolist(),
    }


def area_under_curve(right: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Returns how often a right alignment has more confidence than a wrong one."""
    if right.all() or not right.any():
        return float("nan")
    more = confidence[right][:, None] - confidence[~right][None]
    return float((more > 0).mean() + 0.5 * (more == 0).mean())


def is_right(row: dict[str, Any]) -> bool:
    """Returns whether the alignment is within WRONG_PX both of the set's truth and of the set's own alignment."""
    return bool(min(row["error"], row["agreement"]) <= WRONG_PX)


def show(rows: list[dict[str, Any]]) -> None:
    print(
        "kind       warp        n | error  50 %   95 %  wrong | agree 50 %   95 %  wrong"
        " | wrong, called aligned | right, not called | worse | AUC | s"
    )
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        for key in ((row["kind"], row["warp"]), (row["kind"], "all")):
            groups.setdefault(key, []).append(row)
    for (kind, warp), some in sorted(groups.items()):
        off, agree = (np.array([each[key] for each in some]) for key in ("error", "agreement"))
        right = np.array([is_right(each) for each in some])
        called = np.array([each["aligned"] for each in some])
        confidence = np.array([each["confidence"] for each in some])
        worse = sum(
            each["unaligned"] is not None and each["aligned"] and each["error"] > each["unaligned"] + 0.1
            for each in some
        )
        print(
            f"{kind:10} {warp:10} {len(some):3}"
            f" | {np.median(off):6.2f} {np.percentile(off, 95):7.1f} {(off > WRONG_PX).mean():5.0%}"
            f" | {np.median(agree):6.2f} {np.percentile(agree, 95):7.1f} {(agree > WRONG_PX).mean():5.0%}"
            f" | {(called & ~right).sum():3} of {(~right).sum():3} | {(~called & right).sum():3} of {right.sum():3}"
            f" | {worse:3} | {area_under_curve(right, confidence):.3f}"
            f" | {np.median([each['seconds'] for each in some]):.2f}"
        )


def calibrate(rows: list[dict[str, Any]]) -> None:
    """Fits the confidence by logistic regression on standardised features, with a little ridge, and prints the
    numbers that `verdict.py` holds.
    """
    names = sorted(rows[0]["features"])
    table = np.array([[each["features"][name] for name in names] for each in rows])
    right = np.array([is_right(each) for each in rows], float)
    mean, spread = table.mean(0), table.std(0) + 1e-9
    design = np.column_stack([(table - mean) / spread, np.ones(len(table))])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ weights))
        normal = (design * (p * (1 - p))[:, None]).T @ design + np.diag([0.5] * len(names) + [1e-6])
        weights += np.linalg.solve(normal, design.T @ (right - p) - np.append(0.5 * weights[:-1], 0))
    plain = weights[:-1] / spread
    print({name: round(float(each), 3) for name, each in zip(names, plain, strict=True)})
    print(
        "constant", round(float(weights[-1] - plain @ mean), 3), "AUC", area_under_curve(right > 0, design @ weights)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--half", choices=("steer", "report"), default="report")
    parser.add_argument("--kinds", default=",".join(WARPS))
    parser.add_argument("--warps")
    parser.add_argument("--part", default="1/1", help="2/5: the second of five slices")
    parser.add_argument("--by", choices=OTHER_WAYS)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--calibrate", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    if not (options.show or options.calibrate):
        done = {(row["name"], row["warp"]) for row in rows}
        part, parts = map(int, options.part.split("/"))
        chosen = list(pairs(options.bench))[int(options.half == "report") :: 2][part - 1 :: parts]
        with options.output.open("a") as out:
            for pair in chosen:
                asked = options.warps.split(",") if options.warps else WARPS[pair.kind]
                warps = [each for each in asked if each in WARPS[pair.kind] and (pair.name, each) not in done]
                if pair.kind in options.kinds.split(",") and warps:
                    by = options.by
                    for row in (row_by(by, pair, each) for each in warps) if by else rows_of(pair, warps):
                        rows.append(row)
                        out.write(json.dumps(row) + "\n")
                        out.flush()
    if options.calibrate:
        calibrate(rows)
    else:
        show(rows)


if __name__ == "__main__":
    main()
