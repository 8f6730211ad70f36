"""The user's cache folder: compiled graphs and decoded photographs. Deleting it loses only time."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from pathlib import Path


def cache_folder(room: str) -> Path:
    """Returns a writable folder for one kind of cached data, made if need be.

    It stands in the user's cache folder (`DEFUSION_CACHE` moves it). Where that cannot be written, as in a
    container without a home, it is a folder of this user's among the temporary files.
    """
    for base in (_home_cache(), Path(tempfile.gettempdir()) / f"defusion-{_user()}"):
        folder = base / room
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return _folder_of_process(room)


@cache
def _folder_of_process(room: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"defusion-{room}-"))


def _home_cache() -> Path:
    if moved := os.environ.get("DEFUSION_CACHE"):
        return Path(moved)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "defusion" / "cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/defusion").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "defusion"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
