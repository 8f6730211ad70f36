"""Unlabelled photographs as a stream of random crops.

Photographs are decoded once, into one memory-mapped file in the cache folder. Crop k of a run is a pure
function of the seed and k, so a run can be resumed, and shared among processes, at any crop.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from defusion.errors import TrainingError
from defusion.system.cache import cache_folder
from defusion.training.recipe import Recipe

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})

#: Photographs held back from training, to measure the pretext error on.
HELD_BACK = 64

#: Number of photographs that are decoded together. An interrupted run finishes those that it has begun.
DECODED_AT_ONCE = 64


@dataclass(frozen=True)
class PhotoIndex:
    """Where each decoded photograph is in the cache file, and what was left out."""

    shapes: list[tuple[int, int]]
    """Height and width of each."""
    skipped: dict[str, int]
    """Count of files left out, by reason."""
    digest: str
    """SHA-256 of the decoded photographs' names and sizes: tells whether two runs saw the same data."""
    pixels: str
    """SHA-256 of the cache file."""


def find_photos(places: Iterable[str | Path]) -> list[Path]:
    """Lists the files with a picture's suffix among files and, at any depth, in folders; sorted, each once.

    Links to folders are followed, each folder is looked through once.

    Raises:
        TrainingError: A place does not exist, or no picture file is found.
    """
    found: set[Path] = set()
    seen: set[tuple[int, int]] = set()
    folders_and_files = [Path(place) for place in places]
    for place in folders_and_files:
        if not place.exists():
            raise TrainingError(f"{place}: no such file or folder; expected photographs to train on")
        files = _files_below(place, seen) if place.is_dir() else [place]
        found.update(file for file in files if file.suffix.lower() in PHOTO_SUFFIXES)
    if not found:
        raise TrainingError(
            f"no photographs in {', '.join(map(str, folders_and_files))}; "
            f"expected files that end in {', '.join(sorted(PHOTO_SUFFIXES))}"
        )
    return sorted(found)


def _files_below(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yields the files at any depth. Each folder is searched once, because links may form a circle."""
    for above, folders, files in os.walk(folder, followlinks=True):
        stat = Path(above).stat()
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        yield from (Path(above, file) for file in files)


class Photos:
    """Decoded photographs in one memory-mapped file, uint8 RGB.

    Args:
        files: Photographs; those that cannot be decoded, are smaller than a crop or are grey are left out.
        crop_px: Smallest height and width; a photograph is kept at up to twice that on its short side.

    Raises:
        TrainingError: Too few usable photographs are left.
    """

    def __init__(self, files: Sequence[Path], crop_px: int) -> None:
        key = hashlib.sha256(str(crop_px).encode())
        for file in files:
            key.update(os.fsencode(f"{file.absolute()} {_state_of(file)}\n"))
        folder = cache_folder("photos") / key.hexdigest()[:20]
        found = _sound_index(folder)
        if found is None:
            shutil.rmtree(folder, ignore_errors=True)
            _decode_all(files, crop_px, folder)
            found = _sound_index(folder)
        if found is None:
            raise TrainingError(
                f"decoded photographs in {folder} were damaged as soon as they were written; set DEFUSION_CACHE to "
                "a folder on another disk"
            )
        self.index = found
        if len(self.index.shapes) < 2:
            raise TrainingError(
                f"{len(self.index.shapes)} of {len(files)} photographs can be used (left out: {self.index.skipped}); "
                f"expected at least two colour photographs of {crop_px} pixels or more a side"
            )
        self._pixels = np.memmap(folder / "pixels.u8", np.uint8, mode="r")
        sizes = [height * width * 3 for height, width in self.index.shapes]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])

    def __len__(self) -> int:
        return len(self.index.shapes)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        """Returns photograph `number`, [H, W, 3]; a view of the file."""
        start, end = self._offsets[number : number + 2]
        return self._pixels[start:end].reshape(*self.index.shapes[number], 3)


class Crops(Dataset[torch.Tensor]):
    """Crop k of an endless, shuffled stream over photographs: uint8, [3, crop_px, crop_px]."""

    def __init__(self, photos: Photos, numbers: Sequence[int], recipe: Recipe) -> None:
        self._photos, self._numbers, self._recipe = photos, numbers, recipe

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, k: int) -> torch.Tensor:
        recipe, count = self._recipe, len(self._numbers)
        order = _order(recipe.seed, k // count, count)
        photo = self._photos[self._numbers[int(order[k % count])]]
        rng = np.random.default_rng([recipe.seed, 1, k])
        crop = random_resized_crop(photo, recipe.crop_px, recipe.crop_area, rng)
        return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of photographs in an epoch; kept, since every crop of the epoch asks for it."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def random_resized_crop(
    photo: NDArray[np.uint8], side: int, area: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cuts a random part of a photograph, of 3:4 to 4:3, scales it to a square and mirrors it half the time."""
    height, width = photo.shape[:2]
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    part = rng.uniform(*area) * height * width
    high = int(np.clip(np.sqrt(part / aspect), min(side // 2, height), height))
    wide = int(np.clip(np.sqrt(part * aspect), min(side // 2, width), width))
    top, left = rng.integers(height - high + 1), rng.integers(width - wide + 1)
    window = photo[top : top + high, left : left + wide]
    square = np.asarray(Image.fromarray(window).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0))
    return square[:, ::-1] if rng.random() < 0.5 else square


def crop_batches(
    crops: Crops, *, start: int, stop: int, rank: int, processes: int, batch: int, workers: int
) -> Iterator[torch.Tensor]:
    """Yields the uint8 batches [batch, 3, H, W] of one process, for steps `start` to `stop`."""
    numbers = [[(step * processes + rank) * batch + place for place in range(batch)] for step in range(start, stop)]
    loader = DataLoader(
        crops,
        batch_sampler=numbers,
        num_workers=workers,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def split(photos: Photos) -> tuple[list[int], list[int]]:
    """Divides photographs into those to train on and up to `HELD_BACK` others, evenly spread, to measure on."""
    held = min(HELD_BACK, len(photos) // 2)
    back = {int(number) for number in np.linspace(0, len(photos) - 1, held)}
    return [number for number in range(len(photos)) if number not in back], sorted(back)


def _state_of(file: Path) -> str:
    """Returns size and time of a file, which show whether it has changed; nothing for a broken link."""
    try:
        stat = file.stat()
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _decode(crop_px: int, file: Path) -> NDArray[np.uint8] | str:
    """Decodes one photograph, or says why it is left out."""
    if not file.is_file():  # reading a pipe could wait without end
        return "no regular file"
    try:
        with Image.open(file) as opened:
            opened.draft("RGB", (2 * crop_px, 2 * crop_px))
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except Exception:  # decoders raise whatever they trip over in a damaged file
        return "cannot be decoded"
    short = min(image.size)
    if short < crop_px:
        return "too small"
    if short > 2 * crop_px:
        scale = 2 * crop_px / short
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    if np.ptp(pixels.astype(np.int16), axis=2).mean() < 1.0:
        return "grey"
    return pixels


def _sound_index(folder: Path) -> PhotoIndex | None:
    """Reads the index of a cache folder; None if there is none, or if it or the pixels are damaged."""
    try:
        index = json.loads((folder / "index.json").read_text())
        found = PhotoIndex(**{**index, "shapes": [(int(high), int(wide)) for high, wide in index["shapes"]]})
        with (folder / "pixels.u8").open("rb") as file:
            return found if hashlib.file_digest(file, "sha256").hexdigest() == found.pixels else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _decode_all(files: Sequence[Path], crop_px: int, folder: Path) -> None:
    """Fills a cache folder; it appears whole or not at all."""
    partial_folder = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        _decode_into(partial_folder, files, crop_px)
        partial_folder.replace(folder)
    except OSError as error:
        if (folder / "index.json").exists():  # another process was faster
            return
        reason = error.strerror or error
        raise TrainingError(
            f"decoded photographs cannot be kept in {folder.parent} ({reason}); free some space, or set "
            "DEFUSION_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _decode_into(folder: Path, files: Sequence[Path], crop_px: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shapes: list[tuple[int, int]] = []
    skipped: Counter[str] = Counter()
    digest, of_pixels = hashlib.sha256(), hashlib.sha256()
    with ThreadPoolExecutor() as pool, (folder / "pixels.u8").open("wb") as sink:
        for start in range(0, len(files), DECODED_AT_ONCE):
            part = files[start : start + DECODED_AT_ONCE]
            for file, decoded in zip(part, pool.map(partial(_decode, crop_px), part), strict=True):
                if isinstance(decoded, str):
                    skipped[decoded] += 1
                    continue
                sink.write(decoded.tobytes())
                of_pixels.update(decoded.tobytes())
                shapes.append((decoded.shape[0], decoded.shape[1]))
                digest.update(os.fsencode(f"{file.name} {decoded.shape}\n"))
    index = PhotoIndex(shapes, dict(skipped), digest.hexdigest(), of_pixels.hexdigest())
    (folder / "index.json").write_text(json.dumps(asdict(index)))


def describe(photos: Photos) -> dict[str, Any]:
    """Returns the data description that stands beside every checkpoint."""
    return {"photographs": len(photos), "left_out": photos.index.skipped, "sha256": photos.index.digest}
