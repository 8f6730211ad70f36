"""Compiled graphs in the cache: right results whatever is done to them, and word of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from defusion.doctor import examine
from defusion.model.blocks import CLOSE_FEATURES, shapes
from defusion.runtime import pyramid_graph
from defusion.runtime.compiled import compiled, damaged
from defusion.runtime.vino import Core, Model
from defusion.system import cache

OPTIONS = {"INFERENCE_PRECISION_HINT": "f32"}
FRAME = np.random.default_rng(1).random((2, CLOSE_FEATURES, 24, 32), np.float32)

posix = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("DEFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def graph(seed: int = 0) -> Model:
    random = np.random.default_rng(seed)
    tensors = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes().items()}
    return pyramid_graph.build(tensors, "look")


def answer() -> np.ndarray:
    return np.array(compiled(Core(), graph(), OPTIONS)(FRAME)[0])


def only(folder: Path) -> Path:
    (file,) = folder.glob("*.blob")
    return file


def test_a_graph_is_kept_and_taken_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = answer()
    monkeypatch.setattr(Core, "compile_model", None)
    np.testing.assert_array_equal(answer(), first)
    assert cache.faults() == () and damaged(folder) == []


def flip(file: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    file.write_bytes(content)


def planted(file: Path) -> None:
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)


DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"a bit at {place}": lambda file, at=place: flip(file, at) for place in (0, 0.001, 0.1, 0.3, 0.6, 0.9, 1)},
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1000]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "empty": lambda file: file.write_bytes(b""),
    "junk": lambda file: file.write_bytes(b"junk" * 1000),
    "writable": lambda file: file.chmod(0o666),
    "link": planted,
    "dangling": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


@posix
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_leads_to_the_right_answer_and_a_note(folder: Path, kind: str) -> None:
    right = answer()
    DAMAGE[kind](only(folder))
    assert len(damaged(folder)) == 1
    np.testing.assert_array_equal(answer(), right)
    assert any("compiled again, because the cached one cannot be used" in fault for fault in cache.faults())
    if kind != "folder":  # which is not taken away
        assert damaged(folder) == []


def test_a_good_graph_under_the_name_of_another_is_not_taken(folder: Path) -> None:
    right = answer()
    of_detail = only(folder)
    compiled(Core(), graph(1), OPTIONS)
    (of_finest,) = set(folder.glob("*.blob")) - {of_detail}
    shutil.copyfile(of_finest, of_detail)
    np.testing.assert_array_equal(answer(), right)
    assert len(cache.faults()) == 1


def test_what_a_graph_is_compiled_for_tells_it_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer()
    compiled(Core(), graph(), {**OPTIONS, "PERFORMANCE_HINT": "LATENCY"})
    assert len(list(folder.glob("*.blob"))) == 2
    monkeypatch.setattr("defusion.runtime.compiled._machine", lambda: ("2099.1", "another processor"))
    answer()
    assert len(list(folder.glob("*.blob"))) == 3


@posix
@pytest.mark.parametrize("which", ["base", "room"])
@pytest.mark.parametrize("fault", ["writable", "link", "another's"])
def test_a_folder_that_is_not_ours_alone_is_not_used(
    folder: Path, which: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = answer()
    bad = folder if which == "room" else folder.parent
    if fault == "writable":
        bad.chmod(0o777)
    elif fault == "link":
        real = bad.rename(bad.with_name("real"))
        bad.symlink_to(real)
    else:
        another = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: another)
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*")}
    np.testing.assert_array_equal(answer(), right)
    assert any("the cache is not used, because" in told for told in cache.faults())
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*")} == before
    if fault == "writable":
        assert "can be written by others" in str(examine()["cache"]["faults"])


@posix
def test_a_full_disk_is_no_hindrance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert answer().shape == (2, 8, 24, 32)
    assert list(folder.iterdir()) == []
    assert "cannot be kept" in cache.faults()[0] and "No space left" in cache.faults()[0]


def test_many_may_begin_at_once(folder: Path) -> None:
    code = (
        "import numpy as np; from defusion.system.cache import faults\n"
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_compiled import graph\n"
        "from defusion.runtime.compiled import compiled\n"
        "from defusion.runtime.vino import Core\n"
        "frame = np.random.default_rng(1).random((2, 13, 24, 32), np.float32)\n"
        f"made = compiled(Core(), graph(), {OPTIONS!r})(frame)[0]\n"
        "print(made.tobytes().hex() if not faults() else faults())\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    answers = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    assert answers == {answer().tobytes().hex()}
    assert damaged(folder) == [] and len(list(folder.iterdir())) == 1
