"""Stores what earlier runs found, beside the report, so that only what has changed is made and measured again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import Score

#: Name of the database in the report's folder.
STORE = "cache.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, bytes INTEGER, changed_ns INTEGER, sha256 TEXT);
CREATE TABLE IF NOT EXISTS made (path TEXT PRIMARY KEY, key TEXT, sha256 TEXT, seconds REAL);
CREATE TABLE IF NOT EXISTS scores (key TEXT, metric TEXT, value REAL, reason TEXT, PRIMARY KEY (key, metric));
"""


class StoredFile(NamedTuple):
    """A file that an earlier run made: a fused picture, or a file of the report."""

    sha256: str
    seconds: float | None
    """Time for making a picture."""


class ResultStore(AbstractContextManager["ResultStore"]):
    """A database beside the report. Only one process writes to it.

    Args:
        file: The database, created if needed.

    Raises:
        EvaluationError: The file cannot be opened, is not a database, or is used by another run.
    """

    def __init__(self, file: Path) -> None:
        self._folder = file.absolute().parent
        try:
            self._database = sqlite3.connect(file, timeout=0)
        except sqlite3.Error as error:
            raise EvaluationError(f"{file}: {error}; choose another folder") from error
        try:
            self._database.executescript(f"PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; {_TABLES} COMMIT;")
            rows = self._database.execute("SELECT path, bytes, changed_ns, sha256 FROM files")
            self._files: dict[str, tuple[int, int, str]] = {path: tuple(facts) for path, *facts in rows}
        except sqlite3.Error as error:
            self._database.close()
            busy = isinstance(error, sqlite3.OperationalError)
            advice = "wait for the other run" if busy else "delete it; everything is then made and measured again"
            raise EvaluationError(f"{file}: {error}; {advice}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.commit()
        self._database.close()

    def sha256(self, file: Path) -> str:
        """Returns the SHA-256 of a file's bytes. A file with unchanged size and date is not read again.

        Raises:
            EvaluationError: The file cannot be read.
        """
        path = self._path(file)
        try:
            facts = file.stat()
            size, changed, sha256 = self._files.get(path, (-1, -1, ""))
            if (size, changed) != (facts.st_size, facts.st_mtime_ns):
                sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
                row = (facts.st_size, facts.st_mtime_ns, sha256)
                self._files[path] = row
                self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (path, *row))
        except OSError as error:
            raise EvaluationError(f"{file} cannot be read: {error.strerror or error}") from error
        return sha256

    def _path(self, file: Path) -> str:
        """Returns the name of a file in the database: relative to the report's folder, which may be moved, or
        absolute.
        """
        file = file.absolute()
        return file.relative_to(self._folder).as_posix() if file.is_relative_to(self._folder) else str(file)

    def made(self, path: Path, key: str) -> StoredFile | None:
        """Returns what is known of a file; None unless it was made under this key and has not changed."""
        row = self._database.execute(
            "SELECT sha256, seconds FROM made WHERE path = ? AND key = ?", (self._path(path), key)
        ).fetchone()
        if row is None or not path.is_file() or self.sha256(path) != row[0]:
            return None
        return StoredFile(*row)

    def keep_made(self, path: Path, key: str, seconds: float | None = None) -> StoredFile:
        """Records a file that was made."""
        made = StoredFile(self.sha256(path), seconds)
        self._database.execute("INSERT OR REPLACE INTO made VALUES (?, ?, ?, ?)", (self._path(path), key, *made))
        self._database.commit()
        return made

    def scores(self, key: str) -> dict[str, Score]:
        """Returns the scores known under a key, by metric."""
        rows = self._database.execute("SELECT metric, value, reason FROM scores WHERE key = ?", (key,))
        # SQLite stores NaN as NULL
        return {metric: Score(float("nan") if value is None else value, reason) for metric, value, reason in rows}

    def keep_scores(self, key: str, scores: Mapping[str, Score]) -> None:
        """Records scores."""
        rows = [(key, metric, each.value, each.reason) for metric, each in scores.items()]
        self._database.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)
        self._database.commit()


def key_of(*parts: object) -> str:
    """Returns a hash of all these parts."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
