"""Reads the temperatures in radiometric JPEGs of DJI cameras, by DJI's own tool.

These files hold a raw plane in their APP3 segments. The formula that turns it into temperatures is not published, so
the tool `dji_irp` of DJI's Thermal SDK converts it, with the settings in the file.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from defusion.imaging.flir import Radiometric, segments
from defusion.imaging.picture import Measured

_TOOL = "dji_irp"

#: APP segments: EXIF, whose maker is DJI, and the raw plane, which is larger than other uses of this segment.
_EXIF, _PLANE = 0xE1, 0xE3
_PLANE_BYTES = 2**16

#: Seconds that the tool may take.
_PATIENCE = 60


def radiometric(jpeg: bytes, width: int, height: int) -> Radiometric | None:
    """Reads the temperatures of a radiometric JPEG. Returns None if it has none.

    Args:
        jpeg: The file.
        width: Width of the picture that the camera painted. The plane has the same shape.
        height: Its height.

    Raises:
        ValueError: The tool is not installed, or cannot read the file.
    """
    found = list(segments(jpeg))
    plane = sum(len(part) for marker, part in found if marker == _PLANE)
    if plane < _PLANE_BYTES or not any(marker == _EXIF and b"DJI" in part for marker, part in found):
        return None
    tool = shutil.which(_TOOL)
    if tool is None:
        raise ValueError(f"{_TOOL}, the tool of DJI's Thermal SDK, is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.jpg", Path(folder) / "celsius.raw"
        source.write_bytes(jpeg)
        command = [tool, "-s", str(source), "-a", "measure", "-o", str(target), "--measurefmt", "float32"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(f"{_TOOL} failed ({type(error).__name__})") from error
        if done.returncode or not target.exists():
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ValueError(f"{_TOOL} failed ({said[-1] if said else f'exit code {done.returncode}'})")
        celsius = np.fromfile(target, "<f4").astype(np.float32)
    rows = round((celsius.size * height / width) ** 0.5)
    if not rows or celsius.size % rows or not np.isfinite(celsius).all():
        raise ValueError(f"{_TOOL} gave {celsius.size} values for a picture of {width}x{height} pixels")
    return Radiometric(celsius.reshape(rows, -1), Measured("celsius"))
