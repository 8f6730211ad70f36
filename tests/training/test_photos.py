"""Photographs: which are found and used, and that crops are a function of their number alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from defusion.errors import TrainingError
from defusion.system.cache import cache_folder
from defusion.training import Recipe
from defusion.training.photos import (
    DECODED_AT_ONCE,
    HELD_BACK,
    Crops,
    Photos,
    crop_batches,
    describe,
    find_photos,
    random_resized_crop,
    split,
)


@pytest.fixture
def photos(photographs: Path) -> Photos:
    return Photos(find_photos([photographs]), 32)


def colour(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_photographs_are_found_at_any_depth_sorted_and_once(photographs: Path) -> None:
    found = find_photos([photographs, photographs / "more", photographs / "a.png"])
    names = [str(path.relative_to(photographs)) for path in found]
    assert names == ["a.png", "b.png", "c.JPG", "d.png", "more/e.png", "more/f.jpeg"]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a.WEBP").touch()
    assert find_photos([tmp_path]) == [tmp_path / "a.WEBP"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no photographs in .*; expected files that end in \.bmp"):
        find_photos([tmp_path])


def test_a_missing_folder_is_named(tmp_path: Path, photographs: Path) -> None:
    with pytest.raises(TrainingError, match="none: no such file or folder"):
        find_photos([photographs, tmp_path / "none"])


def test_photographs_are_kept_at_up_to_twice_the_crop(photographs: Path) -> None:
    kept = Photos([photographs / "a.png", photographs / "d.png"], 48)
    assert kept.index.shapes == [(96, 128), (96, 96)]
    whole = Photos([photographs / "a.png", photographs / "d.png"], 112)
    assert whole.index.shapes == [(150, 200), (120, 120)]
    assert np.array_equal(whole[0], np.asarray(Image.open(photographs / "a.png")))


def test_a_turned_photograph_stands_upright(photographs: Path, tmp_path: Path) -> None:
    turned = Image.open(photographs / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned.save(tmp_path / "turned.png", exif=exif)
    assert Photos([tmp_path / "turned.png", photographs / "d.png"], 100).index.shapes[0] == (200, 150)


def test_what_cannot_be_used_is_left_out_and_counted(photographs: Path, tmp_path: Path) -> None:
    whole = (photographs / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not a photograph")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.png").mkdir()
    colour(31, 200).save(tmp_path / "low.png")
    colour(200, 31).save(tmp_path / "thin.png")
    Image.open(photographs / "b.png").convert("L").save(tmp_path / "grey.png")
    Image.open(photographs / "b.png").convert("L").convert("RGB").save(tmp_path / "grey_as_rgb.png")
    photos = Photos(find_photos([tmp_path, photographs]), 32)
    assert len(photos) == 6
    assert describe(photos)["left_out"] == {"cannot be decoded": 3, "too small": 2, "grey": 2}
    assert describe(photos)["photographs"] == 6


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights there")
def test_what_is_no_regular_file_is_counted_and_never_waited_for(photographs: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "looping.jpg").symlink_to(tmp_path / "looping.jpg")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(photographs)
    found = find_photos([tmp_path, photographs])
    assert len(found) == 3 + 6
    assert describe(Photos(found, 33))["left_out"] == {"no regular file": 3}


def test_16_bit_tiffs_are_used_in_colour_and_counted_in_grey(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 2**16, (40, 40, 3), np.uint16)
    for name, planes in {"a": samples, "b": samples, "grey": samples[..., 0]}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", planes)
    tifffile.imwrite(tmp_path / "float.tif", samples / 2**16, photometric="rgb")
    photos = Photos(find_photos([tmp_path]), 32)
    assert np.abs(photos[0] - samples / 257).max() <= 1
    assert describe(photos)["left_out"] == {"cannot be decoded": 1, "grey": 1}


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_text_are_photographs_too(photographs: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    shutil.copy(photographs / "a.png", tmp_path / odd)
    assert len(Photos(find_photos([tmp_path, photographs / "b.png"]), 32)) == 2


def test_an_epoch_is_shuffled_once(photos: Photos, tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def generator(seed: list[int]) -> np.random.Generator:
        drawn.append(len(seed))
        return np.random.Generator(np.random.PCG64(seed))

    monkeypatch.setattr("defusion.training.photos.np.random.default_rng", generator)
    crops = Crops(photos, range(6), replace(tiny, seed=1234))
    for k in range(12):
        crops[k]
    assert (drawn.count(2), drawn.count(3)) == (2, 12)  # an order for each epoch, a part for each crop


def test_left_out_photographs_do_not_shift_the_others(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").touch()
    files = [photographs / "a.png", tmp_path / "broken.png", photographs / "d.png"]
    with_it, without = Photos(files, 32), Photos([files[0], files[2]], 32)
    assert np.array_equal(with_it[1], without[1])
    assert describe(with_it)["sha256"] == describe(without)["sha256"]


def test_a_single_photograph_is_too_few(photographs: Path) -> None:
    with pytest.raises(TrainingError, match="1 of 1 photographs can be used"):
        Photos([photographs / "a.png"], 32)


def test_photographs_none_of_which_can_be_used_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    with pytest.raises(TrainingError, match=r"0 of 2 photographs .*'cannot be decoded': 2"):
        Photos(find_photos([tmp_path]), 32)


def test_photographs_are_decoded_once(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Photos(find_photos([photographs]), 40)
    monkeypatch.setattr("defusion.training.photos._decode_all", lambda *_: pytest.fail("decoded again"))
    again = Photos(find_photos([photographs]), 40)
    assert all(np.array_equal(first[number], again[number]) for number in range(len(first)))


def test_a_changed_photograph_is_decoded_anew(photographs: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    colour(64, 64, seed=1).save(path)
    before = Photos([path, photographs / "b.png"], 32)[0].copy()
    colour(64, 64, seed=2).save(path)
    os.utime(path, ns=(1, 1))
    assert not np.array_equal(Photos([path, photographs / "b.png"], 32)[0], before)


@pytest.mark.parametrize("name", ["index.json", "pixels.u8"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "zeros", "other"])
def test_a_damaged_cache_is_decoded_anew(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    monkeypatch.setenv("DEFUSION_CACHE", str(tmp_path))
    files = find_photos([photographs])
    whole = Photos(files, 32)
    first = np.array(whole[0])
    (file,) = cache_folder("photos").rglob(name)
    content = file.read_bytes()
    file.unlink()
    damaged = {"cut": content[: len(content) // 2], "empty": b"", "zeros": bytes(len(content)), "other": b"[1]"}
    if damage in damaged:
        file.write_bytes(damaged[damage])
    again = Photos(files, 32)
    assert again.index == whole.index
    np.testing.assert_array_equal(again[0], first)


def test_a_stopped_decoding_is_no_cache(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(crop_px: int, file: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("defusion.training.photos._decode", stopped)
        with pytest.raises(KeyboardInterrupt):
            Photos(find_photos([photographs]), 56)
    assert not list(cache_folder("photos").glob("*partial*"))
    assert len(Photos(find_photos([photographs]), 56)) == 6


def test_a_stopped_decoding_does_not_go_through_all_photographs(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def stopped(crop_px: int, file: Path) -> str:
        begun.append(file)
        raise KeyboardInterrupt

    monkeypatch.setattr("defusion.training.photos._decode", stopped)
    with pytest.raises(KeyboardInterrupt):
        Photos([photographs / "a.png"] * 1000, 57)
    assert len(begun) <= DECODED_AT_ONCE


def test_photographs_that_find_no_room_are_told(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("defusion.training.photos.json.dumps", full)
    with pytest.raises(
        TrainingError, match=r"cannot be kept in .*photos \(No space left on device\); free some space"
    ):
        Photos(find_photos([photographs]), 58)
    assert not list(cache_folder("photos").glob("*partial*"))


def test_a_crop_is_a_function_of_its_number_alone(photos: Photos, tiny: Recipe) -> None:
    numbers, _ = split(photos)
    forward = [Crops(photos, numbers, tiny)[k] for k in range(20)]
    crops = Crops(photos, numbers, tiny)
    for k in reversed(range(20)):
        assert crops[k].shape == (3, 32, 32)
        assert crops[k].dtype == torch.uint8
        assert torch.equal(crops[k], forward[k])


def test_crops_differ_from_each_other_and_under_another_seed(photos: Photos, tiny: Recipe) -> None:
    numbers, _ = split(photos)
    crops, others = (Crops(photos, numbers, recipe) for recipe in (tiny, replace(tiny, seed=1)))
    seen = {crops[k].numpy().tobytes() for k in range(30)} | {others[k].numpy().tobytes() for k in range(30)}
    assert len(seen) == 60


def test_every_photograph_is_cropped_once_an_epoch(photos: Photos, tiny: Recipe) -> None:
    plain = {number: np.full_like(photos[number], 40 * number) for number in range(len(photos))}
    crops = Crops(cast(Photos, plain), range(6), tiny)
    for epoch in range(3):
        levels = [int(crops[6 * epoch + place].float().mean()) for place in range(6)]
        assert sorted(levels) == [0, 40, 80, 120, 160, 200]


@pytest.mark.parametrize("shape", [(32, 32), (33, 64), (64, 33), (48, 500)])
def test_a_crop_is_cut_from_photographs_of_any_shape(shape: tuple[int, int]) -> None:
    photo = np.asarray(colour(*shape))
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert random_resized_crop(photo, 32, (0.1, 1.0), rng).shape == (32, 32, 3)


def test_half_of_the_crops_are_mirrored(photographs: Path) -> None:
    ramp = np.zeros((64, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[None, :, None] * 4
    rng = np.random.default_rng(0)
    crops = [random_resized_crop(ramp, 32, (0.5, 1.0), rng).astype(int) for _ in range(400)]
    mirrored = np.mean([crop[0, 0, 0] > crop[0, -1, 0] for crop in crops])
    assert 0.4 < mirrored < 0.6


class Numbers:
    """Stands in for crops: crop k is k."""

    def __getitem__(self, k: int) -> torch.Tensor:
        return torch.tensor(k)


def numbers_seen(**choices: int) -> list[int]:
    batches = crop_batches(cast(Crops, Numbers()), workers=0, **choices)
    return [int(number) for batch in batches for number in batch]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_the_crops_out_without_gap_or_overlap(processes: int) -> None:
    shares = [numbers_seen(start=2, stop=7, rank=r, processes=processes, batch=4) for r in range(processes)]
    assert all(len(share) == 5 * 4 for share in shares)
    assert sorted(k for share in shares for k in share) == list(range(2 * 4 * processes, 7 * 4 * processes))


def test_a_stream_begun_later_gives_the_rest_of_the_same_stream() -> None:
    whole = numbers_seen(start=0, stop=9, rank=1, processes=2, batch=3)
    assert numbers_seen(start=5, stop=9, rank=1, processes=2, batch=3) == whole[5 * 3 :]


def test_a_stream_at_its_end_gives_nothing() -> None:
    assert numbers_seen(start=4, stop=4, rank=0, processes=1, batch=3) == []


@pytest.mark.parametrize("count", [2, 3, 6, 129, 1000])
def test_held_back_photographs_are_never_trained_on(count: int) -> None:
    train_on, held_back = split(cast(Photos, range(count)))
    assert sorted(train_on + held_back) == list(range(count))
    assert len(held_back) == min(HELD_BACK, count // 2)
