"""Chooses the precision of the network if the user has not."""

from __future__ import annotations

from typing import NamedTuple

from defusion.runtime.engine import Precision
from defusion.weights import WeightsFile

#: A precision is good enough if its pictures have at least this PSNR against float32, in dB, on every data set.
GOOD_PSNR = 50.0

#: OpenVINO's names for the precisions, in a processor's list of capabilities.
CAPABILITIES: dict[Precision, str] = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}


class ChosenPrecision(NamedTuple):
    """A precision, and why it was chosen."""

    precision: Precision
    why: str


def capabilities() -> list[str]:
    """Returns what the processor computes natively, by OpenVINO's names."""
    from defusion.runtime.vino import Core

    return list(Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def chosen_precision(weights: WeightsFile) -> ChosenPrecision:
    """Chooses the fastest precision that the processor has and that was measured to be good enough for the weights.

    The measurement is in the weights file as `about["psnr_to_float32"]`: the mean of the worst data set, in dB, by
    precision.
    """
    known: dict[str, float] = weights.about.get("psnr_to_float32", {})
    low: tuple[Precision, ...] = ("bfloat16", "float16")
    for precision in low:
        if CAPABILITIES[precision] not in capabilities():
            continue
        if known.get(precision, 0) >= GOOD_PSNR:
            return ChosenPrecision(
                precision, f"the processor has {precision}, at {known[precision]:.1f} dB from float32"
            )
    figures = ", ".join(f"{name} {value:.1f} dB" for name, value in known.items()) or "nothing measured"
    return ChosenPrecision(
        "float32", f"no lower precision that this processor has is known to reach {GOOD_PSNR:g} dB (known: {figures})"
    )
