"""What users give: kinds of arrays and files, pages, ranges, orientations; and results of the kind that was given."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

import defusion
from defusion import Fuser, FusionWarning, ImageError, Reading
from defusion.api.sources import FusedArray, frames_of, listed
from defusion.cli import main
from defusion.cli.options import AskedReading, Orientation
from defusion.imaging import from_array, read, write

SCENE = np.ascontiguousarray(data.astronaut()[40:136, 100:244])
NEAR, FAR = SCENE.copy(), SCENE.copy()
NEAR[:, :72] = NEAR[:, :72].mean((0, 1))
FAR[:, 72:] = FAR[:, 72:].mean((0, 1))
PLANES = np.stack([NEAR[..., 1], FAR[..., 1], SCENE[..., 1] // 2])


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser(precision="float32", align="off")


def fuse_by_command(monkeypatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["defusion", "fuse", "--align", "off", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, ended.value.code


# ---------------------------------------------------------------------- notes


def test_notes_are_warnings_of_the_callers_line_and_stand_on_the_result(fuser):
    clear = np.dstack([NEAR, np.full(NEAR.shape[:2], 255, np.uint8)])
    clear[0, 0, 3] = 0
    note = "source 1: places of alpha 0 count for nothing"
    for fuse in (fuser.fuse, lambda sources: defusion.fuse(sources, precision="float32", align="off")):
        with pytest.warns(FusionWarning, match=note) as told:
            fused = fuse([clear, FAR])
        assert {each.filename for each in told if each.category is FusionWarning} == {__file__}
        assert note in fused.notes and isinstance(fused, np.ndarray)
    with pytest.warns(FusionWarning, match=note):
        parts = defusion.decompose(clear, FAR, precision="float32", align="off")
    assert all(note in part.notes for part in parts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fuser.fuse([NEAR, FAR]).notes == ()
    assert FusedArray((2, 2)).notes == ()


def test_the_notes_of_files_are_warnings_and_stand_on_the_result(tmp_path):
    for name, pixels in {"a.png": NEAR, "b.png": FAR}.items():
        write(tmp_path / name, from_array(pixels.astype(np.uint16) * 257))
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.warns(FusionWarning, match="16-bit result rounded to 8") as told:
        made = defusion.fuse_files(files, tmp_path / "c.jpg", precision="float32", align="off")
    assert {each.filename for each in told if each.category is FusionWarning} == {__file__}
    assert any("rounded to 8" in note for note in made.notes)


def test_the_notes_of_pictures_stand_on_the_picture(fuser):
    dark = defusion.imaging.from_array(SCENE[..., 0].astype(np.uint16) // 2)
    assert any("use values from 0 to" in note for note in fuser.fuse([dark, dark]).notes)


# ---------------------------------------------------------------------- kinds of arrays


def test_pil_images_give_a_pil_image(fuser):
    sources = [Image.fromarray(each) for each in (NEAR, FAR)]
    sources[0].info["icc_profile"] = b""
    fused = fuser.fuse(sources)
    assert isinstance(fused, Image.Image)
    np.testing.assert_array_equal(np.asarray(fused), fuser.fuse([NEAR, FAR]))
    grey = fuser.fuse([Image.fromarray(each) for each in PLANES])
    assert grey.mode == "L"
    palette = Image.fromarray(NEAR).quantize(32)
    with pytest.warns(FusionWarning, match="palette turned into RGB"):
        assert fuser.fuse([palette, Image.fromarray(FAR)]).mode == "RGB"


@pytest.mark.parametrize("layout", ["CHW", "HWC", "HW"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "bfloat16"])
def test_tensors_give_a_tensor_of_their_layout(fuser, layout, dtype):
    torch = pytest.importorskip("torch")
    arrays = [each if layout != "HW" else each[..., 1] for each in (NEAR, FAR)]
    expected = fuser.fuse(arrays)
    tensors = [torch.from_numpy(np.moveaxis(each, 2, 0).copy() if layout == "CHW" else each) for each in arrays]
    if dtype != "uint8":
        tensors = [(each / 255).to(getattr(torch, dtype)).requires_grad_() for each in tensors]
    fused = fuser.fuse(tensors)
    assert (fused.dtype, tuple(fused.shape)) == (getattr(torch, dtype), tuple(tensors[0].shape))
    found = fused.float().numpy() * (1 if dtype == "uint8" else 255)
    found = np.moveaxis(found, 0, 2) if layout == "CHW" else found
    assert np.abs(found - expected).mean() < 1.5


def test_anything_with_an_array_gives_an_array(fuser):
    class Holder:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    fused = fuser.fuse([Holder(NEAR), Holder(FAR)])
    np.testing.assert_array_equal(fused, fuser.fuse([NEAR, FAR]))


def test_blue_first_gives_blue_first(fuser):
    fused = fuser.fuse([NEAR[..., ::-1], FAR[..., ::-1]], reading=Reading(bgr=True))
    np.testing.assert_array_equal(fused, fuser.fuse([NEAR, FAR])[..., ::-1])


@pytest.mark.parametrize("kind", ["ZYX", "NHWC", "NCHW", "tensor"])
def test_a_stack_is_its_pictures(fuser, kind):
    stack = {"ZYX": PLANES, "NHWC": np.stack([NEAR, FAR]), "NCHW": np.moveaxis(np.stack([NEAR, FAR]), 3, 1)}
    expected = fuser.fuse(list(PLANES) if kind == "ZYX" else [NEAR, FAR])
    if kind == "tensor":
        torch = pytest.importorskip("torch")
        fused = np.moveaxis(fuser.fuse(torch.from_numpy(stack["NCHW"].copy())).numpy(), 0, 2)
    else:
        fused = fuser.fuse(stack[kind])
    np.testing.assert_array_equal(fused, expected)


@pytest.mark.parametrize("one", [SCENE, SCENE[..., 0], SCENE[..., :1], b"bytes", Image.fromarray(SCENE)])
def test_one_picture_is_refused(one):
    with pytest.raises(ImageError, match="came; expected"):
        listed(one)


def test_what_is_no_source_is_named():
    with pytest.raises(ImageError, match=r"source 2 is of type int; expected a path, an array, a PIL image"):
        frames_of([NEAR, 3])


# ---------------------------------------------------------------------- pages


def pages_by(path: Path, how: str) -> None:
    if how == "pages":
        tifffile.imwrite(path, PLANES, photometric="minisblack", metadata=None)
    elif how == "imagej":
        tifffile.imwrite(path, PLANES[:, None], imagej=True, metadata={"axes": "ZCYX"})
    elif how == "one directory":
        tifffile.imwrite(
            path, np.broadcast_to(PLANES[:, None], (3, 1, *PLANES.shape[1:])), imagej=True, metadata={"axes": "ZCYX"}
        )
        with tifffile.TiffFile(path) as tif:
            offset = tif.pages[0].offset
            count = tif.pages[0].tags
            next_at = offset + 2 + 12 * len(count)
        content = bytearray(path.read_bytes())
        content[next_at : next_at + 4] = bytes(4)  # as ImageJ leaves it above 4 GB
        path.write_bytes(content)
    else:
        tifffile.imwrite(path, PLANES, ome=True, metadata={"axes": "ZYX"})


@pytest.mark.parametrize("how", ["pages", "imagej", "one directory", "ome"])
def test_a_file_of_pages_is_a_stack(fuser, tmp_path, monkeypatch, how):
    path = tmp_path / "stack.tif"
    pages_by(path, how)
    if how == "one directory":
        with tifffile.TiffFile(path) as tif:
            assert len(tif.pages) == 1
    expected = fuser.fuse(list(PLANES))
    np.testing.assert_array_equal(fuser.fuse(path), expected)
    np.testing.assert_array_equal(fuser.fuse([path]), expected)
    np.testing.assert_array_equal(fuser.fuse(path, reading=Reading(pages="1,3")), fuser.fuse(list(PLANES[::2])))
    fuse_by_command(monkeypatch, path, "-o", tmp_path / "out.tif", "--precision", "float32")
    np.testing.assert_array_equal(read(tmp_path / "out.tif").samples[..., 0], expected)
    assert any(note.startswith("stack.tif: first of 3 p") for note in read(path).notes)


@pytest.mark.parametrize("kind", [str, Path, lambda path: [path]])
def test_a_file_of_pages_is_fused_into_a_file_and_not_over_itself(fuser, tmp_path, kind):
    path = tmp_path / "stack.tif"
    pages_by(path, "pages")
    made = fuser.fuse_files(kind(path), tmp_path / "out.tif")
    np.testing.assert_array_equal(read(made.output).samples[..., 0], fuser.fuse(path))
    before = path.read_bytes()
    with pytest.raises(ImageError, match="would be written over the source"):
        fuser.fuse_files(kind(path), path)
    assert path.read_bytes() == before


def test_channels_are_kept_apart(fuser, tmp_path):
    path = tmp_path / "stack.tif"
    both = np.stack([PLANES, 255 - PLANES], axis=1)  # Z, C, Y, X
    for options in ({"imagej": True, "metadata": {"axes": "ZCYX"}}, {"ome": True, "metadata": {"axes": "ZCYX"}}):
        tifffile.imwrite(path, both, **options)
        with pytest.raises(
            ImageError, match=r"holds 2 channels of 3 planes each, and channels are not mixed; .*--pages c1"
        ):
            fuser.fuse(path)
        for channel, planes in (("c1", PLANES), ("c2", 255 - PLANES)):
            np.testing.assert_array_equal(fuser.fuse(path, reading=Reading(pages=channel)), fuser.fuse(list(planes)))
        np.testing.assert_array_equal(
            fuser.fuse(path, reading=Reading(pages="c2:2-3")), fuser.fuse(list(255 - PLANES[1:]))
        )


@pytest.mark.parametrize(
    ("pages", "words"),
    [("4", "has pages 1 to 3, but '4' came"), ("2-1", "'2-1' came"), ("x", "'x' came"), ("c2", "no channel c2")],
)
def test_pages_that_are_not_there_are_named(tmp_path, pages, words):
    pages_by(tmp_path / "a.tif", "pages")
    with pytest.raises(ImageError, match=words):
        frames_of(tmp_path / "a.tif", Reading(pages=pages))


def test_a_single_picture_is_no_stack(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"1 source came, .*a\.png holds one picture; fusion needs at least two"):
        frames_of(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".avif"])
def test_frames_of_an_animation_are_fused_on_request(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    lossless = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(NEAR).save(path, save_all=True, append_images=[Image.fromarray(FAR)], **lossless)
    with pytest.raises(ImageError, match=r"holds 2 frames of an animation; --pages all fuses them"):
        frames_of(path)
    frames = frames_of(path, Reading(pages="all"))
    assert len(frames) == 2
    for frame, expected in zip(frames, (NEAR, FAR), strict=True):
        assert np.abs(frame.open().pixels * 255 - expected).mean() < 12


def test_a_fourth_channel_that_is_no_alpha_is_a_source(fuser, tmp_path):
    path, thermal = tmp_path / "rgbt.tif", 255 - SCENE[..., 1]
    tifffile.imwrite(path, np.dstack([SCENE, thermal]), photometric="rgb", extrasamples=[0])
    np.testing.assert_array_equal(fuser.fuse(path), fuser.fuse([SCENE, thermal]))


@pytest.mark.parametrize(
    ("options", "dots"),
    [
        ({"imagej": True, "resolution": (4, 4), "metadata": {"axes": "ZYX", "unit": "um"}}, 101600),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "mm"}}, 50.8),
        ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}}, 101600),
    ],
)
def test_the_size_of_a_pixel_is_kept(fuser, tmp_path, options, dots):
    tifffile.imwrite(tmp_path / "a.tif", PLANES, **options)
    fused = fuser.fuse_frames(frames_of(tmp_path / "a.tif")).picture()
    assert any(note.endswith("is kept as dots per inch") for note in fused.notes)
    defusion.imaging.write(tmp_path / "b.tif", fused)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        above, below = tif.pages[0].tags.valueof(282)
        assert (tif.pages[0].tags.valueof(296), above / below) == (2, pytest.approx(dots, rel=1e-4))


# ---------------------------------------------------------------------- ranges, heat and orientation


def test_a_range_by_hand(fuser, tmp_path, monkeypatch):
    counts = (SCENE[..., 1].astype(np.uint16) * 4 + 7000).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", counts)
    Image.fromarray(SCENE).save(tmp_path / "b.png")
    clipped = np.clip((counts.astype(np.float32) - 7200) / 600, 0, 1)
    expected = fuser.fuse([clipped, SCENE])
    for source in ("1", "A", str(tmp_path / "a.tif")):
        fuse_by_command(
            monkeypatch,
            tmp_path / "a.tif",
            tmp_path / "b.png",
            "-o",
            tmp_path / "c.tif",
            "--range",
            f"{source}:7200-7800",
            "--precision",
            "float32",
        )
        np.testing.assert_allclose(read(tmp_path / "c.tif").pixels, expected, atol=0.01)


def test_every_command_takes_what_the_files_mean(tmp_path, monkeypatch):
    counts = (SCENE[..., 1].astype(np.uint16) * 4 + 7000).astype(np.uint16)
    (tmp_path / "scenes" / "one").mkdir(parents=True)
    a, b = tmp_path / "scenes" / "one" / "a.tif", tmp_path / "scenes" / "one" / "b.png"
    tifffile.imwrite(a, counts)
    Image.fromarray(SCENE).save(b)
    ways = ["--range", "1:7200-7800", "--align", "off"]
    for arguments in (
        ["fuse", a, b, "-o", tmp_path / "fused.png", *ways],
        ["decompose", a, b, "-o", tmp_path / "parts", *ways],
        ["batch", tmp_path / "scenes", "-o", tmp_path / "results", "--workers", 1, *ways],
    ):
        monkeypatch.setattr("sys.argv", ["defusion", *map(str, arguments)])
        with pytest.raises(SystemExit, match="0"):
            main()
    expected = read(tmp_path / "fused.png").pixels
    for made in (tmp_path / "parts" / "fused.png", tmp_path / "results" / "one.png"):
        np.testing.assert_allclose(read(made).pixels, expected, atol=1e-4)


def test_the_pages_and_the_orientation_of_what_is_aligned(tmp_path, monkeypatch):
    for name in ("a", "b"):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for page in (SCENE, 255 - SCENE):
                file.write(page, photometric="rgb", metadata=None, extratags=[(274, 3, 1, 3, True)])
    arguments = [*(tmp_path / f"{name}.tif" for name in "ab"), "-o", tmp_path / "out", "--pages", 2]
    monkeypatch.setattr("sys.argv", ["defusion", "align", *map(str, arguments), "--orientation", "ignore"])
    with pytest.raises(SystemExit, match="0"):
        main()
    for made in (tmp_path / "out").iterdir():
        np.testing.assert_array_equal(read(made).samples, 255 - SCENE)


def test_a_black_hot_source_is_turned(fuser):
    thermal = SCENE[..., 1]
    fused = fuser.fuse([255 - thermal, SCENE], reading=Reading(black_hot={1}))
    np.testing.assert_array_equal(fused, fuser.fuse([thermal, SCENE]))


@pytest.mark.parametrize("text", ["1:6800-7300", "1:6800..7300", "A:6800..7300", "a.tif:6800-7300"])
def test_a_range_is_written_with_a_dash_or_dots(text):
    asked = AskedReading(None, Orientation.apply, [text], None)
    assert asked.of([Path("a.tif"), Path("b.tif")]).ranges == {1: (6800, 7300)}


@pytest.mark.parametrize("text", ["1", "3:1-2", "1:a-b", "x.tif:1-2"])
def test_a_range_that_means_nothing_is_named(tmp_path, monkeypatch, capsys, text):
    monkeypatch.setattr("sys.argv", ["defusion", "fuse", "a", "b", "-o", str(tmp_path / "c.tif"), "--range", text])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "not understood" in (told := capsys.readouterr().err) or "no source" in told


def test_orientations_that_differ_are_told_and_can_be_left(fuser, tmp_path):
    exif = Image.Exif()
    exif[0x112] = 3
    Image.fromarray(NEAR).save(tmp_path / "a.png")
    Image.fromarray(FAR).save(tmp_path / "b.png", exif=exif)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.warns(FusionWarning, match="EXIF turns the sources in different ways.*--orientation ignore"):
        turned = fuser.fuse(paths)
    np.testing.assert_array_equal(turned, fuser.fuse([NEAR, FAR[::-1, ::-1]]))
    np.testing.assert_array_equal(fuser.fuse(paths, reading=Reading(orientation="ignore")), fuser.fuse([NEAR, FAR]))
    exif[0x112] = 6
    Image.fromarray(FAR).save(tmp_path / "b.png", exif=exif)
    with pytest.raises(ImageError, match="--orientation ignore"):
        fuser.fuse(paths)
    np.testing.assert_array_equal(fuser.fuse(paths, reading=Reading(orientation="ignore")), fuser.fuse([NEAR, FAR]))


def test_a_pipe_is_refused(tmp_path):
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"^\S*a\.png is a pipe or device, expected a file"):
        read(tmp_path / "a.png")


def test_the_quality_of_a_jpeg(tmp_path, monkeypatch):
    for name, each in (("a.png", NEAR), ("b.png", FAR)):
        Image.fromarray(each).save(tmp_path / name)
    sizes = []
    for quality in (30, 95):
        fuse_by_command(
            monkeypatch, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "c.jpg", "--jpeg-quality", quality
        )
        sizes.append((tmp_path / "c.jpg").stat().st_size)
    assert sizes[0] < 0.5 * sizes[1]


@pytest.mark.filterwarnings("ignore::defusion.FusionWarning")
def test_masked_places_count_for_nothing(fuser):
    masked = np.ma.masked_array(SCENE // 2, mask=False)
    masked[:, :20, 1] = np.ma.masked
    others = []
    for behind in (255, 0):
        masked.data[:, :20] = behind
        others.append(fuser.fuse([masked, SCENE], align="off"))
    np.testing.assert_array_equal(*others)
    for source, other in ((masked, SCENE), (masked[..., 1], SCENE[..., 1])):
        fused = fuser.fuse([source, other], align="off")
        assert "source 1: masked places count for nothing" in fused.notes
        # the zeros behind the mask would be some 170 levels off; what looks like noise of colour is weakened
        assert np.abs(fused[:, :8].astype(float) - other[:, :8]).mean() < 1
    with pytest.raises(ImageError, match="source 1 is masked everywhere"):
        fuser.fuse([np.ma.masked_all((30, 40)), SCENE[:30, :40, 0]])


def test_a_sparse_tensor_is_refused(fuser):
    torch = pytest.importorskip("torch")
    with pytest.raises(ImageError, match="source 2 is a sparse tensor; expected a dense one"):
        fuser.fuse([torch.zeros(8, 9), torch.zeros(8, 9).to_sparse()])
