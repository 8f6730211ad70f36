"""align() and `defusion align`: frames aligned to each other, what is said of them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import defusion
from defusion import Alignment, Fuser, ImageError, OptionError
from defusion.alignment.pair import PairAlignment
from defusion.alignment.verdict import Verdict
from defusion.api.align import align_files
from defusion.imaging import from_array, read, write

from ..running import run

Pixels = NDArray[np.uint8]

SCENE = np.ascontiguousarray(data.coffee()[:300, :450])
SHIFT = np.array([[1, 0, 8.0], [0, 1, -5.0], [0, 0, 1]])


def moved(scene: Pixels, matrix: NDArray[np.float64]) -> Pixels:
    """A frame such that the matrix maps pixels of the scene to those of the frame."""
    height, width = scene.shape[:2]
    made = cv2.warpPerspective(scene, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(made, np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(SCENE).save(a)
    Image.fromarray(moved(SCENE, SHIFT) // 2).save(b)
    return a, b


def test_arrays_are_laid_upon_the_first_and_cropped_to_what_both_show() -> None:
    made = defusion.align([SCENE, moved(SCENE, SHIFT)])
    assert [each.aligned for each in made.alignment.frames] == [True, True]
    assert made.alignment.reference == "source 1"
    first, second = made.frames
    assert first.shape == second.shape == (295, 442, 3)
    assert first.dtype == second.dtype == np.uint8
    np.testing.assert_array_equal(first, second)  # whole pixels are not interpolated
    kept = defusion.align([SCENE, moved(SCENE, SHIFT)], crop=False)
    np.testing.assert_array_equal(kept.frames[0], SCENE)


def test_a_bracket_of_three_lies_upon_the_middle_exposure() -> None:
    turn = np.array([[1, 0.01, 3], [-0.01, 1, 4], [0, 0, 1]])
    bright = np.minimum(moved(SCENE, turn).astype(int) * 2, 255).astype(np.uint8)
    made = defusion.align([bright, SCENE // 3, SCENE])
    assert made.alignment.reference == "source 3"
    matrix = made.alignment.frames[0].matrix @ np.linalg.inv(made.alignment.frames[2].matrix)
    assert np.abs(matrix @ [200, 150, 1] - turn @ [200, 150, 1]).max() < 0.2
    assert made.alignment.frames[0].residual_px is not None and made.alignment.frames[0].residual_px < 0.3


def test_what_cannot_be_lined_up_stays_as_it_was_in_a_pair_and_is_left_out_of_a_stack() -> None:
    mirrored = np.ascontiguousarray(SCENE[:, ::-1])
    pair = defusion.align([SCENE, mirrored])
    np.testing.assert_array_equal(pair.frames[1], mirrored)
    assert not pair.alignment.frames[1].aligned
    assert any("could not be lined up" in note for note in pair.alignment.notes)
    stack = defusion.align([SCENE, moved(SCENE, SHIFT), mirrored])
    assert [each.left_out for each in stack.alignment.frames] == [False, False, True]
    assert len(stack.frames) == 2
    still = defusion.align([SCENE, SCENE // 2, np.full_like(SCENE, 9)])
    assert len(still.frames) == 3  # the others hold still, so it may


@pytest.mark.parametrize(
    ("confidence", "says"), [(0.9, "seems to line up with"), (0.2, "could not be lined up with")]
)
def test_a_frame_that_was_found_in_place_without_being_sure_is_told_so(
    monkeypatch: pytest.MonkeyPatch, confidence: float, says: str
) -> None:
    verdict = Verdict.none()._replace(residual_px=0.2, confidence=confidence)
    unsure = PairAlignment(np.eye(3), "identity", "detail", verdict)
    monkeypatch.setattr("defusion.alignment.frames.lined_up", lambda *_, **__: unsure)
    made = defusion.align([SCENE, SCENE // 2])
    assert says in made.alignment.notes[0]
    assert not made.alignment.frames[1].aligned


def test_frames_of_other_shapes_that_share_nothing_are_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 90, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match=r"source 2 is 90x200 pixels, source 1 is 450x300.*crop them"):
        defusion.align([SCENE, noise])
    with pytest.raises(ImageError, match="at least two"):
        defusion.align([SCENE])
    with pytest.raises(OptionError, match="model came as 'rigid'"):
        defusion.align([SCENE, SCENE], model="rigid")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("without texture", "source 2: has too little texture"),
        ("of another scene", "source 2: could not be lined up"),
        ("mirrored", "source 2: could not be lined up"),
        ("upside down", "source 2: could not be lined up"),
        ("black", "source 2: left out, it is black all over"),
        ("repeated", "source 2: left out, it is equal to source 1"),
    ],
)
def test_what_cannot_be_lined_up_is_told_once_and_fused_as_without_alignment(kind: str, says: str) -> None:
    other = {
        "without texture": np.full_like(SCENE, 90),
        "of another scene": np.ascontiguousarray(data.astronaut()[:300, :450]),
        "mirrored": np.ascontiguousarray(SCENE[:, ::-1]),
        "upside down": np.ascontiguousarray(SCENE[::-1, ::-1]),
        "black": np.zeros_like(SCENE),
        "repeated": SCENE.copy(),
    }[kind]
    fused = defusion.fuse([SCENE, other])
    (note,) = (each for each in fused.notes if each.startswith("source 2:"))
    assert note.startswith(says)
    np.testing.assert_array_equal(fused, defusion.fuse([SCENE, other], align="off"))


def test_a_frame_that_is_upside_down_by_its_exif_alone_lines_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = np.ascontiguousarray(moved(SCENE, SHIFT)[::-1, ::-1])
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    Image.fromarray(turned).save(tmp_path / "b.png", exif=exif)
    found = defusion.align([tmp_path / "a.png", tmp_path / "b.png"]).alignment
    matrix = found.frames[1].matrix @ np.linalg.inv(found.frames[0].matrix)
    np.testing.assert_allclose(matrix, SHIFT, atol=0.1)


def test_like_resizes_and_moves_nothing() -> None:
    small = np.asarray(cv2.resize(SCENE, (225, 150), interpolation=cv2.INTER_AREA), np.uint8)
    made = defusion.align([SCENE, small], like=1)
    assert [each.shape for each in made.frames] == [(150, 225, 3)] * 2
    assert [each.model for each in made.alignment.frames] == ["resized", "identity"]
    assert np.abs(made.frames[0].astype(int) - small).mean() < 1


def test_an_alignment_is_saved_and_applied_to_frames_of_the_same_sizes(tmp_path: Path) -> None:
    frames = [SCENE, moved(SCENE, SHIFT)]
    made = defusion.align(frames)
    made.alignment.save(tmp_path / "rig.json")
    known = Alignment.load(tmp_path / "rig.json")
    again = defusion.align([255 - frame for frame in frames], alignment=known)
    np.testing.assert_array_equal(255 - again.frames[1], made.frames[1])
    with pytest.raises(ImageError, match="3 frames came, the alignment is for 2"):
        defusion.align([SCENE] * 3, alignment=known)
    with pytest.raises(ImageError, match="source 2 is 450x299 pixels, but the alignment expects 450x300"):
        defusion.align([SCENE, SCENE[1:]], alignment=known)
    for broken in ("{}", "[1]", '{"reference": "a", "width": 0, "height": 3, "frames": []}', "\xff"):
        (tmp_path / "broken.json").write_text(broken, encoding="latin-1")
        with pytest.raises(ImageError, match="holds no alignment"):
            Alignment.load(tmp_path / "broken.json")
    with pytest.raises(ImageError, match="cannot be read"):
        Alignment.load(tmp_path / "none.json")


def test_less_than_half_a_pixel_is_told_by_align_and_not_resampled_by_fuse() -> None:
    off = moved(SCENE, np.array([[1, 0, 0.4], [0, 1, 0.0], [0, 0, 1]]))
    found = defusion.align([SCENE, off // 2]).alignment.frames[1].matrix
    assert found[0, 2] == pytest.approx(0.4, abs=0.1)
    np.testing.assert_array_equal(defusion.fuse([SCENE, off // 2]), defusion.fuse([SCENE, off // 2], align="off"))


def test_fusing_aligns_unless_told_otherwise() -> None:
    near, far = SCENE.copy(), moved(SCENE, SHIFT)
    near[:, :225] = cv2.GaussianBlur(near, (0, 0), 3)[:, :225]
    far[:, 233:] = cv2.GaussianBlur(far, (0, 0), 3)[:, 233:]

    def error(fused: Pixels, shown: Pixels) -> float:
        return float(np.abs(fused[10:-10, 10:-10].astype(float) - shown[10:-10, 10:-10]).mean())

    aligned = defusion.fuse([near, far])
    left, top = (int(each) for each in defusion.align([near, far]).alignment.frames[0].matrix[:2, 2])
    height, width = aligned.shape[:2]
    assert error(aligned, SCENE[top : top + height, left : left + width]) < 0.5 * error(
        defusion.fuse([near, far], align="off"), SCENE
    )
    with pytest.raises(OptionError, match="align came as 'best'"):
        Fuser(align="best")


def test_the_command_writes_frames_and_says_how_they_lie(files: tuple[Path, Path], tmp_path: Path) -> None:
    folder, saved = tmp_path / "aligned", tmp_path / "rig.json"
    done = run("align", *files, "-o", folder, "--save-alignment", saved, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["reference"] == str(files[0])
    first, second = facts["frames"]
    assert second["file"] == str(files[1]) and second["aligned"] and second["coverage"] == 1
    assert second["confidence"] > 0.8 and second["residual_px"] < 0.3
    relative = np.array(second["matrix"]) @ np.linalg.inv(first["matrix"])
    np.testing.assert_allclose(relative, SHIFT, atol=0.1)
    assert [Path(each).name for each in facts["outputs"]] == ["a.png", "b.png"]
    assert read(folder / "b.png").size_text == f"{facts['width']}x{facts['height']}" == "442x295"
    assert any("cropped to" in note for note in facts["notes"]) and "note: cropped to" in done.stderr
    whole = run("align", *files, "-o", tmp_path / "whole", "--no-crop")
    assert whole.stdout == f"2 frames in {tmp_path / 'whole'}, aligned to {files[0]}\n"
    assert read(tmp_path / "whole" / "b.png").size_text == read(files[0]).size_text
    fused = run("fuse", *files, "-o", tmp_path / "out.png", "--alignment", saved, "--json")
    assert fused.returncode == 0, fused.stderr
    assert json.loads(fused.stdout)["alignment"]["frames"][1]["matrix"] == second["matrix"]


def test_the_command_refuses_what_contradicts_itself(files: tuple[Path, Path], tmp_path: Path) -> None:
    cases = {
        "contradict each other": ("--like", files[0], "--reference", files[1]),
        "is not one of the frames": ("--like", tmp_path / "c.png"),
        "leaves nothing to apply": ("--align", "off", "--save-alignment", tmp_path / "x.json"),
    }
    for sentence, options in cases.items():
        done = run("align", *files, "-o", tmp_path / "out", *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_no_source_is_written_over(files: tuple[Path, Path]) -> None:
    before = [file.read_bytes() for file in files]
    made = run("align", *files, "-o", files[0].parent, "--json")
    assert [Path(each).name for each in json.loads(made.stdout)["outputs"]] == ["a-2.png", "b-2.png"]
    assert [file.read_bytes() for file in files] == before


def test_fuse_keeps_all_of_the_reference_on_request() -> None:
    sources = [SCENE, moved(SCENE, SHIFT)]
    assert defusion.fuse(sources).shape == (295, 442, 3)
    kept = defusion.fuse(sources, crop=False)
    assert kept.shape == SCENE.shape
    off = np.abs(kept.astype(float) - SCENE)
    assert off[:, -6:].mean() < 2  # where the second has nothing, the first is shown


def test_aligned_files_keep_xmp(tmp_path: Path) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf dc:title="A title"/></x:xmpmeta>'
    for name, pixels in (("a", SCENE), ("b", moved(SCENE, SHIFT))):
        write(tmp_path / f"{name}.png", replace(from_array(pixels), xmp=packet))
    aligned = align_files([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    assert [read(path).xmp for path in aligned.outputs] == [packet, packet]


@pytest.mark.parametrize("kind", ["degrees", "counts", "light"])
def test_what_is_aligned_keeps_its_values(tmp_path: Path, kind: str) -> None:
    scene = SCENE[..., :1].astype(np.float32)
    made = {
        "degrees": (scene[..., 0] / 8 - 3.5).astype(np.float32),
        "counts": (SCENE[..., 0].astype(np.uint16) + 7000).astype(np.uint16),
        "light": (SCENE.astype(np.float32) / 16).astype(np.float32),
    }[kind]
    tifffile.imwrite(tmp_path / "a.tif", made, photometric="rgb" if made.ndim == 3 else "minisblack")
    Image.fromarray(SCENE).save(tmp_path / "b.png")
    aligned = align_files([tmp_path / "a.tif", tmp_path / "b.png"], tmp_path / "out", like=0)
    kept = read(aligned.outputs[0]).samples
    np.testing.assert_array_equal(kept, made.reshape(kept.shape))
    arrays = defusion.align([made, SCENE]).frames
    assert arrays[0].dtype == made.dtype and arrays[0].max() <= made.max() and arrays[0].min() >= made.min()
    assert np.median(arrays[0]) == pytest.approx(np.median(made), rel=0.02)
