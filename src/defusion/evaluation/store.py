"""What earlier runs into a report's folder found, so that only what has changed is made and measured again."""

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

#: The database of a report's folder.
STORE = "cache.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, bytes INTEGER, changed_ns INTEGER, sha256 TEXT);
CREATE TABLE IF NOT EXISTS made (path TEXT PRIMARY KEY, key TEXT, sha256 TEXT, seconds REAL);
CREATE TABLE IF NOT EXISTS scores (key TEXT, metric TEXT, value REAL, reason TEXT, PRIMARY KEY (key, metric));
"""


class Made(NamedTuple):
    """A file that an earlier run made: a fused picture, or one of the report's."""

    sha256: str
    seconds: float | None
    """What making a picture took."""


class Store(AbstractContextManager["Store"]):
    """A database beside the report; one process writes it.

    Args:
        file: The database, made if need be.

    Raises:
        EvaluationError: The file cannot be opened, is no database, or is in use by another run.
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
            advice = "wait for the other run" if busy else "delete it, and all is made and measured again"
            raise EvaluationError(f"{file}: {error}; {advice}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.commit()
        self._database.close()

    def sha256(self, file: Path) -> str:
        """Returns the SHA-256 of a file's bytes; one of the size and date that it had before is not read again.

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
        """Returns how a file is called here: below the report's folder so that it stays true where that is moved."""
        file = file.absolute()
        return file.relative_to(self._folder).as_posix() if file.is_relative_to(self._folder) else str(file)

    def made(self, path: Path, key: str) -> Made | None:
        """Returns what is known of a file; None unless it was made under this key and is as it was."""
        row = self._database.execute(
            "SELECT sha256, seconds FROM made WHERE path = ? AND key = ?", (self._path(path), key)
        ).fetchone()
        if row is None or not path.is_file() or self.sha256(path) != row[0]:
            return None
        return Made(*row)

    def keep_made(self, path: Path, key: str, seconds: float | None = None) -> Made:
        """Notes a file that has been made."""
        made = Made(self.sha256(path), seconds)
        self._database.execute("INSERT OR REPLACE INTO made VALUES (?, ?, ?, ?)", (self._path(path), key, *made))
        self._database.commit()
        return made

    def scores(self, key: str) -> dict[str, Score]:
        """Returns the scores that are known under a key, by metric."""
        rows = self._database.execute("SELECT metric, value, reason FROM scores WHERE key = ?", (key,))
        # SQLite keeps NaN as NULL.
        return {metric: Score(float("nan") if value is None else value, reason) for metric, value, reason in rows}

    def keep_scores(self, key: str, scores: Mapping[str, Score]) -> None:
        """Notes scores."""
        rows = [(key, metric, each.value, each.reason) for metric, each in scores.items()]
        self._database.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)
        self._database.commit()


def key_of(*parts: object) -> str:
    """Returns a key that stands for all of these parts and no others."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
