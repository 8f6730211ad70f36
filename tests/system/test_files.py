"""Files appear whole or not at all, never over a source or what is no regular file, and leave nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from defusion.system.files import beside, unfit

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and modes of POSIX")


@pytest.fixture(params=["unnamed", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Files without a name, where the system has them, and with one."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without names")
    return str(request.param)


def write(target: Path, content: bytes = b"new") -> None:
    with beside(target) as place:
        place.write_bytes(content)


def test_a_file_appears_whole(tmp_path: Path, kind: str) -> None:
    with beside(tmp_path / "a") as place:
        place.write_bytes(b"new")
        assert not (tmp_path / "a").exists()
        assert len(os.listdir(tmp_path)) == (kind == "named")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_nothing_is_left_of_a_failure(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileNotFoundError), beside(tmp_path / "a") as place:
        place.write_bytes((tmp_path / "a").read_bytes() + (tmp_path / "missing").read_bytes())
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_the_mode_of_what_is_replaced_stays(tmp_path: Path, kind: str, mode: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(mode)
    write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@posix
def test_the_umask_sets_the_mode_of_what_is_new(tmp_path: Path, kind: str) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_points_at_is_written(tmp_path: Path, kind: str, there: bool) -> None:
    (tmp_path / "real").mkdir()
    if there:
        (tmp_path / "real" / "b").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "chain")
    (tmp_path / "chain").symlink_to(Path("real") / "b")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "chain").is_symlink()
    assert (tmp_path / "real" / "b").read_bytes() == b"new"
    assert os.listdir(tmp_path / "real") == ["b"]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # their whole names are short


@posix
@pytest.mark.parametrize("way", ["itself", "link"])
@pytest.mark.parametrize(
    ("make", "word"),
    [
        (os.mkfifo, "a named pipe"),
        (make_socket, "a socket"),
        (os.mkdir, "a folder"),
    ],
)
def test_what_is_no_regular_file_stays(tmp_path: Path, make, word: str, way: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd")
    before = (tmp_path / "odd").lstat()
    target = tmp_path / "odd"
    if way == "link":
        target = tmp_path / "link"
        target.symlink_to("odd")
    assert unfit(target) == f"is {word}, expected the name of a file; choose another output name"
    with pytest.raises(OSError, match=word):
        write(target)
    assert (tmp_path / "odd").lstat() == before
    assert target.is_symlink() == (way == "link")


@posix
def test_a_device_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    assert "is a device" in str(unfit("/dev/null")) and "is a device" in str(unfit(tmp_path / "link"))
    with pytest.raises(OSError, match="is a device"):
        write(tmp_path / "link")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@posix
def test_names_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    for name in ("loop", "n" * 300, "a\0b", "file/inside"):
        assert "cannot be written (" in str(unfit(tmp_path / name)), name
    assert unfit(tmp_path / "new") is None


def test_sources_are_known_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    source = tmp_path / "folder" / "Grün.tif"
    source.write_bytes(b"source")
    os.link(source, tmp_path / "hard.tif")
    names = [source, tmp_path / "folder" / ".." / "folder" / "Grün.tif", tmp_path / "hard.tif"]
    # Not all disks tell these apart, and network drives may number files as they please.
    names += [tmp_path / "folder" / name for name in ("GRÜN.TIF", "Gru\u0308n.tif")]
    if os.name != "nt":
        (tmp_path / "soft.tif").symlink_to(source)
        (tmp_path / "way").symlink_to("folder")
        names += [tmp_path / "soft.tif", tmp_path / "way" / "Grün.tif", tmp_path / "way" / "grün.tif"]
    for name in names:
        reason = f"would be written over the source {source}, and sources are kept; choose another output name"
        assert unfit(name, [tmp_path / "missing.tif", source]) == reason, name
        assert unfit(name) is None
    for name in (tmp_path / "Grün.tif", tmp_path / "folder" / "Grün2.tif", tmp_path / "missing.tif.tif"):
        assert unfit(name, [tmp_path / "missing.tif", source]) is None, name


def test_what_a_killed_process_left_goes_with_the_next_file(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from defusion.system.files import beside\n"
        "if hasattr(os, 'O_TMPFILE'): del os.O_TMPFILE\n"
        "with beside(Path(sys.argv[1])) as place:\n"
        "    place.write_bytes(b'half'); print(flush=True); time.sleep(60)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stdout=subprocess.PIPE)
        for name in ("killed", "alive")
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.read(1)
    killed, alive = processes
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.glob(".defusion-*.part"))) == 2
    (tmp_path / "defusion-mine.part").write_bytes(b"a user's")
    write(tmp_path / "next")
    assert len(list(tmp_path.glob(".defusion-*.part"))) == 1  # of the one that still writes
    alive.kill()
    alive.communicate()
    write(tmp_path / "next")
    assert sorted(os.listdir(tmp_path)) == ["defusion-mine.part", "next"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no files without names")
def test_a_killed_process_leaves_nothing_where_files_need_no_name(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from defusion.system.files import beside\n"
        "with beside(Path(sys.argv[1])) as place:\n"
        "    place.write_bytes(bytes(10**6)); print(flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.read(1)
        process.kill()
    assert os.listdir(tmp_path) == []


def _write_often(target: Path) -> None:
    for number in range(100):
        write(target, bytes([number]) * 1000)


def test_many_processes_may_write_one_file(tmp_path: Path, kind: str) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes = [context.Process(target=_write_often, args=(tmp_path / "a",)) for _ in range(4)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 60
    while any(process.is_alive() for process in processes):
        assert time.monotonic() < deadline
        if (tmp_path / "a").exists():
            content = (tmp_path / "a").read_bytes()
            assert len(content) == 1000 and len(set(content)) == 1
    assert [process.exitcode for process in processes] == [0] * 4
    assert os.listdir(tmp_path) == ["a"]


@posix
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            write(tmp_path / "a")
    finally:
        tmp_path.chmod(0o700)
    assert os.listdir(tmp_path) == []
