"""Temperatures of DJI's radiometric JPEGs, by a tool that stands in for DJI's own."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defusion.imaging import read


def radiometric_jpeg(path: Path, *, planes: int = 2) -> None:
    """Writes a JPEG of 64x48 pixels as the cameras do, with so many segments of a raw plane."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x10F] = "DJI"
    Image.new("RGB", (64, 48), (200, 60, 10)).save(buffer, "JPEG", exif=exif)
    jpeg = buffer.getvalue()
    end = 4 + int.from_bytes(jpeg[4:6], "big")
    part = bytes(40_000)
    raw = (b"\xff\xe3" + (len(part) + 2).to_bytes(2, "big") + part) * planes
    path.write_bytes(jpeg[:end] + raw + jpeg[end:])


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    if os.name == "nt":
        pytest.skip("the tool that stands in is a script, which Windows does not run")
    folder.mkdir()
    tool = folder / "dji_irp"
    tool.write_text(f"#!{sys.executable}\nimport sys, struct\n{body}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_the_tool_gives_degrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = """
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert given["-a"] == "measure" and given["--measurefmt"] == "float32"
assert open(given["-s"], "rb").read(2) == b"\\xff\\xd8"
open(given["-o"], "wb").write(struct.pack("<768f", *(20 + each / 100 for each in range(768))))
"""
    install(tmp_path / "bin", monkeypatch, body)
    radiometric_jpeg(tmp_path / "a.jpg")
    picture = read(tmp_path / "a.jpg")
    assert picture.samples.shape == (24, 32, 1)
    assert picture.measured is not None and picture.measured.unit == "celsius"
    assert np.asarray(picture.samples[:])[1, 0, 0] == pytest.approx(20.32)


def test_without_the_tool_the_painted_picture_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    radiometric_jpeg(tmp_path / "a.jpg")
    picture = read(tmp_path / "a.jpg")
    assert picture.samples.shape == (48, 64, 3) and picture.measured is None
    assert any("dji_irp, the tool of DJI's Thermal SDK, is not on the PATH" in note for note in picture.notes)


def test_a_tool_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "bin", monkeypatch, "print('no such camera'); sys.exit(3)")
    radiometric_jpeg(tmp_path / "a.jpg")
    picture = read(tmp_path / "a.jpg")
    assert any("dji_irp failed (no such camera): the painted picture is used" in note for note in picture.notes)


def test_a_usual_picture_of_a_drone_is_read_as_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    radiometric_jpeg(tmp_path / "a.jpg", planes=1)
    assert not any("dji" in note for note in read(tmp_path / "a.jpg").notes)
