"""Where sources come from and results go: folders of this machine, and URLs by fsspec (s3://, gs://, sftp://)."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import psutil

from defusion.cache import cache_folder
from defusion.errors import BatchError, ImageError
from defusion.files import beside
from defusion.imaging import make_folder, read


def is_url(place: str) -> bool:
    """Whether a place is a URL, not a path."""
    return "://" in place


def name_of(place: str) -> str:
    """Returns the last part of a path or URL."""
    return PurePosixPath(place.rstrip("/")).name if is_url(place) else Path(place).name


def joined(folder: str, name: str) -> str:
    """Returns the path or URL of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def absolute(place: str) -> str:
    """Returns a path as other processes understand it; a URL as it is."""
    return place if is_url(place) else os.path.abspath(place)  # noqa: PTH100  (links stay links)


@contextmanager
def telling_trouble(place: str) -> Iterator[None]:
    """Turns what a file system or an object store says into one sentence.

    Raises:
        BatchError: Always where something goes wrong.
    """
    try:
        yield
    except (BatchError, ImageError):
        raise
    except PermissionError as error:
        raise BatchError(f"{place}: there is no right to it ({error}); check the account and its rights") from error
    except FileNotFoundError as error:
        raise BatchError(f"{place} was not found; check the spelling") from error
    except Exception as error:  # each store has errors of its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BatchError(f"{place} cannot be used ({reason})") from error


def _remote(url: str) -> tuple[Any, str]:
    """Returns the file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise BatchError(f'{url} is a URL, which needs fsspec: pip install "defusion[cluster]"') from error
    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:  # the package of that protocol, no such protocol
        raise BatchError(f"{url} cannot be reached ({error})") from error
    return system, path


class Listing(NamedTuple):
    """What a folder holds, by name; hidden entries are left out."""

    folders: list[str]
    files: list[str]


def listed(folder: str) -> Listing:
    """Lists a folder.

    Raises:
        BatchError: It is not there, no folder, or there is no right to it.
    """
    folders: list[str] = []
    files: list[str] = []
    with telling_trouble(folder):
        if is_url(folder):
            system, path = _remote(folder)
            system.invalidate_cache()
            entries = [(name_of(each["name"]), each["type"] == "directory") for each in system.ls(path, detail=True)]
        else:
            with os.scandir(folder) as found:
                entries = [(each.name, each.is_dir()) for each in found]
    for name, is_folder in sorted(entries):
        if not name.startswith("."):
            (folders if is_folder else files).append(name)
    return Listing(folders, files)


def matching(pattern: str) -> list[str]:
    """Returns the files that a pattern with `*` and `?` names, sorted.

    Raises:
        BatchError: A store cannot be listed.
    """
    if not is_url(pattern):
        return sorted(glob.glob(pattern))  # noqa: PTH207  (of an absolute pattern, too)
    with telling_trouble(pattern):
        system, path = _remote(pattern)
        system.invalidate_cache()
        return sorted(system.unstrip_protocol(each) for each in system.glob(path))


def stamp(source: str) -> str:
    """Returns what changes when a file does, which is not read for it: size and time, or what a store tells."""
    if is_url(source):
        with telling_trouble(source):
            system, path = _remote(source)
            try:
                return str(system.ukey(path))
            except FileNotFoundError:
                return "absent"
    try:
        facts = os.stat(source)  # noqa: PTH116  (a million of them)
    except (OSError, ValueError):
        return "absent"
    return f"{facts.st_size}-{facts.st_mtime_ns}"


@contextmanager
def local_copies(sources: Sequence[str]) -> Iterator[list[Path]]:
    """Gives the sources as files of this machine; those of a URL are copied, until the end of the block.

    So the copies never take more room than the scenes that are being fused.

    Raises:
        BatchError: A URL cannot be read.
    """
    if not any(map(is_url, sources)):
        yield [Path(source) for source in sources]
        return
    folder = _own_folder()
    try:
        files = []
        for number, source in enumerate(sources):
            if not is_url(source):
                files.append(Path(source))
                continue
            file = folder / str(number) / name_of(source)
            file.parent.mkdir()
            with telling_trouble(source):
                system, path = _remote(source)
                system.get_file(path, str(file))
            files.append(file)
        with _called(dict(zip(map(str, files), sources, strict=True))):
            yield files
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _called(names: Mapping[str, str]) -> Iterator[None]:
    """Has errors call files that stand for others by the others' names."""
    try:
        yield
    except ImageError as error:
        said = str(error)
        for file, name in names.items():
            said = said.replace(file, name)
        raise ImageError(said) from error


def _own_folder() -> Path:
    """Makes a folder in the cache folder for this process; those of killed ones are taken away.

    Machines may share the cache folder, so each looks after its own.
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
        ImageError: It cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, ValueError):
        read(file)  # says what is wrong with it
        raise


class Shelf:
    """The folder that results go to. Each appears whole or not at all.

    A result has a record beside it, in the hidden folder `.batch`, from just before it appears until it is in the
    journal: whoever is killed between the two leaves enough to know that the scene is done.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, file: str) -> str:
        """Returns the whole path or URL of a file."""
        return joined(self.root, file)

    def prepare(self) -> None:
        """Makes the folder if need be.

        Raises:
            BatchError, ImageError: It cannot be made or written to.
        """
        make_folder(self.root)

    def stamp(self, file: str) -> str | None:
        """Returns what changes when a result does; None where it is not there."""
        found = stamp(self.path(file))
        return None if found == "absent" else found

    def sha256(self, file: str) -> str | None:
        """Returns the SHA-256 of a result; None where it is not there."""
        path = Path(self.path(file))
        return sha256(path) if path.is_file() else None

    @contextmanager
    def staged(self, file: str) -> Iterator[Path]:
        """Gives a file of this machine to write a result to, which is gone at the end."""
        hidden = Path(self.root) / ".batch"
        with telling_trouble(self.root):
            hidden.mkdir(exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="made-", dir=hidden))
        try:
            with _called({str(folder / file): self.path(file)}):
                yield folder / file
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Takes away unfinished results of a batch that was killed; by the journal there is one at a time."""
        for left in Path(self.root).glob(".batch/made-*"):
            shutil.rmtree(left, ignore_errors=True)

    def stamp_of(self, staged: Path) -> str:
        """Returns the stamp that a staged result will have once it is in its place."""
        return stamp(str(staged))

    def publish(self, staged: Path, file: str, record: str) -> None:
        """Moves a result into its place, its record first.

        Raises:
            BatchError: There is no room, or no right.
        """
        with telling_trouble(self.path(file)):
            self._write(f".batch/{file}.json", record)
            staged.replace(self.path(file))

    def record(self, file: str) -> str | None:
        """Returns the record of a result that may not be in the journal yet."""
        try:
            return Path(self.path(f".batch/{file}.json")).read_text("utf-8")
        except FileNotFoundError:
            return None

    def drop_record(self, file: str) -> None:
        """Takes away the record of a result that is in the journal."""
        Path(self.path(f".batch/{file}.json")).unlink(missing_ok=True)

    def write_page(self, file: str, text: str) -> None:
        """Writes a page beside the results.

        Raises:
            BatchError: There is no room, or no right.
        """
        with telling_trouble(self.path(file)):
            self._write(file, text)

    def clear(self) -> None:
        """Takes away what killed processes have left."""
        shutil.rmtree(Path(self.root) / ".batch", ignore_errors=True)

    def _write(self, file: str, text: str) -> None:
        with beside(Path(self.path(file))) as part:
            part.write_text(text, "utf-8")


class RemoteShelf(Shelf):
    """Results that go to a URL. A store that takes files in pieces shows them when all are there."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._system, self._path = _remote(root)
        self._sizes: dict[str, int] = {}

    def prepare(self) -> None:
        """Makes sure that files can be written, and looks at what is there.

        Raises:
            BatchError: There is no such bucket, or no right to it.
        """
        with telling_trouble(self.root):
            # A name alone is a bucket, which is not made: it may be a slip of the pen.
            for folder in [self._path] * ("/" in self._path) + [f"{self._path}/.batch"]:
                with suppress(FileExistsError):
                    self._system.mkdir(folder, create_parents=False)
            self._write(".batch/probe", "")
            self._system.invalidate_cache()
            found = self._system.ls(self._path, detail=True)
            self._system.rm_file(f"{self._path}/.batch/probe")
        self._sizes = {name_of(each["name"]): each["size"] for each in found if each["type"] == "file"}

    def stamp(self, file: str) -> str | None:
        """Returns a result's size when this began; None where it was not there."""
        size = self._sizes.get(file)
        return None if size is None else str(size)

    def sha256(self, file: str) -> str | None:
        """Returns the SHA-256 of a result, which is read for that; None where it is not there."""
        with telling_trouble(self.path(file)):
            try:
                with self._system.open(f"{self._path}/{file}", "rb") as opened:
                    digest = hashlib.sha256()
                    while piece := opened.read(2**20):
                        digest.update(piece)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    @contextmanager
    def staged(self, file: str) -> Iterator[Path]:
        """Gives a file of this machine to write a result to, which is gone at the end."""
        folder = _own_folder()
        try:
            with _called({str(folder / file): self.path(file)}):
                yield folder / file
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def stamp_of(self, staged: Path) -> str:
        """Returns the stamp that a staged result will have once it is in its place."""
        return str(staged.stat().st_size)

    def publish(self, staged: Path, file: str, record: str) -> None:
        """Copies a result into its place, its record first.

        Raises:
            BatchError: There is no room, or no right.
        """
        with telling_trouble(self.path(file)):
            self._write(f".batch/{file}.json", record)
            with staged.open("rb") as source, self._opened(file) as target:
                shutil.copyfileobj(source, target, 2**20)

    def record(self, file: str) -> str | None:
        """Returns the record of a result that may not be in the journal yet."""
        with telling_trouble(self.path(file)):
            try:
                return bytes(self._system.cat_file(f"{self._path}/.batch/{file}.json")).decode()
            except FileNotFoundError:
                return None

    def drop_record(self, file: str) -> None:
        """Takes away the record of a result that is in the journal."""
        with telling_trouble(self.path(file)), suppress(FileNotFoundError):
            self._system.rm_file(f"{self._path}/.batch/{file}.json")

    def clear(self) -> None:
        """Takes away what killed processes have left."""
        with suppress(Exception):  # it is of no use to anybody, and hidden
            self._system.rm(f"{self._path}/.batch", recursive=True)

    def _write(self, file: str, text: str) -> None:
        with self._opened(file) as target:
            target.write(text.encode())

    @contextmanager
    def _opened(self, file: str) -> Iterator[Any]:
        """Opens a file that appears when all of it is there."""
        target = self._system.open(f"{self._path}/{file}", "wb", autocommit=False)
        try:
            yield target
            target.close()
        except BaseException:
            with suppress(Exception):
                target.discard()
            raise
        target.commit()


def shelf_of(root: str) -> Shelf:
    """Returns the shelf of a folder or URL."""
    return RemoteShelf(root) if is_url(root) else Shelf(root)
