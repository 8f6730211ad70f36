"""One sentence for people about what was seen and done."""

from __future__ import annotations

from typing import Any

_SEEN = {
    "exposure": "{count} exposures",
    "focus": "{count} pictures that differ in focus",
    "infrared": "infrared and visible light",
    "generic": "{count} pictures of one scene",
}
_DEPTHS = {"uint8": "8 bits", "uint16": "16 bits", "float32": "floating point"}


def sentence(facts: dict[str, Any]) -> str:
    """Describes a result, such as `7 exposures, aligned to 0.2 px, fused at 4000x3000 in 16 bits`.

    Args:
        facts: What `fuse --json` prints.
    """
    seen = _SEEN[facts["task"]].format(count=facts["sources"])
    moved = ["what moved shown as one frame has it"] if facts.get("ghosts") else []
    made = f"fused at {facts['width']}x{facts['height']} in {_DEPTHS[facts['depth']]}"
    told = ", ".join((seen, *_aligned(facts.get("alignment")), *moved, made))
    return told[0].upper() + told[1:]


def _aligned(alignment: dict[str, Any] | None) -> list[str]:
    """Says how frames were aligned, if they were."""
    if alignment is None:
        return []
    frames = alignment["frames"]
    told = []
    moved = [each for each in frames if each["aligned"] and each["model"] != "identity"]
    residuals = [each["residual_px"] for each in moved if each["residual_px"] is not None]
    if moved:
        told.append(f"aligned to {max(residuals):.1f} px" if residuals else "aligned")
    for count, what in (
        (sum(not each["aligned"] and not each["left_out"] for each in frames), "not aligned"),
        (sum(each["left_out"] for each in frames), "left out"),
    ):
        if count:
            told.append(f"{count} {what}")
    return told
