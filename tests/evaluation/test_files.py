"""A fused picture on disk: the command `metrics` and what stands behind it."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage import data

from defusion.errors import ImageError
from defusion.evaluation.files import measure_files
from defusion.evaluation.metrics import METRICS, score
from defusion.evaluation.metrics.planes import grey
from defusion.imaging import Picture, write

from .. import running


def run(*arguments):
    return running.run("metrics", *arguments)


@pytest.fixture(scope="module")
def arrays():
    photo = np.ascontiguousarray(data.chelsea()[60:124, 100:180])
    return photo // 2, 255 - (255 - photo) // 2, photo


@pytest.fixture(scope="module")
def files(tmp_path_factory, arrays):
    folder = tmp_path_factory.mktemp("scene")
    for name, array in zip("abf", arrays, strict=True):
        Image.fromarray(array).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in "abf"]


def test_all_metrics_are_measured_unless_some_are_named(files, arrays):
    found = measure_files(*files)
    assert list(found.scores) == [name for name, metric in METRICS.items() if metric.against == "sources"]
    assert found.notes == ()
    assert measure_files(*files, names=["ce", "ssim"]).scores == score(*arrays, names=["ce", "ssim"])


def test_the_protocol_of_the_paper_measures_four_metrics_of_grey_pictures(files, arrays):
    found = measure_files(*files, protocol="paper")
    assert found.scores == score(*(grey(array) for array in arrays), names=["ce", "qcv", "ssim", "cc"])


def test_the_truth_brings_its_own_metrics(files):
    found = measure_files(*files, files[2])
    assert found.scores["psnr_truth"].value == 60
    assert found.scores["ssim_truth"].value == pytest.approx(1)


def test_deep_pictures_are_brought_to_8_bits_and_it_is_said(files, arrays, tmp_path):
    deep = tmp_path / "deep.tif"
    write(deep, Picture.of_pixels(arrays[2].astype(np.float32) / 255, "uint16"))
    found = measure_files(*files[:2], deep, names=["ce"])
    assert found.scores == score(*arrays, names=["ce"])
    assert "deep.tif: uint16 converted to 8 bits" in found.notes[0]
    assert "deep.tif is uint16, its sources are uint8" in found.notes[1]


def test_sizes_that_differ_are_told_by_the_files_names(files, arrays, tmp_path):
    Image.fromarray(arrays[2][1:]).save(tmp_path / "cut.png")
    with pytest.raises(ImageError, match=r"cut\.png is 80x63, .*a\.png is 80x64"):
        measure_files(*files[:2], tmp_path / "cut.png")


def test_json_has_null_with_a_reason_and_infinity_as_a_word(files):
    facts = measure_files(files[0], files[0], files[0], names=["scd", "psnr", "en"]).facts()
    assert facts["metrics"]["scd"] is None
    assert "one value" in facts["undefined"]["scd"]
    assert facts["metrics"]["psnr"] == "Infinity"
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_the_command_prints_json(files):
    done = run(*files, "--metrics", "ce", "--metrics", "lpips", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert list(facts) == ["metrics", "undefined", "notes"]
    assert facts["metrics"]["ce"] == measure_files(*files, names=["ce"]).scores["ce"].value
    assert list(facts["undefined"]) == ["lpips"]


def test_the_command_prints_a_table(files):
    done = run(*files, "--metrics", "qabf,ce")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[1][0] == "qabf" and rows[1][2] == "higher"
    assert rows[2][0] == "ce" and rows[2][2] == "lower"


def test_the_command_refuses_an_unknown_metric(files):
    done = run(*files, "--metrics", "qafb", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("defusion: there is no metric `qafb`; there are ")
