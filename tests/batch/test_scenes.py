"""Which scenes sources hold, and which sources are refused."""

import os
from pathlib import Path

import pytest

from defusion import BatchError
from defusion.batch.finding import Finder, Sources
from defusion.batch.scenes import BatchScene


def found(sources: Sources, output: Path | str = "out", group: bool = False) -> list[BatchScene]:
    return Finder(sources, str(output), ".png", group=group).find().scenes


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_each_folder_is_a_scene_of_its_pictures(tmp_path: Path) -> None:
    files(tmp_path, "b/2.JPG", "b/10.JPG", "b/notes.txt", "b/.hidden.png", "a/x.tif", "out/a.png", "empty/notes.txt")
    assert found(tmp_path, tmp_path / "out") == [
        BatchScene("a", (f"{tmp_path}/a/x.tif",)),
        BatchScene("b", (f"{tmp_path}/b/2.JPG", f"{tmp_path}/b/10.JPG")),
        BatchScene("empty", ()),
    ]


def test_links_in_circles_and_names_that_are_no_text_stop_no_scene(tmp_path: Path) -> None:
    files(tmp_path, "a/1.png", "a/2.png")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "gone").symlink_to("nowhere")
    odd = os.fsencode(tmp_path) + b"/odd\xff"
    try:
        os.mkdir(odd)  # noqa: PTH102 (a name of bytes)
    except OSError:
        pytest.skip("this disk takes names of UTF-8 alone")
    assert [scene.name for scene in found(tmp_path)] == ["a", "odd?"]


def test_a_folder_that_cannot_be_listed_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "a/1.png", "b/1.png")
    scandir = os.scandir

    def denied(folder: str) -> "os._ScandirIterator[str]":
        if str(folder).endswith("/a"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr("os.scandir", denied)
    a, b = found(tmp_path)
    assert "access is denied" in str(a.trouble) and not a.sources
    assert b == BatchScene("b", (f"{tmp_path}/b/1.png",))


def test_a_pattern_names_scenes_by_what_agrees(tmp_path: Path) -> None:
    files(tmp_path, "s1_ir.png", "s1_vis.png", "s2_vis.png", "s10_ir.png", "s10_vis.png", "other.png", "[x]_ir.png")
    assert found([f"{tmp_path}/{{scene}}_ir.png", f"{tmp_path}/{{scene}}_vis.png"]) == [
        BatchScene("[x]", (f"{tmp_path}/[x]_ir.png", f"{tmp_path}/[x]_vis.png")),
        BatchScene("s1", (f"{tmp_path}/s1_ir.png", f"{tmp_path}/s1_vis.png")),
        BatchScene("s2", (f"{tmp_path}/s2_ir.png", f"{tmp_path}/s2_vis.png")),  # one is missing, which the scene says
        BatchScene("s10", (f"{tmp_path}/s10_ir.png", f"{tmp_path}/s10_vis.png")),
    ]


def test_several_names_and_stars_in_a_pattern(tmp_path: Path) -> None:
    files(tmp_path, "mon/cup_2.tif", "mon/cup_10.tif", "tue/cup_1.tif", "tue/vase_1.tif")
    scenes = found(f"{tmp_path}/{{day}}/{{thing}}_*.tif")
    assert [scene.name for scene in scenes] == ["mon-cup", "tue-cup", "tue-vase"]
    assert scenes[0].sources == (f"{tmp_path}/mon/cup_2.tif", f"{tmp_path}/mon/cup_10.tif")


def test_a_csv_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "all.csv"
    manifest.write_text("scene,sources,options\na,x.png; /y.png,task=focus;weights=paper\nb,s3://c/1.png;z.png,\n")
    assert found(manifest) == [
        BatchScene("a", (f"{tmp_path}/x.png", "/y.png"), (("task", "focus"), ("weights", "paper"))),
        BatchScene("b", ("s3://c/1.png", f"{tmp_path}/z.png")),
    ]


def test_a_manifest_of_json_lines(tmp_path: Path) -> None:
    manifest = tmp_path / "all.jsonl"
    manifest.write_text('{"scene": "a", "sources": ["x.png", "y.png"], "options": {"task": "focus"}}\n\n')
    assert found(manifest) == [BatchScene("a", (f"{tmp_path}/x.png", f"{tmp_path}/y.png"), (("task", "focus"),))]


def test_scenes_by_name() -> None:
    assert found({"a": [Path("x.png"), "y.png"]}) == [BatchScene("a", ("x.png", "y.png"))]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.csv", "scene,sources,mood\na,x;y,good\n", "m.csv: unknown mood; expected scene, sources, options"),
        ("m.csv", "scene,sources\na,x;y,more\n", "unknown a column without a name"),
        ("m.csv", "scene,sources\na,\n", "line 2: expected the name of a scene and its sources"),
        (
            "m.csv",
            "scene,sources,options\na,x;y,size=3\n",
            "size=3 is not an option; expected task, infrared_palette",
        ),
        ("m.jsonl", '{"scene": "a", "files": []}', "line 1: unknown files"),
        ("m.jsonl", '{"scene": "a", "sources": "x.png"}', "expected the name of a scene and its sources"),
        ("m.jsonl", "[1]", "is not an object"),
        ("m.jsonl", "{", "is not JSON"),
        ("m.csv", "", "m.csv names no scenes"),
        ("m.csv", 'scene,sources\na,"x;y\nb,x;y\n', "is not CSV (unexpected end of data); close all quotes"),
        ("m.csv", 'scene,sources\na,"x;y\n' + "b,x;y\n" * 30_000, "is not CSV (field larger than field limit"),
        ("m.csv", "scene,sources,sources\na,x;y,z\n", "the column sources is there twice"),
        ("m.jsonl", '{"scene": "a", "sources": ["x\\u0000/a.png", "y.png"]}', "expected the name of a scene"),
        ("m.jsonl", '{"scene": "a", "sources": ["", "y.png"]}', "expected the name of a scene and its sources"),
        ("m.jsonl", '{"scene": "a\\ud800", "sources": ["x.png", "y.png"]}', "a scene is called 'a\\ud800'"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BatchError) as error:
        found(tmp_path / name)
    assert said in str(error.value)


def test_what_else_is_refused(tmp_path: Path) -> None:
    files(tmp_path, "flat/a.png", "one/a/1.png", "two/a/1.png", "m.csv", "m_ir.png")
    cases: list[tuple[Sources, str]] = [
        (tmp_path / "absent", "was not found"),
        (tmp_path / "flat", "holds no folders, expected one for each scene; --group divides a folder of many scenes"),
        ([tmp_path / "one", tmp_path / "two"], "two scenes are called a, and both would become a.png"),
        ({"a": ["x.png"], "b": ["./x.png"]}, "x.png is a source of two scenes, a and b"),
        ({"a/b": ["x.png"]}, "a scene is called 'a/b'; expected a file name"),
        ({"a": ["out/a.png"]}, "the result of a would replace the source"),
        ({}, "sources came as nothing"),
        ([tmp_path / "one", tmp_path / "m.csv"], "sources came as folder and manifest"),
        (f"{tmp_path}/{{scene}}_nir.png", "no files match"),
        ([f"{tmp_path}/{{scene}}_ir.png", f"{tmp_path}/{{name}}_vis.png"], "other names in braces"),
        ("nothing://folder", "nothing://folder"),
    ]
    for sources, said in cases:
        with pytest.raises(BatchError) as error:
            found(sources)
        assert said in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(BatchError, match="expected folders of frames"):
        found({"a": ["x.png"]}, group=True)
