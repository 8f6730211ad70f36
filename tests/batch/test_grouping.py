"""A card divided into scenes, by what the camera told and by the pictures alone."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data

from defusion import BatchError
from defusion.batch.finding import Finder
from defusion.batch.grouping import GroupKind, divided
from defusion.cli import main

SIDE = (240, 160)

#: How far a hand moves the camera between two frames.
SHAKE_PX = 2


class Shot(NamedTuple):
    """A frame on its way to the card."""

    picture: Image.Image
    seconds: float
    """After the frame before."""
    exposure_s: float = 1 / 100
    focus_m: float = 2.0


def places(count: int, seed: int) -> list[NDArray[np.float64]]:
    """Linear light of so many different places: parts of photographs, with a margin for shaking hands."""
    rng = np.random.default_rng(seed)
    photographs = [Image.fromarray(each) for each in (data.astronaut(), data.chelsea(), data.coffee())]
    width, height = (side + 2 * SHAKE_PX for side in SIDE)
    found = []
    for number in range(count):
        photograph = photographs[number % 3]
        left, top = int(rng.integers(photograph.width - width)), int(rng.integers(photograph.height - height))
        part = photograph.crop((left, top, left + width, top + height))
        if number // 3 % 2:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        found.append((np.asarray(part) / 255) ** 2.2)
    return found


def seen(light: NDArray[np.float64], stops: float, rng: np.random.Generator) -> Image.Image:
    """A frame by a hand that is not quite still."""
    down, across = rng.integers(0, 2 * SHAKE_PX + 1, 2)
    part = light[down : down + SIDE[1], across : across + SIDE[0]]
    noisy = np.clip(part * 2**stops, 0, 1) ** (1 / 2.2) * 255 + rng.normal(0, 1.5, part.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def bracket(light: NDArray[np.float64], rng: np.random.Generator, pause: float) -> list[Shot]:
    stops = [0.0, -2.0, 2.0] if rng.random() < 0.7 else [0.0, -1.0, 1.0, -2.0, 2.0]
    return [
        Shot(seen(light, each, rng), 0.5 if number else pause, 2**each / 100) for number, each in enumerate(stops)
    ]


def focus_stack(light: NDArray[np.float64], rng: np.random.Generator, pause: float) -> list[Shot]:
    """Sharp in a band that goes from the bottom to the top."""
    frames, count = [], int(rng.integers(4, 7))
    sharp = seen(light, 0, rng)
    rows = np.linspace(1, 0, SIDE[1])[:, np.newaxis] * np.ones(SIDE[0])
    blurred = [np.asarray(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1.5, 3, 4.5)]
    for number in range(count):
        level = np.minimum(np.abs(rows - number / (count - 1)) * 5, 3).astype(int)
        frame = np.choose(level[..., np.newaxis], blurred)
        frames.append(Shot(Image.fromarray(frame), 1.0 if number else pause, focus_m=0.3 + 0.02 * number))
    return frames


def written(shots: list[Shot], folder: Path, with_exif: bool) -> list[str]:
    """Writes frames as a camera does, and returns their names."""
    names, time = [], datetime(2026, 5, 4, 9, 30)
    for number, shot in enumerate(shots):
        time += timedelta(seconds=shot.seconds)
        exif = Image.Exif()
        if with_exif:
            exif[0x0110] = "Maker One"
            exif._ifds[0x8769] = {
                0x9003: time.strftime("%Y:%m:%d %H:%M:%S"),
                0x9291: f"{time.microsecond // 1000:03}",
                **{0x829A: shot.exposure_s, 0x829D: 8.0, 0x8827: 100, 0x9206: shot.focus_m},
            }
        names.append(f"IMG_{number:04}.JPG")
        shot.picture.save(folder / names[-1], quality=93, exif=exif)
    return names


def card(folder: Path, with_exif: bool) -> list[tuple[GroupKind, tuple[str, ...]]]:
    """Makes a card of 12 brackets, 5 focus stacks and 20 single frames, and returns what belongs together."""
    rng = np.random.default_rng(7)
    kinds: list[GroupKind] = ["bracket"] * 12 + ["focus"] * 5 + ["single"] * 20
    rng.shuffle(kinds)
    shots: list[Shot] = []
    groups = []
    for kind, light in zip(kinds, places(len(kinds), 3), strict=True):
        pause = float(rng.uniform(3, 60))
        if kind == "single":
            scene = [Shot(seen(light, 0, rng), pause)]
        else:
            scene = (bracket if kind == "bracket" else focus_stack)(light, rng, pause)
        groups.append((kind, len(scene)))
        shots += scene
    names = iter(written(shots, folder, with_exif))
    return [(kind, tuple(next(names) for _ in range(count))) for kind, count in groups]


@pytest.mark.parametrize(("with_exif", "right"), [(True, 1.0), (False, 0.9)])
def test_a_card_is_divided_into_its_scenes(tmp_path: Path, with_exif: bool, right: float) -> None:
    expected = card(tmp_path, with_exif)
    groups = divided(str(tmp_path)).groups
    found = {(group.kind, tuple(Path(frame).name for frame in group.frames)) for group in groups}
    assert len(found & set(expected)) >= right * len(expected), sorted(found ^ set(expected))
    assert sorted(name for _, names in found for name in names) == sorted(
        name for _, names in expected for name in names
    )


@pytest.mark.parametrize("with_exif", [True, False])
def test_series_of_one_place_are_told_apart(tmp_path: Path, with_exif: bool) -> None:
    """Two brackets and a stack of one view, and a burst of another, one after the other."""
    rng = np.random.default_rng(1)
    light, other = places(2, 5)
    again = [Shot(seen(light, stops, rng), 1.0, 2**stops / 100) for stops in (0.0, -2.0, 2.0)]
    burst = [Shot(seen(other, 0, rng), 1.0) for _ in range(3)]
    stack = focus_stack(light, np.random.default_rng(2), 1.0)
    written([*again, *again, *stack, *burst], tmp_path, with_exif)
    kinds = [(group.kind, len(group.frames)) for group in divided(str(tmp_path)).groups]
    assert kinds[:3] == [("bracket", 3), ("bracket", 3), ("focus", len(stack))]
    assert [kind for kind, _ in kinds[3:]] == ["single"] * 3


def test_extreme_exposures_belong_by_the_cameras_word(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    (light,) = places(1, 5)
    shots = [Shot(seen(light, stops, rng), 1.0, 2**stops / 100) for stops in (0.0, -8.0, 8.0)]
    written(shots, tmp_path, with_exif=True)
    assert [group.kind for group in divided(str(tmp_path)).groups] == ["bracket"]


def test_frames_that_are_no_pictures_and_second_files_of_one_frame_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    (light,) = places(1, 5)
    written(bracket(light, rng, 1.0), tmp_path, with_exif=True)
    (tmp_path / "IMG_0001.png").write_bytes((tmp_path / "IMG_0001.JPG").read_bytes())
    (tmp_path / "IMG_0002.dng").write_bytes(b"no picture")
    groups, notes = divided(str(tmp_path))
    assert [Path(frame).suffix for frame in groups[0].frames] == [".JPG"] * len(groups[0].frames)
    assert notes[0] == "IMG_0001.png: skipped, IMG_0001.JPG is the same frame"
    assert notes[1].startswith("skipped: ") and "IMG_0002.dng is not a picture" in notes[1]


def test_the_command_shows_a_card_before_anything_is_fused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    light, other = places(2, 5)
    (tmp_path / "card").mkdir()
    shots = [*focus_stack(light, rng, 1.0), Shot(seen(other, 0, rng), 30)]
    names = written(shots, tmp_path / "card", with_exif=True)
    arguments = ["batch", "--group", str(tmp_path / "card"), "-o", str(tmp_path / "out"), "--dry-run"]
    for more in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["defusion", *arguments, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    *table, stack, single = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in table] == [
        ["scene", "kind", "frames"],
        ["IMG_0000", "focus", str(len(names) - 1)],
        [Path(names[-1]).stem, "single", "1"],
    ]
    assert json.loads(stack)["sources"] == [str(tmp_path / "card" / name) for name in names[:-1]]
    assert (json.loads(single)["kind"], (tmp_path / "out").exists()) == ("single", False)


def test_a_folder_of_no_series_is_refused(tmp_path: Path) -> None:
    finder = Finder(tmp_path, "out", ".png", group=True)
    with pytest.raises(BatchError, match="no two of 0 frames in"):
        finder.find()
    assert finder.find(may_be_none=True).scenes == []
