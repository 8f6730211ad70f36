"""What was seen and done, in one sentence for people."""

from __future__ import annotations

from typing import Any

_SEEN = {
    "exposure": "{count} exposures",
    "focus": "{count} pictures that differ in focus",
    "infrared": "infrared and visible light",
    "generic": "{count} pictures of one scene",
}


def sentence(facts: dict[str, Any]) -> str:
    """Tells a result, such as `3 exposures, fused at 4000x3000 in 16 bits`.

    Args:
        facts: What `fuse --json` prints.
    """
    seen = _SEEN[facts["task"]].format(count=facts["sources"])
    depth = {"uint8": "8 bits", "uint16": "16 bits", "float32": "floating point"}[facts["depth"]]
    return f"{seen[0].upper()}{seen[1:]}, fused at {facts['width']}x{facts['height']} in {depth}"
