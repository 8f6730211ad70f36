"""Folders that pictures are written to: checked before any work, created if needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from defusion.errors import ImageError
from defusion.system.files import kind_of, unfit


def check_folder(
    path: str | os.PathLike[str], names: Iterable[str], sources: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Checks, before any work, that files can be written to a folder, which `in_folder` creates if needed.

    Args:
        path: The folder; its parent has to exist.
        names: Names that files may get in it.
        sources: As for `check_output`.

    Raises:
        ImageError: A file has the folder's name, there is no parent, it cannot be written to, or a source, folder,
            named pipe or device has one of the names.
    """
    path = Path(path)
    try:
        there = kind_of(path)
    except OSError as error:
        raise ImageError(
            f"the folder {path!s:.200} cannot be made ({error.strerror}); choose another name."
        ) from error
    if there is None and path.exists():
        raise ImageError(f"{path} is a file, expected a folder; choose another name.")
    check_writable(path, path.resolve() if there else path.resolve().parent)
    for name in names:
        if reason := unfit(path / name, sources):
            raise ImageError(f"{path / name} {reason}.")


def make_folder(path: str | os.PathLike[str]) -> None:
    """Creates a folder for pictures unless it exists; its parent has to exist.

    Raises:
        ImageError: A file has that name, there is no parent, or the folder cannot be written to.
    """
    check_folder(path, ())
    try:
        Path(path).mkdir(exist_ok=True)
    except OSError as error:
        raise ImageError(f"the folder {path} cannot be made ({error.strerror}); choose another name.") from error


@contextmanager
def in_folder(path: str | os.PathLike[str]) -> Iterator[None]:
    """Creates a folder as `make_folder` does, and removes it if it is new and stays empty.

    Raises:
        ImageError: As for `make_folder`.
    """
    new = not Path(path).exists()
    make_folder(path)
    try:
        yield
    except BaseException:
        if new:
            with suppress(OSError):  # the folder may not be empty
                Path(path).rmdir()
        raise


def check_writable(path: Path, folder: Path) -> None:
    """Checks that the folder of a path exists and can be written to.

    Raises:
        ImageError: It does not, or cannot.
    """
    if not folder.is_dir():
        raise ImageError(f"{path} cannot be written, there is no folder {folder}; create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"{path} cannot be written, the folder {folder} is write-protected; choose another.")
