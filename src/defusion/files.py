"""Files that appear whole or not at all, and never in the place of a source or of what is no regular file.

What is written has no name until it is whole, where the system has such files: then a process that is killed leaves
nothing. Elsewhere it stands beside its later name, as `.defusion-….part`, and is locked by its process; who writes to
that folder next takes away those that nobody holds.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EINVAL
from pathlib import Path
from typing import Any, NamedTuple

from defusion.errors import ImageError

_KINDS = {
    **{stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"},
    **{stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"},
}


def kind_of(path: Path) -> str | None:
    """Says what stands at a path, links followed, if that is neither nothing nor a regular file: such as "a device".

    Raises:
        OSError: It cannot be looked at: the name is too long, or links go in a circle.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return _KINDS.get(stat.S_IFMT(mode), None if stat.S_ISREG(mode) else "no regular file")


def unfit(path: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]] = ()) -> str | None:
    """Says why a file must not be written, if so, as what follows its name in a sentence; None if it may.

    Args:
        path: The file to write. A link is followed.
        sources: Files that are read, and therefore never written. Links and hard links to them are the same files,
            and so are names in one folder that differ in capitals alone: not all disks tell these apart.
    """
    path = Path(path)
    try:
        if kind := kind_of(path):
            return f"is {kind}, expected the name of a file; choose another output name"
        target = path.resolve()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # the latter of links in a circle, and of names that cannot be
        return f"cannot be written ({getattr(error, 'strerror', None) or error}); choose another output name"
    for source in sources:
        with suppress(OSError, RuntimeError, ValueError):  # who reads it says what is wrong with it
            if _same(target, Path(source)):
                return f"would be written over the source {source}, and sources are kept; choose another output name"
    return None


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Gives a place to write to. It becomes the file `target` at the end, or is gone after any failure.

    A link to a regular file stays a link; a file that is replaced hands on its mode.

    Raises:
        OSError: It cannot be made, or put in its place; or what stands there is no regular file.
    """
    if reason := unfit(target):
        raise OSError(EINVAL, reason, str(target))
    target = target.resolve()
    _sweep(target.parent)
    part = _unnamed(target.parent) or _named(target.parent)
    try:
        yield part.place
        part.become(target)
    finally:
        part.let_go()


class _Part(NamedTuple):
    """A file on its way."""

    place: Path
    """Where it is written to."""
    kept: int | None
    """Keeps the file, and its lock, until it has its name; Windows keeps what is open by itself."""
    has_name: bool

    def become(self, target: Path) -> None:
        """Takes the place of the target at once."""
        place = self.place
        if self.kept is not None:
            with suppress(FileNotFoundError):
                os.fchmod(self.kept, stat.S_IMODE(target.stat().st_mode))
        if not self.has_name:
            place = _new_name(target.parent)
            folder = os.open(target.parent, os.O_RDONLY)
            try:  # by a folder, since only then the link in /proc is followed
                os.link(self.place, place.name, dst_dir_fd=folder, follow_symlinks=True)
            finally:
                os.close(folder)
        try:
            place.replace(target)
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def let_go(self) -> None:
        """Takes away what did not become a file."""
        if self.has_name:
            with suppress(OSError):
                self.place.unlink()
        if self.kept is not None:
            os.close(self.kept)


def _unnamed(folder: Path) -> _Part | None:
    """Makes a file without a name, if the system and the folder's disk have such."""
    try:
        kept = os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o666)
    except (AttributeError, OSError):
        return None
    place = Path(f"/proc/self/fd/{kept}")
    if not place.exists():
        os.close(kept)
        return None
    with suppress(OSError):
        _lock(kept)
    return _Part(place, kept, has_name=False)


def _named(folder: Path) -> _Part:
    """Makes a file beside the target, under a name that no other process uses."""
    while True:
        place = _new_name(folder)
        made = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if os.name == "nt":
            os.close(made)
            return _Part(place, None, has_name=True)
        with suppress(OSError):  # of a disk that knows no locks
            _lock(made)
        if os.fstat(made).st_nlink:  # else somebody swept it before it was locked
            return _Part(place, made, has_name=True)
        os.close(made)


def _new_name(folder: Path) -> Path:
    return folder / f".defusion-{secrets.token_hex(8)}.part"


def _sweep(folder: Path) -> None:
    """Takes away what processes left that are gone."""
    for left in folder.glob(".defusion-*.part"):
        with suppress(OSError):  # of those that somebody holds, too
            if os.name == "nt":
                left.unlink()
                continue
            opened = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                _lock(opened, wait=False)
                left.unlink()
            finally:
                os.close(opened)


def _lock(opened: int, *, wait: bool = True) -> None:
    """Locks a file until it is closed.

    Raises:
        OSError: Another process holds it and is not waited for, or the disk knows no locks.
    """
    import fcntl

    fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _same(target: Path, source: Path) -> bool:
    """Says whether two paths are one file, or may be on some disk."""
    if target.exists() and target.samefile(source):
        return True
    source = source.resolve()
    names = (unicodedata.normalize("NFC", path.name).casefold() for path in (target, source))
    return len(set(names)) == 1 and target.parent.samefile(source.parent)


def write_json(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Writes facts as JSON; the file appears whole.

    Raises:
        ImageError: It cannot be written.
    """
    try:
        with beside(Path(path)) as part:
            part.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ImageError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
