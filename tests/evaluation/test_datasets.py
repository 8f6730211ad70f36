"""Data sets: each published layout is recognised, pairs are right, and wrong folders are told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from defusion.errors import EvaluationError
from defusion.evaluation.datasets import NAMES, find_sets

from .conftest import save, texture


def laid_out(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


LAYOUTS = {
    "MEFB-master": (
        ("input/507/507_B.tif", "input/507/_MDF0003.tif", "input/Arno/Arno_A.png", "input/Arno/arno3.png"),
        ("mefb", "exposure", ["507", "Arno"], "507_B.tif", "_MDF0003.tif", None),
    ),
    "MFIFB": (
        ("input/aymaz_01/aymaz_01_A.bmp", "input/aymaz_01/aymaz_01_B.bmp", "input/books/books_B.jpg", "dataset.jpg"),
        ("mfifb", "focus", ["aymaz_01"], "aymaz_01_A.bmp", "aymaz_01_B.bmp", None),
    ),
    "VIFB": (
        ("input/IR/fight.jpg", "input/VI/fight.jpg", "fused_images/fight_CBF.jpg", "input/IR/snow.jpg"),
        ("vifb", "infrared", ["fight"], "VI/fight.jpg", "IR/fight.jpg", None),
    ),
    "SICE/Dataset_Part2": (
        ("1/1.JPG", "1/2.JPG", "1/10.JPG", "2/1.JPG", "2/2.JPG", "Label/1.JPG", "Label/2.JPG"),
        ("sice", "exposure", ["1", "2"], "1/1.JPG", "1/10.JPG", "Label/1.JPG"),
    ),
    "Real-MFF": (
        ("imageA/001_A.png", "imageB/001_B.png", "Fusion/001_F.png", "imageA/002_A.png", "imageB/002_B.png"),
        ("realmff", "focus", ["001", "002"], "imageA/001_A.png", "imageB/001_B.png", "Fusion/001_F.png"),
    ),
    "LytroDataset": (
        ("lytro-01-A.jpg", "lytro-01-B.jpg", "Triple Series/lytro-01-A.jpg", "Triple Series/lytro-01-B.jpg"),
        ("lytro", "focus", ["lytro-01"], "lytro-01-A.jpg", "lytro-01-B.jpg", None),
    ),
    "MFI-WHU": (
        ("source_1/2.jpg", "source_2/2.jpg", "full_clear/2.jpg", "source_1/10.jpg", "source_2/10.jpg"),
        ("mfiwhu", "focus", ["2", "10"], "source_1/2.jpg", "source_2/2.jpg", "full_clear/2.jpg"),
    ),
    "MFFW": (
        ("01_A.jpg", "01_B.jpg", "02_A.jpg", "readme.txt"),
        ("mffw", "focus", ["01"], "01_A.jpg", "01_B.jpg", None),
    ),
    "TNO_Image_Fusion_Dataset": (
        (
            "Athena_images/APC_1/view_1/IR_fk_06.bmp",
            "Athena_images/APC_1/view_1/VIS_fk_06.bmp",
            "tank/LWIR.tif",
            "tank/Vis.tif",
            "Triclobs_images/a/IR01.bmp",
            "Triclobs_images/a/NIR01.bmp",
            "Triclobs_images/a/Vis01.bmp",
        ),
        (
            "tno",
            "infrared",
            ["Athena_images_APC_1_view_1", "tank", "Triclobs_images_a"],
            "VIS_fk_06.bmp",
            "IR_fk_06.bmp",
            None,
        ),
    ),
    "RoadScene-master": (
        ("cropinfrared/FLIR_1.jpg", "crop_LR_visible/FLIR_1.jpg", "crop_HR_visible/FLIR_1.jpg"),
        ("roadscene", "infrared", ["FLIR_1"], "crop_LR_visible/FLIR_1.jpg", "cropinfrared/FLIR_1.jpg", None),
    ),
    "MSRS": (
        ("train/ir/1.png", "train/vi/1.png", "test/ir/4N.png", "test/vi/4N.png", "detection/ir/9.png"),
        ("msrs", "infrared", ["4N"], "test/vi/4N.png", "test/ir/4N.png", None),
    ),
    "M3FD_Fusion": (
        ("Ir/00000.png", "Vis/00000.png"),
        ("m3fd", "infrared", ["00000"], "Vis/00000.png", "Ir/00000.png", None),
    ),
    "Havard/SPECT-MRI": (
        ("MRI/25015.png", "SPECT/25015.png"),
        ("spectmri", "medical", ["25015"], "MRI/25015.png", "SPECT/25015.png", None),
    ),
    "LLVIP": (
        (
            "infrared/test/1.jpg",
            "visible/test/1.jpg",
            "infrared/train/2.jpg",
            "visible/train/2.jpg",
            "Annotations/1.xml",
        ),
        ("llvip", "infrared", ["1"], "visible/test/1.jpg", "infrared/test/1.jpg", None),
    ),
    "KAIST": (
        (
            "set00/V000/visible/I00000.jpg",
            "set00/V000/lwir/I00000.jpg",
            "set00/V000/visible/I00020.jpg",
            "set00/V000/lwir/I00020.jpg",
            "set01/V000/visible/I00000.jpg",
            "set01/V000/lwir/I00000.jpg",
        ),
        (
            "kaist",
            "infrared",
            ["set00_V000_I00000", "set00_V000_I00020", "set01_V000_I00000"],
            "set00/V000/visible/I00000.jpg",
            "set00/V000/lwir/I00000.jpg",
            None,
        ),
    ),
    "FLIR_aligned": (
        ("JPEGImages/FLIR_2_RGB.jpg", "JPEGImages/FLIR_2_PreviewData.jpeg", "JPEGImages/FLIR_10_RGB.jpg"),
        ("flir", "infrared", ["FLIR_2"], "FLIR_2_RGB.jpg", "FLIR_2_PreviewData.jpeg", None),
    ),
    "VEDAI": (
        ("Vehicules512/1_co.png", "Vehicules512/1_ir.png", "Vehicules512/2_co.png", "Vehicules512/2_ir.png"),
        ("vedai", "infrared", ["1", "2"], "1_co.png", "1_ir.png", None),
    ),
    "flat": (
        ("IR1.png", "VIS1.png", "IR2.png", "VIS2.png", "IR10.png", "VIS10.png", "GT10.png"),
        ("flat", "infrared", ["1", "2", "10"], "VIS1.png", "IR1.png", None),
    ),
    "flat by ends": (
        ("1_thermal.png", "1_rgb.png", "2_thermal.png", "2_rgb.png"),
        ("flat by ends", "infrared", ["1", "2"], "1_rgb.png", "1_thermal.png", None),
    ),
    "rgbt": (
        ("RGB/1.jpg", "T/1.jpg", "RGB/2.jpg", "T/2.jpg", "label/1.png", "label/2.png"),
        ("rgbt", "infrared", ["1", "2"], "RGB/1.jpg", "T/1.jpg", None),
    ),
    "in parts": (
        ("thermal/train/1.jpg", "rgb/train/1.jpg", "thermal/test/1.jpg", "rgb/test/1.jpg"),
        ("in parts", "infrared", ["test_1", "train_1"], "rgb/test/1.jpg", "thermal/test/1.jpg", None),
    ),
    "deep down": (
        ("a/b/visible/1.jpg", "a/b/lwir/1.jpg", "a/c/visible/1.jpg", "a/c/lwir/1.jpg"),
        ("deep down", "infrared", ["a_b_1", "a_c_1"], "a/b/visible/1.jpg", "a/b/lwir/1.jpg", None),
    ),
    "cameras (2)": (
        ("left (old)/1.jpg", "left (old)/2.jpg", "right/1.jpg", "right/2.jpg", "right/3.jpg"),
        ("cameras (2)", "other", ["1", "2"], "left (old)/1.jpg", "right/1.jpg", None),
    ),
    "bench/focus": (
        ("a/near.png", "a/far.png", "a/gt.png", "b/near.png"),
        ("focus", "focus", ["a"], "near.png", "far.png", "a/gt.png"),
    ),
    "mine": (
        ("a/1.png", "a/2.png", "a/10.png", "b/x.png", "b/y.png"),
        ("mine", "other", ["a", "b"], "a/1.png", "a/10.png", None),
    ),
    "pairs": (
        ("over/x.png", "under/x.png", "gt/x.png"),
        ("pairs", "exposure", ["x"], "under/x.png", "over/x.png", "gt/x.png"),
    ),
}


@pytest.mark.parametrize("folder", LAYOUTS)
def test_a_set_is_recognised_in_its_published_layout(folder: str, tmp_path: Path) -> None:
    files, (name, kind, scenes, a, b, truth) = LAYOUTS[folder]
    (found,) = find_sets([str(laid_out(tmp_path / folder, *files))])
    first = found.scenes[0]
    assert (found.name, first.kind) == (name, kind)
    assert [scene.name for scene in found.scenes] == scenes
    assert first.sources[0].as_posix().endswith(a)
    assert first.sources[1].as_posix().endswith(b)
    assert (first.truth is None) if truth is None else first.truth is not None and first.truth.match(truth)
    assert all(file.is_file() for scene in found.scenes for file in scene.sources)


def test_every_set_that_can_be_named_is_tried_above() -> None:
    tried = {expected[0] for _, expected in LAYOUTS.values()} | {"plain", "ctmri", "petmri"}
    assert set(NAMES) <= tried


def test_a_named_set_needs_no_telling_folder(tmp_path: Path) -> None:
    files, _ = LAYOUTS["SICE/Dataset_Part2"]
    (found,) = find_sets([f"SICE:{laid_out(tmp_path / 'd', *files)}"])
    assert (found.name, found.scenes[0].kind, len(found.scenes)) == ("sice", "exposure", 2)
    assert found.notes == ("sice: 1 of 2 scenes have more than two frames; the first and the last are used",)


def test_a_named_set_may_lie_scene_by_scene(tmp_path: Path) -> None:
    (found,) = find_sets([f"vifb:{laid_out(tmp_path / 'copy', 'fight/vis.jpg', 'fight/ir.jpg')}"])
    assert (found.name, found.scenes[0].kind) == ("vifb", "infrared")


def test_roles_pair_whatever_the_case_and_what_is_alone_is_counted(tmp_path: Path) -> None:
    files = (
        "VI/peopleshadow.jpg",
        "IR/peopleShadow.jpg",
        "VI/manCall - copy.jpg",
        "VI/manCall.jpg",
        "IR/manCall.jpg",
    )
    (found,) = find_sets([str(laid_out(tmp_path / "VIFB" / "input", *files))])
    assert found.name == "vifb"
    assert [scene.name for scene in found.scenes] == ["manCall", "peopleShadow"]
    assert found.notes == ("vifb: 1 of 3 scenes left out, because a source is missing (manCall - copy)",)


def test_a_folder_of_sets_gives_each_of_them(tmp_path: Path) -> None:
    laid_out(tmp_path, "one/a/under.png", "one/a/over.png", "two/a/vis.png", "two/a/ir.png", "notes/readme.txt")
    assert [(found.name, found.scenes[0].kind) for found in find_sets([str(tmp_path)])] == [
        ("one", "exposure"),
        ("two", "infrared"),
    ]


def test_a_wrong_folder_says_what_was_looked_for_and_what_was_found(tmp_path: Path) -> None:
    laid_out(tmp_path / "x", "docs/readme.txt", "a.png", "b.png")
    with pytest.raises(
        EvaluationError, match=r"expected a folder for each scene.*found folders: 1 \(docs\), pictures: 2"
    ):
        find_sets([str(tmp_path / "x")])
    with pytest.raises(EvaluationError, match=r"expected crop_lr_visible/\{scene\} with cropinfrared"):
        find_sets([f"roadscene:{tmp_path / 'x'}"])
    with pytest.raises(
        EvaluationError, match=r"no such folder; expected FOLDER, or NAME:FOLDER with one of plain, mefb"
    ):
        find_sets([f"mfeb:{tmp_path / 'x'}"])


def test_folders_that_share_names_are_sources_and_that_is_said(tmp_path: Path) -> None:
    (found,) = find_sets([str(laid_out(tmp_path / "x", "a/1.png", "a/2.png", "b/1.png", "b/2.png"))])
    assert found.notes == ("x: folders a and b have files with equal names, so they are the sources",)
    (scenes,) = find_sets([f"plain:{tmp_path / 'x'}"])
    assert [scene.sources[1].name for scene in scenes.scenes] == ["2.png", "2.png"]


def test_two_scenes_whose_frames_are_numbered_are_not_paired(tmp_path: Path) -> None:
    frames = [f"s-{scene}/frame_{frame}.png" for scene in (1, 2) for frame in (1, 2, 3)]
    (found,) = find_sets([str(laid_out(tmp_path / "x", *frames))])
    assert [{source.parent.name for source in scene.sources} for scene in found.scenes] == [{"s-1"}, {"s-2"}]


def test_three_folders_that_share_names_are_not_guessed_at(tmp_path: Path) -> None:
    files = [f"{folder}/{number}.png" for folder in ("a", "b", "masks") for number in range(4)]
    with pytest.raises(EvaluationError, match=r"folders a, b, masks have .* --roles a=a,b=b"):
        find_sets([str(laid_out(tmp_path / "x", *files))])
    (found,) = find_sets([str(tmp_path / "x")], {"ir": "a", "vis": "b", "gt": "masks"})
    first = found.scenes[0]
    assert [file.parent.name for file in (*first.sources, first.truth or first.sources[0])] == ["b", "a", "masks"]
    assert (found.scenes[0].kind, len(found.scenes)) == ("infrared", 4)


def test_frames_of_many_scenes_may_share_their_names(tmp_path: Path) -> None:
    files = [f"{scene}/{frame}.png" for scene in "abcd" for frame in range(3)]
    (found,) = find_sets([str(laid_out(tmp_path / "brackets", *files))])
    assert [(scene.name, scene.sources[1].stem) for scene in found.scenes] == [(each, "2") for each in "abcd"]


def test_parts_and_sources_are_no_scenes(tmp_path: Path) -> None:
    laid_out(tmp_path / "LLVIP", "infrared/train/1.jpg", "infrared/train/2.jpg", "infrared/test/3.jpg")
    laid_out(tmp_path / "half", "visible/1.jpg", "visible/2.jpg")
    for folder in ("LLVIP/infrared", "half"):
        with pytest.raises(EvaluationError, match="holds no scene"):
            find_sets([str(tmp_path / folder)])


def test_a_folder_of_pairs_among_scenes_is_left_out_and_told(tmp_path: Path) -> None:
    laid_out(tmp_path / "x", "a/1.png", "a/2.png", "flat/IR1.png", "flat/VIS1.png", "flat/IR2.png", "flat/VIS2.png")
    (found,) = find_sets([str(tmp_path / "x")])
    assert [scene.name for scene in found.scenes] == ["a"]
    assert found.notes == ("x: 1 folder (flat) left out, each holds several pairs; give it as a data set",)


@pytest.mark.parametrize(
    ("roles", "sources"),
    [
        ({"ir": "T", "vis": "RGB"}, ["seq/RGB/1.png", "seq/T/1.png"]),
        ({"vis": "seq/RGB", "ir": "seq/T"}, ["seq/RGB/1.png", "seq/T/1.png"]),
        ({"right": "{scene}_b", "left": "{scene}_a"}, ["x_b.png", "x_a.png"]),
    ],
)
def test_roles_can_be_said(roles: dict[str, str], sources: list[str], tmp_path: Path) -> None:
    laid_out(tmp_path, "seq/RGB/1.png", "seq/T/1.png", "x_a.png", "x_b.png")
    (found,) = find_sets([str(tmp_path)], roles)
    assert [file.relative_to(tmp_path).as_posix() for file in found.scenes[0].sources] == sources


@pytest.mark.parametrize(
    "roles", [{}, {"ir": "T"}, {"ir": "T", "vis": ""}, {"ir": "T", "vis": "T"}, {"ir": "T", "vis": "RGB", "x": "X"}]
)
def test_roles_have_to_be_two(roles: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="expected two roles with different folders, as in ir=T,vis=RGB"):
        find_sets([str(tmp_path)], roles)


def test_roles_that_are_not_there_are_told(tmp_path: Path) -> None:
    laid_out(tmp_path, "RGB/1.png", "T/1.png")
    with pytest.raises(EvaluationError, match=r"expected \{above\}RGB/\{folders\} with .*folders: 2 \(RGB, T\)"):
        find_sets([str(tmp_path)], {"ir": "TH", "vis": "RGB"})


def test_names_with_a_leading_dot_are_counted(tmp_path: Path) -> None:
    laid_out(tmp_path / "x", "vi/1.png", "ir/1.png", "vi/._1.png", ".thumbs/1.png", "vi/.hidden", "Thumbs.db")
    (found,) = find_sets([str(tmp_path / "x")])
    assert found.notes == ("x: 2 names (.thumbs, ._1.png) with a leading dot left out",)
    assert len(found.scenes) == 1


def test_no_unrelated_frames_are_paired(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="the script that lays folders out needs it")
    script = shared / "field" / "thermal" / "layouts.py"
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    for folder in sorted((tmp_path / "sets").iterdir()):
        for found in find_sets([str(folder)]):
            for scene in found.scenes:
                a, b = (re.sub(r"_.*|\D", "", file.stem.removeprefix("FLIR_")) for file in scene.sources)
                assert a == b, scene
                assert scene.kind in ("infrared", "medical"), scene


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = [laid_out(tmp_path / above / "same", "a/vis.png", "a/ir.png") for above in "xy"]
    with pytest.raises(EvaluationError, match="2 data sets are called 'same'"):
        find_sets([str(folder) for folder in folders])


def test_scenes_are_spread_evenly(tmp_path: Path) -> None:
    files = [f"{scene:02}/{role}.png" for scene in range(11) for role in ("vis", "ir")]
    (found,) = find_sets([str(laid_out(tmp_path / "set", *files))])
    assert [scene.name for scene in found.spread(3).scenes] == ["00", "05", "10"]
    assert found.spread(3).notes == ("set: 3 of 11 scenes, evenly spread",)
    assert found.spread(12) is found


def test_the_shared_scenes_are_all_found(shared: Path) -> None:
    bench = shared / "data" / "bench"
    if not bench.is_dir():
        pytest.skip(f"{bench} is absent")
    found = {each.name: len(each.scenes) for each in find_sets([str(bench)])}
    wanted = {"mefb": 50, "mfifb": 53, "nyud_synth_gt": 50, "roadscene": 111, "tno": 21, "vifb": 11}
    assert found.items() >= wanted.items()


def test_of_several_pictures_those_of_one_name_are_paired(tmp_path: Path) -> None:
    for name in ("a_VIS", "b_VIS", "b_IR"):
        save(tmp_path / "TNO" / "square" / f"{name}.png", texture(0))
    [scene] = find_sets([str(tmp_path / "TNO")])[0].scenes
    assert [source.stem for source in scene.sources] == ["b_VIS", "b_IR"]


def test_scenes_of_another_kind_are_counted(tmp_path: Path) -> None:
    for scene, roles in {"a": ("near", "far"), "b": ("vis", "ir"), "c": ("vis", "ir")}.items():
        for role in roles:
            save(tmp_path / "mixed" / scene / f"{role}.png", texture(0))
    [found] = find_sets([str(tmp_path / "mixed")])
    assert [scene.name for scene in found.scenes] == ["b", "c"]
    assert found.notes == ("mixed: scenes of another kind left out: 1 (a); give each kind a folder of its own",)


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_scenes_may_be_links(tmp_path: Path) -> None:
    for role in ("near", "far"):
        save(tmp_path / "there" / f"{role}.png", texture(0))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a").symlink_to(tmp_path / "there")
    (tmp_path / "linked" / "b").symlink_to(tmp_path / "linked")  # a loop ends
    [found] = find_sets([str(tmp_path / "linked")])
    assert found.scenes[0].name == "a"
