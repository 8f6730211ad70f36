"""Time of one fusion on each engine, side by side in one run, and how far the pictures differ.

    python benchmarks/engines.py [--weights FILE] [--sides 512 1024] [--rounds 7] [-o TABLE.md]

All take turns, so that a machine that slows down slows all of them; the ratio is taken in each round and its
median is quoted. The peer is the same network in eager torch in float32, called as the paper's authors call theirs:
`network(a, b)` in inference mode. Our own torch engine is that network with its planes stored channels last.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from defusion.errors import EngineError
from defusion.model import DeFusion
from defusion.runtime import load_engine
from defusion.weights import WeightsFile, resolve


def pair(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes two smooth, noisy pictures, [1, 3, side, side]."""
    rng = np.random.default_rng(side)
    coarse = torch.from_numpy(rng.random((2, 3, side // 32, side // 32), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1).numpy()
    noisy = np.clip(smooth + rng.normal(0, 0.02, smooth.shape), 0, 1).astype(np.float32)
    return noisy[:1], noisy[1:]


Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]


def eager(weights: WeightsFile) -> Fuse:
    """The peer: the network as it is written, NCHW."""
    network = DeFusion.from_file(weights.path)

    @torch.inference_mode()
    def fuse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(a), torch.from_numpy(b)).fused.numpy()

    return fuse


def seconds(fuse: Fuse, a: np.ndarray, b: np.ndarray) -> float:
    began = time.perf_counter()
    fuse(a, b)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    weights = WeightsFile.open(resolve(options.weights))
    head = weights.config.heads[0]
    ways: dict[str, Fuse] = {"torch, eager, float32": eager(weights)}
    for engine, precision in (("torch", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")):
        try:
            loaded = load_engine(weights, engine=engine, precision=precision)
        except EngineError as error:
            print(error)
        else:
            ways[f"engine {engine}, {precision}"] = partial(loaded.fuse, head=head)
    lines = [
        f"Network `{weights.config.name}`, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, torch {torch.__version__}, openvino {version('openvino')}; median of "
        f"{options.rounds} rounds after one warm-up.",
        "",
        "| size | way | seconds (min to max) | times as fast as eager torch | largest difference, of 255 | "
        "pixels within 1/255 |",
        "|---|---|---|---|---|---|",
    ]
    for side in options.sides:
        a, b = pair(side)
        made = {name: fuse(a, b) for name, fuse in ways.items()}
        rounds = [{name: seconds(fuse, a, b) for name, fuse in ways.items()} for _ in range(options.rounds)]
        peer = next(iter(ways))
        for name in ways:
            times = [each[name] for each in rounds]
            ratio = statistics.median(each[peer] / each[name] for each in rounds)
            difference = np.abs(np.clip(made[name], 0, 1) - np.clip(made[peer], 0, 1)) * 255
            lines.append(
                f"| {side}x{side} | {name} | {statistics.median(times):.3f} ({min(times):.3f} to {max(times):.3f}) | "
                f"{ratio:.2f} | {difference.max():.3f} | {(difference <= 1).mean():.4%} |"
            )
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
