"""Places of sources and results: folders of this machine, or URLs that fsspec knows (s3://, gs://, sftp://)."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import psutil

from defusion.errors import BatchError, ImageError
from defusion.imaging import read
from defusion.system.cache import cache_folder


def is_url(place: str) -> bool:
    """Says whether a place is a URL and not a path."""
    return "://" in place


def name_of(place: str) -> str:
    """Returns the last part of a path or URL."""
    return PurePosixPath(place.rstrip("/")).name if is_url(place) else Path(place).name


def joined(folder: str, name: str) -> str:
    """Returns the path or URL of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def absolute(place: str) -> str:
    """Returns a path that is valid in other processes, too; a URL stays as it is."""
    return place if is_url(place) else os.path.abspath(place)  # noqa: PTH100  (links stay links)


@contextmanager
def telling_trouble(place: str) -> Iterator[None]:
    """Turns any error of a file system or an object store into one sentence.

    Raises:
        BatchError: Something went wrong.
    """
    try:
        yield
    except (BatchError, ImageError):
        raise
    except PermissionError as error:
        raise BatchError(f"{place}: access is denied ({error}); check the account and its rights") from error
    except FileNotFoundError as error:
        raise BatchError(f"{place} was not found; check the spelling") from error
    except Exception as error:  # each store has errors of its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BatchError(f"{place} cannot be used ({reason})") from error


def remote(url: str) -> tuple[Any, str]:
    """Returns the file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise BatchError(f'{url} is a URL, which needs fsspec: pip install "defusion[cluster]"') from error
    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:  # the protocol's package is missing, or the protocol is unknown
        raise BatchError(f"{url} cannot be reached ({error})") from error
    return system, path


class Listing(NamedTuple):
    """What a folder holds, by name. Hidden entries are left out."""

    folders: list[str]
    files: list[str]


def listed(folder: str) -> Listing:
    """Lists a folder.

    Raises:
        BatchError: It does not exist, is not a folder, or may not be read.
    """
    folders: list[str] = []
    files: list[str] = []
    with telling_trouble(folder):
        if is_url(folder):
            system, path = remote(folder)
            system.invalidate_cache()
            entries = [(name_of(each["name"]), each["type"] == "directory") for each in system.ls(path, detail=True)]
        else:
            with os.scandir(folder) as found:
                entries = [(each.name, _is_folder(each)) for each in found]
    for name, is_folder in sorted(entries):
        if not name.startswith("."):
            (folders if is_folder else files).append(name)
    return Listing(folders, files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def matching(pattern: str) -> list[str]:
    """Returns the files that match a pattern with `*` and `?`, sorted.

    Raises:
        BatchError: A store cannot be listed.
    """
    if not is_url(pattern):
        return sorted(glob.glob(pattern))  # noqa: PTH207  (Path.glob takes no absolute pattern)
    with telling_trouble(pattern):
        system, path = remote(pattern)
        system.invalidate_cache()
        return sorted(system.unstrip_protocol(each) for each in system.glob(path))


def stamp(source: str) -> str:
    """Returns a text that changes when the file does, without reading it: size and time, or a version."""
    if is_url(source):
        with telling_trouble(source):
            system, path = remote(source)
            try:
                return str(system.ukey(path))
            except FileNotFoundError:
                return "absent"
    try:
        facts = os.stat(source)  # noqa: PTH116  (for a million files)
    except (OSError, ValueError):
        return "absent"
    return f"{facts.st_size}-{facts.st_mtime_ns}"


@contextmanager
def local_copies(sources: Sequence[str]) -> Iterator[list[Path]]:
    """Gives the sources as files of this machine. Files of a URL are copied and removed at the end of the block.

    So the copies never take more space than the scenes that are being fused.

    Raises:
        BatchError: A URL cannot be read.
    """
    if not any(map(is_url, sources)):
        yield [Path(source) for source in sources]
        return
    folder = own_folder()
    try:
        files = []
        for number, source in enumerate(sources):
            if not is_url(source):
                files.append(Path(source))
                continue
            file = folder / str(number) / name_of(source)
            file.parent.mkdir()
            with telling_trouble(source):
                system, path = remote(source)
                system.get_file(path, str(file))
            files.append(file)
        with called(dict(zip(map(str, files), sources, strict=True))):
            yield files
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def called(names: Mapping[str, str]) -> Iterator[None]:
    """Makes errors name the original file in place of its copy."""
    try:
        yield
    except ImageError as error:
        said = str(error)
        for file, name in names.items():
            said = said.replace(file, name)
        raise ImageError(said) from error


def own_folder() -> Path:
    """Makes a folder in the cache folder for this process. Folders of processes that ended are removed.

    Machines may share the cache folder, so each removes only its own.
    """
    cache, machine = cache_folder("copies"), platform.node()
    for left in cache.iterdir():
        of_machine, _, process = left.name.rpartition(".")[0].rpartition("-")
        if of_machine == machine and process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{machine}-{os.getpid()}.", dir=cache))


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file's bytes.

    Raises:
        ImageError: The file cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, ValueError):
        read(file)  # raises an error that says what is wrong with it
        raise
