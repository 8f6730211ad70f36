"""The cache folder: where it stands when the usual place cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from defusion.system.cache import cache_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, on a machine without a home."""
    for variable in ("DEFUSION_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as Python does where a user has no home
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_home_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DEFUSION_CACHE", "~/kept")
    assert cache_folder("openvino") == tmp_path / "kept" / "openvino"


def test_without_a_home_it_is_a_temporary_folder_of_this_user(temporary: Path) -> None:
    folder = cache_folder("openvino")
    assert folder.is_dir() and folder.parent.parent == temporary
    assert cache_folder("openvino") == folder


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are told apart by numbers")
def test_a_folder_that_others_may_write_to_is_not_trusted(temporary: Path) -> None:
    others = temporary / f"defusion-{os.getuid()}"
    (others / "photos").mkdir(parents=True)
    others.chmod(0o777)
    folder = cache_folder("photos")
    assert others not in folder.parents
    assert cache_folder("photos") == folder  # one for the process, not one a call
