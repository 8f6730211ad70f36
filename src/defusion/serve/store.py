"""The private folder of a service, with uploads and results. Each is deleted in time, even after a crash."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import tempfile
import time
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from defusion.serve.problem import busy, gone
from defusion.serve.settings import Limits

_PREFIX = "defusion-serve-"
_OWNER = "owner"
_LONGEST_NAME = 80


@dataclass
class StoredPicture:
    """A picture file, and copies of it for viewing."""

    id: str
    file: Path
    made: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    """Results of tasks that made copies for viewing, by name; some may still be running."""
    touched: float = field(default_factory=time.monotonic)
    held: int = 0
    """Number of tasks that are about to read it."""

    @property
    def folder(self) -> Path:
        """The folder that holds the file's own folder, and the copies."""
        return self.file.parent.parent

    @property
    def thumbnail(self) -> Path:
        """JPEG with sides of at most `look.THUMBNAIL_PX`."""
        return self.folder / "thumbnail.jpg"

    @property
    def preview(self) -> Path:
        """JPEG with sides of at most `look.PREVIEW_PX`."""
        return self.folder / "preview.jpg"

    @property
    def levels(self) -> Path:
        """Its samples for the screen at full size and halved, from which tiles are cut."""
        return self.folder / "levels"


class PictureStore:
    """Pictures by id. An id is a secret: whoever has it may see the picture.

    Args:
        limits: How much is kept, and for how long.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
        (self.folder / _OWNER).write_text(_owner(psutil.Process()))
        self._pictures: dict[str, StoredPicture] = {}

    def new_folder(self) -> Path:
        """Makes a folder for the file of one picture.

        Raises:
            Problem: There is no room left.
        """
        self.check_room()
        folder = self.folder / secrets.token_urlsafe(16) / "file"
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def check_room(self) -> None:
        """Checks that there is room for one more picture.

        Raises:
            Problem: There is no room left.
        """
        if self.bytes() >= self.limits.stored_bytes:
            self.expire()
            if self.bytes() >= self.limits.stored_bytes:
                raise busy("the service has no room for more pictures at the moment; try again later", 60)

    def add(self, file: Path) -> StoredPicture:
        """Adds a file, which is in a folder from `new_folder`, as a picture."""
        picture = StoredPicture(file.parent.parent.name, file)
        self._pictures[picture.id] = picture
        return picture

    def picture(self, id: str) -> StoredPicture:
        """Returns a picture. This also keeps it longer.

        Raises:
            Problem: There is no picture with this id.
        """
        picture = self._pictures.get(id)
        if picture is None or not picture.file.exists():
            raise gone("picture")
        picture.touched = time.monotonic()
        return picture

    def remove(self, picture: StoredPicture) -> None:
        """Deletes a picture and all its copies."""
        self._pictures.pop(picture.id, None)
        shutil.rmtree(picture.folder, ignore_errors=True)

    def expire(self) -> None:
        """Deletes pictures that have expired."""
        oldest = time.monotonic() - self.limits.kept_seconds
        for picture in list(self._pictures.values()):
            if picture.touched < oldest and not picture.held:
                self.remove(picture)

    def bytes(self) -> int:
        """Returns how many bytes the folder holds."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):  # it may have been deleted meanwhile
                    total += Path(folder, name).stat().st_size
        return total

    def close(self) -> None:
        """Deletes everything."""
        self._pictures.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep() -> None:
    """Deletes folders of this user's services that ended without deleting them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, ValueError):
            ours = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if ours and folder.is_dir() and not folder.is_symlink() and not _alive(folder):
                shutil.rmtree(folder, ignore_errors=True)


def file_name(given: str, number: int) -> str:
    """Returns a safe name for an upload: the last part of the client's name, in plain characters.

    The suffix stays, because some RAW files are recognised by it.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", given)[-1])
    name = "".join(each if each.isprintable() and each not in '<>:"|?*' else "_" for each in name).strip(" .")
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (a name, not a path)
    suffix = suffix.encode()[:12].decode(errors="ignore")
    stem = stem.encode()[: _LONGEST_NAME - len(suffix)].decode(errors="ignore")
    return f"{stem}{suffix}" if stem.strip("_ .") else f"source {number}{suffix}"


def without_paths(text: str) -> str:
    """Removes the folders from file names in a sentence."""
    return re.sub(r"(?<![\w/])/(?:[^\s/:'\"]+/)+", "", text)


def _owner(process: psutil.Process) -> str:
    return f"{process.pid} {process.create_time()}"


def _alive(folder: Path) -> bool:
    """Says whether the process that made a folder still runs. A folder without its id counts as new."""
    try:
        owner = (folder / _OWNER).read_text()
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime < 60
    try:
        return _owner(psutil.Process(int(owner.split()[0]))) == owner
    except psutil.NoSuchProcess:
        return False
