"""The store: what it takes for unchanged, and who may write to it."""

import os
from pathlib import Path

import pytest

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import Score
from defusion.evaluation.store import ResultStore, key_of


def test_a_file_is_read_again_when_its_size_or_date_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    with ResultStore(tmp_path / "cache.sqlite") as store:
        one = store.sha256(file)
        file.write_bytes(b"two")
        os.utime(file, ns=(0, 1))
        two = store.sha256(file)
    assert one != two
    with ResultStore(tmp_path / "cache.sqlite") as store:
        assert store.sha256(file) == two


def test_a_picture_is_known_under_its_key_while_it_is_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"picture")
    with ResultStore(tmp_path / "cache.sqlite") as store:
        made = store.keep_made(file, "key", 1.5)
        assert store.made(file, "key") == made == (store.sha256(file), 1.5)
        assert store.made(file, "other") is None
        file.write_bytes(b"another")
        assert store.made(file, "key") is None
        file.unlink()
        assert store.made(file, "key") is None


def test_scores_come_back_as_they_were(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "cache.sqlite") as store:
        store.keep_scores("key", {"ssim": Score(0.1 + 0.2), "cc": Score(float("nan"), "a source is flat")})
    with ResultStore(tmp_path / "cache.sqlite") as store:
        found = store.scores("key")
        assert found["ssim"] == Score(0.1 + 0.2)
        assert str(found["cc"].value) == "nan"
        assert found["cc"].reason == "a source is flat"
        assert store.scores("other") == {}


def test_one_run_at_a_time_writes_to_a_report(tmp_path: Path) -> None:
    with (
        ResultStore(tmp_path / "cache.sqlite"),
        pytest.raises(EvaluationError, match=r"database is locked; wait for the other run"),
    ):
        ResultStore(tmp_path / "cache.sqlite")


def test_keys_stand_for_their_parts_alone() -> None:
    assert key_of("a", "bc") != key_of("ab", "c") != key_of("a", "bc", None)
    assert key_of("a", 1, None) == key_of("a", 1, None)
