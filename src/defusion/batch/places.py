"""Where sources come from and results go: folders of this machine, or URLs that fsspec knows (s3://, gs://, sftp://)."""

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


def _remote(url: str) -> tuple[Any, str]:
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
    """Returns the files that match a pattern with `*` and `?`, sorted.

    Raises:
        BatchError: A store cannot be listed.
    """
    if not is_url(pattern):
        return sorted(glob.glob(pattern))  # noqa: PTH207  (Path.glob takes no absolute pattern)
    with telling_trouble(pattern):
        system, path = _remote(pattern)
        system.invalidate_cache()
        return sorted(system.unstrip_protocol(each) for each in system.glob(path))


def stamp(source: str) -> str:
    """Returns a text that changes when the file does, without reading it: size and time, or a version."""
    if is_url(source):
        with telling_trouble(source):
            system, path = _remote(source)
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
    """Makes errors name the original file in place of its copy."""
    try:
        yield
    except ImageError as error:
        said = str(error)
        for file, name in names.items():
            said = said.replace(file, name)
        raise ImageError(said) from error


def _own_folder() -> Path:
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


class Shelf:
    """The folder of results. Each result appears complete or not at all.

    Just before a result appears, a record of it is written to the hidden folder `.batch`; once the journal has the
    result, the record is removed. If the batch is killed in between, the record shows that the scene is done.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, file: str) -> str:
        """Returns the full path or URL of a file."""
        return joined(self.root, file)

    def prepare(self) -> None:
        """Creates the folder if needed.

        Raises:
            BatchError, ImageError: The folder cannot be created or written to.
        """
        make_folder(self.root)

    def stamp(self, file: str) -> str | None:
        """Returns a text that changes when a result does; None if the result does not exist."""
        found = stamp(self.path(file))
        return None if found == "absent" else found

    def sha256(self, file: str) -> str | None:
        """Returns the SHA-256 of a result; None if it does not exist."""
        path = Path(self.path(file))
        return sha256(path) if path.is_file() else None

    @contextmanager
    def staged(self, file: str) -> Iterator[Path]:
        """Yields a local file to write a result to. It is removed at the end."""
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
        """Removes unfinished results of a batch that was killed. The journal makes sure that no other batch is
        running.
        """
        for left in Path(self.root).glob(".batch/made-*"):
            shutil.rmtree(left, ignore_errors=True)

    def stamp_of(self, staged: Path) -> str:
        """Returns the stamp that a staged result will have in its place."""
        return stamp(str(staged))

    def publish(self, staged: Path, file: str, record: str) -> None:
        """Moves a result into its place, after its record.

        Raises:
            BatchError: The disk is full, or access is denied.
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
        """Removes the record of a result that is in the journal."""
        Path(self.path(f".batch/{file}.json")).unlink(missing_ok=True)

    def write_page(self, file: str, text: str) -> None:
        """Writes a page beside the results.

        Raises:
            BatchError: The disk is full, or access is denied.
        """
        with telling_trouble(self.path(file)):
            self._write(file, text)

    def clear(self) -> None:
        """Removes what killed processes have left."""
        shutil.rmtree(Path(self.root) / ".batch", ignore_errors=True)

    def _write(self, file: str, text: str) -> None:
        with beside(Path(self.path(file))) as part:
            part.write_text(text, "utf-8")


class RemoteShelf(Shelf):
    """Results that go to a URL. A store that takes a file in pieces shows it only when all are there."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._system, self._path = _remote(root)
        self._sizes: dict[str, int] = {}

    def prepare(self) -> None:
        """Checks that files can be written, and lists what is there.

        Raises:
            BatchError: The bucket does not exist, or access is denied.
        """
        with telling_trouble(self.root):
            # A name alone is a bucket. Buckets are not created, since the name may be a typing error.
            for folder in [self._path] * ("/" in self._path) + [f"{self._path}/.batch"]:
                with suppress(FileExistsError):
                    self._system.mkdir(folder, create_parents=False)
            self._write(".batch/probe", "")
            self._system.invalidate_cache()
            found = self._system.ls(self._path, detail=True)
            self._system.rm_file(f"{self._path}/.batch/probe")
        self._sizes = {name_of(each["name"]): each["size"] for each in found if each["type"] == "file"}

    def stamp(self, file: str) -> str | None:
        """Returns the size of a result when this batch began; None if it did not exist then."""
        size = self._sizes.get(file)
        return None if size is None else str(size)

    def sha256(self, file: str) -> str | None:
        """Returns the SHA-256 of a result, for which it is read; None if it does not exist."""
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
        """Yields a local file to write a result to. It is removed at the end."""
        folder = _own_folder()
        try:
            with _called({str(folder / file): self.path(file)}):
                yield folder / file
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def stamp_of(self, staged: Path) -> str:
        """Returns the stamp that a staged result will have in its place."""
        return str(staged.stat().st_size)

    def publish(self, staged: Path, file: str, record: str) -> None:
        """Copies a result into its place, after its record.

        Raises:
            BatchError: The store is full, or access is denied.
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
        """Removes the record of a result that is in the journal."""
        with telling_trouble(self.path(file)), suppress(FileNotFoundError):
            self._system.rm_file(f"{self._path}/.batch/{file}.json")

    def clear(self) -> None:
        """Removes what killed processes have left."""
        with suppress(Exception):  # such a file is hidden and harmless
            self._system.rm(f"{self._path}/.batch", recursive=True)

    def _write(self, file: str, text: str) -> None:
        with self._opened(file) as target:
            target.write(text.encode())

    @contextmanager
    def _opened(self, file: str) -> Iterator[Any]:
        """Opens a file for writing that appears only when it is complete."""
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
    """Returns the shelf for a folder or URL."""
    return RemoteShelf(root) if is_url(root) else Shelf(root)
