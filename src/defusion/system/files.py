"""Writes files that appear complete or not at all, and that never replace a source or anything but a regular file.

Where the system allows it, a file has no name until it is complete; if the process is killed, nothing is left.
Elsewhere it is written beside its target as `.defusion-….part`, locked by its process. The next process that writes
to the folder removes such files if nobody holds their lock.
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
    """Names what is at a path if it is neither nothing nor a regular file, such as "a device". Links are followed.

    Raises:
        OSError: The path cannot be examined: its name is too long, or links form a circle.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return _KINDS.get(stat.S_IFMT(mode), None if stat.S_ISREG(mode) else "not a regular file")


def unfit(path: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]] = ()) -> str | None:
    """Says why a file must not be written, in words that follow its name in a sentence; None if it may be written.

    Args:
        path: The file to write. A link is followed.
        sources: Files that are read, and therefore must not be written. Links and hard links to them count as the
            same file. So do names in one folder that differ only in capitals, which some disks do not tell apart.
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
    ) as error:  # links in a circle, or an impossible name
        return f"cannot be written ({getattr(error, 'strerror', None) or error}); choose another output name"
    for source in sources:
        with suppress(OSError, RuntimeError, ValueError):  # whoever reads that source reports what is wrong
            if _same(target, Path(source)):
                return f"would be written over the source {source}, and sources are kept; choose another output name"
    return None


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Gives a path to write to. At the end it becomes the file `target`; after an error it is removed.

    A link to a regular file stays a link. A replaced file passes on its permissions.

    Raises:
        OSError: The file cannot be made or moved into place, or the target is not a regular file.
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
    """A file that is being written."""

    place: Path
    """Path to write to."""
    kept: int | None
    """Holds the file and its lock open until it has its name. Not needed on Windows."""
    has_name: bool

    def become(self, target: Path) -> None:
        """Replaces the target in one step."""
        place = self.place
        if self.kept is not None:
            with suppress(FileNotFoundError):
                os.fchmod(self.kept, stat.S_IMODE(target.stat().st_mode))
        if not self.has_name:
            place = _new_name(target.parent)
            folder = os.open(target.parent, os.O_RDONLY)
            try:  # given a folder descriptor, os.link follows the link in /proc; otherwise it does not
                os.link(self.place, place.name, dst_dir_fd=folder, follow_symlinks=True)
            finally:
                os.close(folder)
        try:
            place.replace(target)
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def let_go(self) -> None:
        """Removes what did not become a file."""
        if self.has_name:
            with suppress(OSError):
                self.place.unlink()
        if self.kept is not None:
            os.close(self.kept)


def _unnamed(folder: Path) -> _Part | None:
    """Makes a file without a name; None if the system or the disk cannot."""
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
    """Makes a file beside the target, with a name that no other process uses."""
    while True:
        place = _new_name(folder)
        made = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if os.name == "nt":
            os.close(made)
            return _Part(place, None, has_name=True)
        with suppress(OSError):  # some disks have no locks
            _lock(made)
        if os.fstat(made).st_nlink:  # otherwise another process removed it before it was locked
            return _Part(place, made, has_name=True)
        os.close(made)


def _new_name(folder: Path) -> Path:
    return folder / f".defusion-{secrets.token_hex(8)}.part"


def _sweep(folder: Path) -> None:
    """Removes what was left by processes that have ended."""
    for left in folder.glob(".defusion-*.part"):
        with suppress(OSError):  # such as that another process holds it
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
        OSError: Another process holds it and `wait` is false, or the disk has no locks.
    """
    import fcntl

    fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _same(target: Path, source: Path) -> bool:
    """Says whether two paths are the same file, or would be on some disks."""
    if target.exists() and target.samefile(source):
        return True
    source = source.resolve()
    names = (unicodedata.normalize("NFC", path.name).casefold() for path in (target, source))
    return len(set(names)) == 1 and target.parent.samefile(source.parent)


def write_json(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Writes facts as JSON. The file appears complete or not at all.

    Raises:
        ImageError: The file cannot be written.
    """
    try:
        with beside(Path(path)) as part:
            part.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ImageError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
