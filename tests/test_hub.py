"""Weights in a folder that looks like a repository of the hub; nothing here goes to the network."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from defusion import Fuser, WeightsError

pytest.importorskip("huggingface_hub")
from defusion.hub import FILE, HubFuser


def test_what_is_saved_is_loaded_and_fuses_the_same(tmp_path: Path) -> None:
    HubFuser(align="off").save_pretrained(tmp_path)
    assert (tmp_path / FILE).stat().st_size > 0
    assert (tmp_path / "README.md").read_text().startswith(("---", "#"))
    again = HubFuser.from_pretrained(tmp_path, align="off")
    sources = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    assert np.array_equal(again.fuse(list(sources)), Fuser(align="off").fuse(list(sources)))


def test_what_is_pushed_is_loaded_and_fuses_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Hub:
        """Stands for the hub, with one repository: a folder."""

        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **_: object) -> SimpleNamespace:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, folder_path: Path, **_: object) -> str:
            shutil.copytree(folder_path, tmp_path / "repository")
            return "https://hub/somebody/weights"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    HubFuser(align="off").push_to_hub("somebody/weights")
    again = HubFuser.from_pretrained(tmp_path / "repository", align="off")
    sources = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    assert np.array_equal(again.fuse(list(sources)), Fuser(align="off").fuse(list(sources)))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no defusion\.safetensors"):
        HubFuser.from_pretrained(tmp_path)
