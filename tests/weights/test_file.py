"""Weights files: what is written comes back, and what is not ours or not whole is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from defusion import weights
from defusion.errors import WeightsError
from defusion.model.config import CONFIGS
from defusion.weights import WeightsFile, bundled, resolve, save

CONFIG = CONFIGS["small"]
TENSORS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "a.bias": np.array([0.1, -3.0, 65504.0], np.float32),
}


def write_safetensors(path: Path, metadata: dict[str, str] | None) -> Path:
    save_file(TENSORS, path, metadata=metadata)
    return path


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_what_is_saved_is_opened_again(kind: type[np.floating], tmp_path: Path) -> None:
    stored = {key: value.astype(kind) for key, value in TENSORS.items()}
    about = {"recipe": {"epochs": 2.5}, "data": "two photographs", "licence": "Ä"}
    saved = save(tmp_path / "net.safetensors", stored, CONFIG, about)
    opened = WeightsFile.open(tmp_path / "net.safetensors")
    assert opened == saved
    assert (opened.config, opened.about) == (CONFIG, about)
    tensors = opened.tensors()
    assert tensors.keys() == stored.keys()
    for key, value in tensors.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, stored[key].astype(np.float32))


def test_half_precision_takes_half_the_disk(tmp_path: Path) -> None:
    tensors = {"w": np.zeros((100, 1000), np.float32)}
    whole = save(tmp_path / "whole.safetensors", tensors, CONFIG, {}).path.stat().st_size
    halves = {"w": tensors["w"].astype(np.float16)}
    assert save(tmp_path / "half.safetensors", halves, CONFIG, {}).path.stat().st_size < 0.51 * whole


def test_a_transposed_view_is_saved_as_it_looks(tmp_path: Path) -> None:
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(save(tmp_path / "t.safetensors", {"w": view}, CONFIG, {}).tensors()["w"], view)


def test_the_sha256_speaks_of_the_tensors_alone(tmp_path: Path) -> None:
    one = save(tmp_path / "one.safetensors", TENSORS, CONFIG, {"date": "today"})
    reversed_order = dict(reversed(TENSORS.items()))
    other = save(tmp_path / "other.safetensors", reversed_order, CONFIG, {"date": "tomorrow"})
    assert one.sha256 == other.sha256


@pytest.mark.parametrize(
    "changed",
    [
        {"a.weight": TENSORS["a.weight"] + 1e-3, "a.bias": TENSORS["a.bias"]},
        {"a.weight": TENSORS["a.weight"].reshape(3, 2, 4), "a.bias": TENSORS["a.bias"]},
        {"a.weight": TENSORS["a.weight"].astype(np.float16), "a.bias": TENSORS["a.bias"]},
        {"b.weight": TENSORS["a.weight"], "a.bias": TENSORS["a.bias"]},
        {"a.weight": TENSORS["a.weight"]},
    ],
    ids=["value", "shape", "dtype", "name", "one fewer"],
)
def test_any_change_of_the_tensors_changes_the_sha256(changed: dict[str, np.ndarray], tmp_path: Path) -> None:
    before = save(tmp_path / "before.safetensors", TENSORS, CONFIG, {})
    after = save(tmp_path / "after.safetensors", changed, CONFIG, {})
    assert before.sha256 != after.sha256


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", TENSORS, CONFIG, {}).path
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    opened = WeightsFile.open(path)  # the header is whole
    with pytest.raises(WeightsError, match=r"net\.safetensors: the tensors do not match their SHA-256"):
        opened.tensors()


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", TENSORS, CONFIG, {}).path
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match=r"net\.safetensors"):
        WeightsFile.open(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "foreign.safetensors", metadata)
    with pytest.raises(WeightsError, match=r"foreign\.safetensors: .*without defusion's metadata"):
        WeightsFile.open(path)


@pytest.mark.parametrize(
    "header",
    [
        "not JSON",
        "3",
        "{}",
        json.dumps({"config": {}, "about": {}, "sha256": ""}),
        json.dumps({"config": CONFIG.to_dict()}),
    ],
)
def test_metadata_that_is_not_ours_is_refused(header: str, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "odd.safetensors", {"defusion": header})
    with pytest.raises(WeightsError, match=r"odd\.safetensors"):
        WeightsFile.open(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a torch file", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused_with_the_way_to_convert_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"defusion weights convert net\.pth"):
        WeightsFile.open(tmp_path / "net.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such weights file"):
        WeightsFile.open(tmp_path / "none.safetensors")


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        WeightsFile.open(tmp_path)


def test_a_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    save(tmp_path / "net.safetensors", TENSORS, CONFIG, {"n": 1})
    save(tmp_path / "net.safetensors", TENSORS, CONFIG, {"n": 2})
    assert WeightsFile.open(tmp_path / "net.safetensors").about == {"n": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_others_may_read_a_weights_file_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = save(tmp_path / "net.safetensors", TENSORS, CONFIG, {}).path
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"net\.safetensors: cannot be written"):
        save(tmp_path / "none" / "net.safetensors", TENSORS, CONFIG, {})
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"net\.safetensors: cannot be written"):
        save(tmp_path / "file" / "net.safetensors", TENSORS, CONFIG, {})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "net.safetensors", TENSORS, CONFIG, {"n": 1})

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(WeightsError, match="No space left"):
        save(tmp_path / "net.safetensors", TENSORS, CONFIG, {"n": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]
    assert WeightsFile.open(tmp_path / "net.safetensors").about == {"n": 1}


def test_a_killed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "net.safetensors", TENSORS, CONFIG, {})
    assert not list(tmp_path.iterdir())


def test_about_that_is_no_json_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save(tmp_path / "net.safetensors", TENSORS, CONFIG, {"when": object()})
    assert not list(tmp_path.iterdir())


def test_the_file_is_a_plain_safetensors_file(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", TENSORS, CONFIG, {}).path
    assert {key: value.tolist() for key, value in load_file(path).items()} == {
        key: value.tolist() for key, value in TENSORS.items()
    }


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two weights files as if the package shipped them."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("other", "pyramid"):
        save(folder / f"{name}.safetensors", TENSORS, CONFIG, {})
    monkeypatch.setattr("defusion.weights.file.__file__", str(folder / "file.py"))
    return {name: folder / f"{name}.safetensors" for name in ("other", "pyramid")}


def test_bundled_weights_are_listed_by_name(shelf: dict[str, Path]) -> None:
    assert bundled() == shelf


def test_names_resolve_to_bundled_weights_and_none_to_the_default(shelf: dict[str, Path]) -> None:
    assert resolve("other") == shelf["other"]
    assert resolve(None) == resolve("pyramid") == shelf["pyramid"]


@pytest.mark.usefixtures("shelf")
def test_paths_resolve_to_themselves(tmp_path: Path) -> None:
    own = tmp_path / "mine.safetensors"
    assert resolve(own) == resolve(str(own)) == own
    (tmp_path / "odd.name").touch()
    assert resolve(tmp_path / "odd.name") == tmp_path / "odd.name"


@pytest.mark.usefixtures("shelf")
def test_an_unknown_name_is_refused_beside_those_that_exist() -> None:
    with pytest.raises(WeightsError, match="no weights are named 'huge'; expected one of other, pyramid"):
        resolve("huge")


def test_every_bundled_file_opens_and_is_whole() -> None:
    for name, path in weights.bundled().items():
        file = WeightsFile.open(path)
        assert file.tensors(), name
        assert file.about["licence"] == "Apache-2.0", name
        assert file.about["scores"], name
        assert f"# Model card: {name}" in (file.card() or "")
