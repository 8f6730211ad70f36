"""The user's cache folder: compiled graphs and decoded photographs. Deleting it loses only time."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path


def cache_folder(room: str) -> Path:
    """Returns a writable folder for one kind of cached data, made if need be.

    It stands in the user's cache folder (`DEFUSION_CACHE` moves it). Where that cannot be written, as in a
    container without a home, it is a folder of this user's among the temporary files, which nobody else may write to.
    """
    with suppress(OSError, RuntimeError):  # the second where there is no home
        folder = _home_cache() / room
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    with suppress(OSError):
        base = Path(tempfile.gettempdir()) / f"defusion-{_user()}"
        base.mkdir(mode=0o700, exist_ok=True)
        if not hasattr(os, "getuid") or (base.stat().st_uid, base.stat().st_mode & 0o022) == (os.getuid(), 0):
            (base / room).mkdir(exist_ok=True)
            return base / room
    return _folder_of_process(room)


@cache
def _folder_of_process(room: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"defusion-{room}-"))


def _home_cache() -> Path:
    if moved := os.environ.get("DEFUSION_CACHE"):
        return Path(moved).expanduser()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "defusion" / "cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/defusion").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "defusion"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
