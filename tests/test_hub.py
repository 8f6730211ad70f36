"""Weights in a folder that looks like a repository of the hub; nothing here goes to the network."""

from pathlib import Path

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


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no defusion\.safetensors"):
        HubFuser.from_pretrained(tmp_path)
