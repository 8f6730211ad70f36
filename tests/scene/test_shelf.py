"""Pictures that are kept outside of memory."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from defusion.imaging import Picture
from defusion.scene import shelf
from defusion.scene.shelf import Shelf

RANDOM = np.random.default_rng(3)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MEMORY_BYTES", 0)


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_part_of_a_picture_comes_back(dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    both = [RANDOM.random((37, 53, channels)) * 255 for channels in (3, 1)]
    samples, other = (each.astype(dtype) for each in both)
    alpha = (both[1] > 99).astype(np.uint8)
    on = Shelf(2)
    first, second = on.keep(Picture(samples, alpha=alpha)), on.keep(Picture(other))
    assert first is not None and second is not None and first.alpha is not None
    for rows, columns in (
        (slice(None), slice(None)),
        (slice(3, 30), slice(7, 9)),
        (slice(1, 37, 5), slice(0, 53, 4)),
    ):
        np.testing.assert_array_equal(first.samples[rows, columns], samples[rows, columns])
        np.testing.assert_array_equal(second.samples[rows, columns], other[rows, columns])
        np.testing.assert_array_equal(first.alpha[rows, columns], alpha[rows, columns])
    assert first.samples[5:5, :].shape == (0, 53, 3)
    assert not isinstance(first.samples, np.ndarray)
    assert not list(tmp_path.iterdir())  # the file has no name


@pytest.mark.usefixtures("small_memory")
def test_a_full_disk_keeps_nothing_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    picture = Picture(np.zeros((10, 10, 3), np.uint8))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000))
    assert Shelf(2).keep(picture) is None  # 600 bytes are more than half of what is free
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2000))

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert Shelf(2).keep(picture) is None
