"""The folder of results, on this machine or behind a URL. Each result appears complete or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from defusion.batch.places import called, is_url, joined, name_of, own_folder, remote, sha256, stamp, telling_trouble
from defusion.imaging import make_folder
from defusion.system.files import beside


class ResultFolder:
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
            with called({str(folder / file): self.path(file)}):
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


class RemoteResultFolder(ResultFolder):
    """Results that go to a URL. A store that takes a file in pieces shows it only when all are there."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._system, self._path = remote(root)
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
        folder = own_folder()
        try:
            with called({str(folder / file): self.path(file)}):
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


def result_folder_of(root: str) -> ResultFolder:
    """Returns the results for a folder or URL."""
    return RemoteResultFolder(root) if is_url(root) else ResultFolder(root)
