"""The steps of CONTRIBUTING.md, followed: what they name is there, and what they add works."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import defusion
from defusion.evaluation import datasets
from defusion.evaluation.files import measure_files
from defusion.evaluation.layouts import Layout
from defusion.evaluation.metrics import METRICS
from defusion.evaluation.metrics.metric import Metric
from defusion.imaging import from_array

HOUSE = Path(__file__).parents[1]


def picture(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((24, 32), shade, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/how-it-works.md"])
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    names = set(re.findall(r"`([\w./-]+(?:\.py|/))`", (HOUSE / page).read_text(encoding="utf-8")))
    assert len(names) > 8
    there = [
        f"/{path.relative_to(HOUSE).as_posix()}"
        for place in ("src", "tests", "docs")
        for path in (HOUSE / place).rglob("*")
    ]
    there += [f"/{name}" for name in names if (HOUSE / name).exists()]
    missing = {name for name in names if not any(path.rstrip("/").endswith("/" + name.rstrip("/")) for path in there)}
    assert missing <= {"shared/", "build/man/"}


def test_a_metric(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    span = Metric("span", "range", "higher", (0, 255), "grey", "this file", lambda a, b, fused: float(np.ptp(fused)))
    monkeypatch.setitem(METRICS, "span", span)
    files = [picture(tmp_path / f"{shade}.png", shade) for shade in (10, 90, 50)]
    assert measure_files(*files, names=["span"]).scores["span"].value == 0


def test_a_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = Layout("mine", "focus", ("left/{scene}", "right/{scene}"))
    monkeypatch.setattr(datasets, "LAYOUTS", (mine, *datasets.LAYOUTS))
    monkeypatch.setattr(datasets, "NAMES", (*datasets.NAMES, "mine"))
    for side in ("left", "right"):
        picture(tmp_path / side / "cup.png", 40)
    (found,) = datasets.find_sets([f"mine:{tmp_path}"])
    assert [scene.name for scene in found.scenes] == ["cup"]


def test_a_file_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def decode(file, name, page):
        return from_array(np.frombuffer(file.read()[-6:], np.uint8).reshape(2, 3), name)

    reading = import_module("defusion.imaging.read")
    raw = reading._Format("SIX", lambda _, start: start.startswith(b"SIX"), decode)
    monkeypatch.setattr(reading, "_FORMATS", [raw, *reading._FORMATS])
    (tmp_path / "six").write_bytes(b"SIX" + bytes(range(6)))
    assert defusion.read(tmp_path / "six").samples[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_distortion(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from defusion.pretext.cud import DISTORTIONS, Pretext

    monkeypatch.setitem(DISTORTIONS, "inverted", lambda scenes, generator: 1 - scenes)
    scene = torch.full((1, 3, 16, 16), 0.25)
    made = Pretext(distortions={"inverted": 1.0})(scene, generator=torch.Generator().manual_seed(0))
    assert set(made.sources.unique().tolist()) == {0.25, 0.75}
