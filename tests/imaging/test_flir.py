"""Temperatures of radiometric JPEGs; the numbers expected are those of flyr 5.1.0 for the same files."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from defusion import ImageError
from defusion.imaging import read

#: Constants of a camera, as they are in files of many.
CAMERA = {
    **{0x20: 0.95, 0x24: 1.0, 0x28: 293.15, 0x2C: 293.15, 0x30: 293.15, 0x34: 1.0, 0x3C: 0.5},
    **{0x58: 21106.77, 0x5C: 1501.0, 0x60: 1.0, 0x30C: 0.012545258},
    **{0x70: 0.006569, 0x74: 0.01262, 0x78: -0.002276, 0x7C: -0.00667, 0x80: 1.9},
}
PLANCK_O = -7340


def radiometric_jpeg(path: Path, counts: NDArray[np.uint16], kind: str = "raw", **changed: float) -> None:
    """Writes a JPEG with the two records that temperatures take, in two segments.

    Args:
        path: To write.
        counts: Of the sensor.
        kind: How they are stored: "raw", "png", or "swapped", a PNG of the wrong byte order, as cameras write it.
        changed: Other values of the camera's fields, by their names here.
    """
    names = {"emissivity": 0x20, "distance": 0x24, "reflected": 0x28, "r1": 0x58}
    camera = bytearray(0x400)
    struct.pack_into("<H", camera, 0, 2)
    for at, value in (CAMERA | {names[name]: value for name, value in changed.items()}).items():
        struct.pack_into("<f", camera, at, value)
    struct.pack_into("<i", camera, 0x308, PLANCK_O)
    plane = counts.astype("<u2").tobytes() if kind == "raw" else b""
    if kind != "raw":
        plane = imagecodecs.png_encode(counts.byteswap() if kind == "swapped" else counts)
    raw = struct.pack("<HHH", 2, counts.shape[1], counts.shape[0]) + bytes(26) + plane
    start = 64 + 4 * 32
    entries = b""
    for record, at, length in ((1, start, len(raw)), (0x20, start + len(raw), len(camera))):
        entries += struct.pack(">HHIIII", record, 0, 100, 1, at, length) + bytes(12)
    entries += bytes(2 * 32)  # two that are free
    head = b"FFF\0" + b"made".ljust(16, b"\0") + struct.pack(">III", 101, 64, 4)
    container = head.ljust(64, b"\0") + entries + raw + bytes(camera)
    half = len(container) // 2
    parts = [container[:half], container[half:]]
    segments = b""
    for number, part in enumerate(parts):
        body = b"FLIR\0\1" + bytes([number, len(parts) - 1]) + part
        segments += b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 60, 10)).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    path.write_bytes(jpeg[:2] + segments + jpeg[2:])


@pytest.fixture
def counts() -> NDArray[np.uint16]:
    return np.linspace(12500, 18000, 24 * 32).astype(np.uint16).reshape(24, 32)


@pytest.mark.parametrize("kind", ["raw", "png", "swapped"])
def test_counts_become_degrees(tmp_path: Path, counts: NDArray[np.uint16], kind: str) -> None:
    radiometric_jpeg(tmp_path / "a.jpg", counts, kind)
    picture = read(tmp_path / "a.jpg")
    assert picture.samples.shape == (24, 32, 1) and picture.depth == "float32"
    assert picture.measured is not None and picture.measured.unit == "celsius"
    assert picture.measured.facts["emissivity"] == 0.95
    celsius = np.asarray(picture.samples)[..., 0]
    assert [celsius[0, 0], celsius[12, 16], celsius[-1, -1]] == pytest.approx([-16.612, 6.579, 23.216], abs=0.01)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"emissivity": 0.8, "distance": 5.0, "reflected": 303.15}, [-32.070, 0.356, 21.282]),
        ({"distance": 20.0}, [-18.091, 6.129, 23.314]),
    ],
)
def test_what_was_set_of_the_scene_counts(
    tmp_path: Path, counts: NDArray[np.uint16], changed: dict[str, float], expected: list[float]
) -> None:
    radiometric_jpeg(tmp_path / "a.jpg", counts, **changed)
    celsius = np.asarray(read(tmp_path / "a.jpg").samples)[..., 0]
    assert [celsius[0, 0], celsius[12, 16], celsius[-1, -1]] == pytest.approx(expected, abs=0.01)


def test_temperatures_that_cannot_be_read_leave_the_painted_picture(
    tmp_path: Path, counts: NDArray[np.uint16]
) -> None:
    radiometric_jpeg(tmp_path / "a.jpg", counts, r1=-1.0)
    picture = read(tmp_path / "a.jpg")
    assert picture.samples.shape == (48, 64, 3) and picture.measured is None
    assert "temperatures cannot be read" in picture.notes[0]


@pytest.mark.parametrize("cut", [30, 70, 150, 400, 1500])
def test_a_damaged_container_does_no_harm(tmp_path: Path, counts: NDArray[np.uint16], cut: int) -> None:
    radiometric_jpeg(tmp_path / "a.jpg", counts)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    data[cut : cut + 24] = b"\xff" * 24
    (tmp_path / "b.jpg").write_bytes(data)
    try:
        picture = read(tmp_path / "b.jpg")
    except ImageError:
        return
    assert np.isfinite(np.asarray(picture.samples, np.float32)).all()
