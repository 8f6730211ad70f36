"""Methods: how they are named, what their pictures are like, and how they fail."""

import sys
from pathlib import Path

import numpy as np
import pytest

from defusion.errors import EvaluationError, WeightsError
from defusion.evaluation import methods as methods_module
from defusion.evaluation.datasets import DataSet
from defusion.evaluation.methods import (
    Baseline,
    Command,
    Network,
    PictureFolder,
    file_name,
    fusing_files,
    parse_methods,
)
from defusion.evaluation.results import EvaluationScene
from defusion.imaging import read

from .conftest import save, texture


@pytest.fixture
def scene(tmp_path: Path) -> EvaluationScene:
    a, b = save(tmp_path / "a.png", texture(1) // 2), save(tmp_path / "b.png", texture(1))
    return EvaluationScene("set", "scene", (a, b))


def test_methods_are_read_as_users_write_them(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    given = ["defusion,defusion@paper", "detail", f"CBF={tmp_path / 'theirs'}", "x=tool -w 1,2 {a} {b} {out}"]
    ours, paper, detail, folder, command = parse_methods(given)
    assert isinstance(ours, Network) and (ours.name, ours.weights.path.stem) == ("defusion", "pyramid")
    assert isinstance(paper, Network) and (paper.name, paper.weights.path.stem) == ("defusion@paper", "paper")
    assert detail == Baseline("detail", "detail")
    assert folder == PictureFolder("CBF", tmp_path / "theirs")
    assert command == Command("x", "tool -w 1,2 {a} {b} {out}")
    assert parse_methods(["mean=average"]) == [Baseline("mean", "average")]
    (renamed,) = parse_methods(["ours=defusion@pyramid"])
    assert isinstance(renamed, Network) and renamed.name == "ours"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["averge"], "there is no method 'averge'; expected defusion,"),
        (["x=/no/such/folder"], "expected a folder of pictures, or a command line"),
        (["average", "average"], "2 methods are called 'average'"),
        (["defusion:paper"], "there is no method 'defusion:paper'; expected defusion, defusion@WEIGHTS, average"),
    ],
)
def test_what_is_no_method_is_told(given: list[str], why: str) -> None:
    with pytest.raises(EvaluationError, match=why):
        parse_methods(given)


def test_names_of_files_stay_apart_and_inside() -> None:
    names = ["defusion@paper", "defusion-paper", "a/b", "a b", "..", "s1"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert not [file for file in files if "/" in file or file.startswith(".")]
    assert files[-1] == "s1"


def test_weights_that_are_not_there_are_told() -> None:
    with pytest.raises(WeightsError, match=r"no weights are named 'none'"):
        parse_methods(["defusion@none"])


def test_the_network_writes_eight_bits_whatever_its_sources(tmp_path: Path) -> None:
    deep = texture(2).astype(np.uint16) * 257
    scene = EvaluationScene("set", "deep", (save(tmp_path / "a.png", deep), save(tmp_path / "b.png", deep)))
    (method,) = parse_methods(["defusion"])
    assert isinstance(method, Network)
    method.load()(scene, tmp_path / "out.png")
    fused = read(tmp_path / "out.png")
    assert fused.depth == "uint8"
    assert np.abs(fused.samples[:, :].astype(int) - texture(2)).max() <= 1


def test_a_grey_source_beside_colour_gives_colour(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.png", texture(1)), save(tmp_path / "b.png", texture(2)[..., 0])
    Baseline("average", "average").fuse(EvaluationScene("set", "s", (a, b)), tmp_path / "out.png")
    expected = (texture(1).astype(float) + texture(2)[..., :1]) / 2
    assert np.abs(read(tmp_path / "out.png").samples[:, :] - expected).max() <= 0.51


def test_means_between_two_levels_go_up(tmp_path: Path) -> None:
    levels = np.arange(255, dtype=np.uint8).reshape(15, 17)
    a, b = save(tmp_path / "a.png", levels), save(tmp_path / "b.png", levels + 1)
    Baseline("average", "average").fuse(EvaluationScene("set", "s", (a, b)), tmp_path / "out.png")
    assert np.array_equal(read(tmp_path / "out.png").samples[:, :][..., 0], levels + 1)


def test_grey_sources_give_a_grey_picture(tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{seed}.png", texture(seed)[..., 0]) for seed in (1, 2))
    Baseline("laplacian", "laplacian").fuse(EvaluationScene("set", "s", (a, b)), tmp_path / "out.png")
    assert read(tmp_path / "out.png").grey


def test_sources_of_two_sizes_are_told(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.png", texture(1)), save(tmp_path / "b.png", texture(1)[:40])
    with pytest.raises(EvaluationError, match="the sources are 64x48 and 64x40; expected one size"):
        Baseline("average", "average").fuse(EvaluationScene("set", "s", (a, b)), tmp_path / "out.png")


def script(tmp_path: Path, code: str) -> str:
    file = tmp_path / "tool with space.py"
    file.write_text(code)
    return f"{sys.executable} '{file}' {{a}} {{b}} {{out}}"


def test_a_command_gets_its_files_without_a_shell(scene: EvaluationScene, tmp_path: Path) -> None:
    line = script(tmp_path, "import shutil, sys; assert sys.argv[4] == '$(x);'; shutil.copy(*sys.argv[2:4])")
    Command("copy", f"{line} '$(x);'").fuse(scene, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == scene.sources[1].read_bytes()
    assert not list(tmp_path.glob(".command*"))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.stderr.write('loading\\nno memory left\\n'); sys.exit(3)", "^no memory left$"),
        ("import sys; sys.exit(3)", "^the command ended with code 3$"),
        ("", "wrote no picture to {out}"),
        ("import time; time.sleep(60)", r"took more than 0 s"),
    ],
)
def test_a_command_that_fails_says_why(
    code: str, why: str, scene: EvaluationScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in code:
        monkeypatch.setattr(methods_module, "COMMAND_LIMIT_S", 0.2)
    with pytest.raises(EvaluationError, match=why):
        Command("bad", script(tmp_path, code)).fuse(scene, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
    assert not list(tmp_path.glob(".command*"))


def test_a_command_that_is_not_there_is_told(scene: EvaluationScene, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot be started: No such file"):
        Command("none", "/no/such/tool {a} {b} {out}").fuse(scene, tmp_path / "out.png")


def pictures(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def found_in(folder: Path, method: str, *scenes: str) -> dict[str, str]:
    pair = (Path("a"), Path("b"))
    data_set = DataSet("vifb", Path(), tuple(EvaluationScene("vifb", scene, pair) for scene in scenes))
    return {scene: file.name for scene, file in PictureFolder(method, folder).find(data_set).items()}


def test_pictures_are_found_by_the_name_of_the_scene(tmp_path: Path) -> None:
    folder = pictures(tmp_path, "fight.jpg", "CBF_snow.png", "man_CBF.jpg", "readme.txt", "other.png")
    found = {"fight": "fight.jpg", "snow": "CBF_snow.png", "man": "man_CBF.jpg"}
    assert found_in(folder, "any", "fight", "snow", "man", "lost") == found


def test_pictures_of_many_methods_are_told_apart(tmp_path: Path) -> None:
    folder = pictures(tmp_path, "fight_CBF.jpg", "fight_CNN.jpg", "man_MST_SR.jpg", "man_SR.jpg")
    assert found_in(folder, "cnn", "fight", "man") == {"fight": "fight_CNN.jpg"}
    assert found_in(folder, "MST_SR", "fight", "man") == {"man": "man_MST_SR.jpg"}


def test_a_picture_belongs_to_the_longest_scene(tmp_path: Path) -> None:
    folder = pictures(tmp_path, "aymaz_01_CBF.jpg", "aymaz_01_2_CBF.jpg")
    names = {"aymaz_01": "aymaz_01_CBF.jpg", "aymaz_01_2": "aymaz_01_2_CBF.jpg"}
    assert found_in(folder, "x", *names) == names
    assert found_in(pictures(tmp_path / "new", "man_call_X.png"), "x", "man", "man_call") == {
        "man_call": "man_call_X.png"
    }


def test_the_folder_of_the_set_goes_before(tmp_path: Path) -> None:
    pictures(tmp_path, "fight.jpg")
    pictures(tmp_path / "VIFB", "fight.png")
    assert found_in(tmp_path, "x", "fight") == {"fight": "fight.png"}


def test_a_method_with_a_folder_does_not_share_its_option(tmp_path):
    with pytest.raises(EvaluationError, match="a --methods option of its own"):
        parse_methods([f"average,other={tmp_path}"])


def test_pictures_are_kept_by_all_code_that_makes_them_and_by_no_other() -> None:
    files = fusing_files()
    made_by = {"api/fuser.py", "scene/scene.py", "alignment/warp.py", "imaging/read.py", "model/pyramid.py"}
    assert made_by <= set(files)
    assert not [
        file for file in files if file.startswith(("cli/", "serve/", "batch/", "training/", "evaluation/metrics"))
    ]
