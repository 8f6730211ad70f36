"""Which precision is chosen, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from defusion.runtime import load_engine, precision
from defusion.runtime.precision import chosen_precision
from defusion.weights import WeightsFile, save


def known(weights: WeightsFile, folder: Path, **psnr: float) -> WeightsFile:
    """The same weights, with figures of their precisions."""
    return save(folder / "known.safetensors", weights.tensors(), weights.config, {"psnr_to_float32": psnr})


@pytest.mark.parametrize(
    ("psnr", "has", "expected"),
    [
        ({"bfloat16": 51.0, "float16": 60.0}, ["FP32", "BF16", "FP16"], "bfloat16"),
        ({"bfloat16": 49.9, "float16": 60.0}, ["FP32", "BF16", "FP16"], "float16"),
        ({"bfloat16": 51.0, "float16": 60.0}, ["FP32", "FP16"], "float16"),
        ({"bfloat16": 51.0}, ["FP32"], "float32"),
        ({"bfloat16": 49.9}, ["FP32", "BF16"], "float32"),
        ({}, ["FP32", "BF16", "FP16"], "float32"),
    ],
)
def test_the_fastest_that_is_there_and_good_enough_is_chosen(
    small_weights: WeightsFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    psnr: dict[str, float],
    has: list[str],
    expected: str,
) -> None:
    monkeypatch.setattr(precision, "capabilities", lambda: has)
    chosen = chosen_precision(known(small_weights, tmp_path, **psnr))
    assert chosen.precision == expected
    assert (f"{psnr[expected]:.1f} dB" if expected in psnr else "no lower precision") in chosen.why


def test_what_is_chosen_is_what_runs(small_weights: WeightsFile, tmp_path: Path) -> None:
    weights = known(small_weights, tmp_path, bfloat16=55.0, float16=55.0)
    assert load_engine(weights).precision == chosen_precision(weights).precision
    assert load_engine(weights, precision="float32").precision == "float32"
    assert load_engine(weights, engine="torch").precision == "float32"
