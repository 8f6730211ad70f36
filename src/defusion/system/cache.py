"""The user's cache folder, for compiled graphs and decoded photographs. Deleting it costs only time."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs

#: Faults of the cache that this process found, each once, in that order.
_faults: dict[str, None] = {}


class CacheError(Exception):
    """The cache must not be used: it is damaged, or others can write to it."""


def faults() -> tuple[str, ...]:
    """Returns the faults of the cache that this process found, one short sentence each."""
    return tuple(_faults)


def tell(fault: str) -> None:
    """Records a fault of the cache."""
    _faults[fault] = None


def cache_folder(room: str) -> Path:
    """Returns a writable folder for one kind of cached data, created if needed.

    The folder is in the user's cache folder, or in `DEFUSION_CACHE` if that is set. If that cannot be written, as in
    a container without a home, a folder of this user in the system's temporary folder is used. If that cannot be
    trusted, this process gets a folder of its own, and `faults` says so.
    """
    try:
        return trusted_folder(room)
    except CacheError as fault:
        tell(str(fault))
        return _folder_of_process(room)


def trusted_folder(room: str) -> Path:
    """Returns the folder of `cache_folder`, if it belongs to this user and nobody else can write to it.

    Raises:
        CacheError: The folder is a link, belongs to another user, can be written by others, or cannot be created.
    """
    with suppress(OSError, RuntimeError):  # RuntimeError if there is no home
        base = _home_cache()
        base.parent.mkdir(parents=True, exist_ok=True)
        folder = _own(_own(base) / room)
        if os.access(folder, os.W_OK):
            return folder
    base = Path(tempfile.gettempdir()) / f"defusion-{_user()}"
    try:
        return _own(_own(base) / room)
    except OSError as error:
        raise CacheError(f"the cache {base} cannot be made ({error.strerror or error})") from error


def _own(folder: Path) -> Path:
    """Creates a folder for this user alone unless it exists, and checks that nobody else can write to it."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    check_own(folder, stat.S_IFDIR)
    return folder


def check_own(path: Path, kind: int) -> None:
    """Checks that nobody else can have put something into the cache. Links are not followed.

    Args:
        path: A folder or file of the cache.
        kind: What it has to be: `stat.S_IFDIR` or `stat.S_IFREG`.

    Raises:
        CacheError: It is something else, belongs to another user, or can be written by others.
        OSError: It does not exist.
    """
    facts = path.lstat()
    if stat.S_IFMT(facts.st_mode) != kind:
        reason = "is a link" if stat.S_ISLNK(facts.st_mode) else "is not a regular file or folder"
    elif hasattr(os, "getuid") and facts.st_uid != os.getuid():
        reason = "belongs to another user"
    elif os.name != "nt" and facts.st_mode & 0o022:
        reason = "can be written by others"
    else:
        return
    raise CacheError(
        f"the cache is not used, because {path} {reason}; remove it, or set DEFUSION_CACHE to another folder"
    )


@cache
def _folder_of_process(room: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"defusion-{room}-"))


def _home_cache() -> Path:
    if moved := os.environ.get("DEFUSION_CACHE"):
        return Path(moved).expanduser()
    folder = platformdirs.user_cache_path("defusion", appauthor=False)
    if not folder.is_absolute():
        raise RuntimeError(f"{folder}: this user has no home")  # platformdirs leaves "~" as it is
    return folder


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
