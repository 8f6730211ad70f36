"""The network for other runtimes: what is written gives the same picture there."""

from pathlib import Path

import pytest

from defusion import OptionError, WeightsError

torch = pytest.importorskip("torch")
from defusion.export import EXPORT_SUFFIXES, Format, export  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("format", EXPORT_SUFFIXES)
def test_an_export_gives_the_same_picture(format: Format, tmp_path: Path) -> None:
    if format != "torch-export":
        pytest.importorskip("onnxscript")
    made = export(tmp_path / f"network{EXPORT_SUFFIXES[format]}", format, height=32, width=48)
    assert made.difference < 0.002
    assert all(file.stat().st_size > 0 for file in made.files)
    assert len(made.files) == (2 if format == "openvino" else 1)


def test_what_cannot_be_exported_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"expected a name that ends in \.onnx"):
        export(tmp_path / "network.pt", "onnx")
    with pytest.raises(OptionError, match="the size is 100x60; expected multiples of 8: 96x64"):
        export(tmp_path / "network.onnx", "onnx", width=100, height=60)
    with pytest.raises(WeightsError, match="expected the pyramid network"):
        export(tmp_path / "network.onnx", "onnx", weights="paper")
    assert not list(tmp_path.iterdir())
