"""Records what is done, so that a batch that was killed can continue: one database, written by one process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from defusion.batch.scenes import readable
from defusion.batch.work import JobOutcome
from defusion.errors import BatchError

_TABLE = """
CREATE TABLE IF NOT EXISTS scenes (
    scene TEXT PRIMARY KEY,
    status TEXT,      -- done or failed
    output TEXT,      -- file of the result
    settings TEXT,    -- hash of the options, the weights and the version
    stamps TEXT,      -- hash of sizes and times of the sources; while it is the same they are not read again
    key TEXT,         -- hash of the settings and the content of all sources
    sha256 TEXT,      -- hash of the result
    stamp TEXT,       -- size and time of the result
    seconds REAL,
    reason TEXT,
    facts TEXT,       -- JSON: size, task, why, head, network
    notes TEXT,       -- JSON
    thumbnails TEXT   -- JSON: WebP in base64, of the first source and the result
) WITHOUT ROWID;
"""


class Entry(NamedTuple):
    """A scene in the journal; the fields are the columns of its table."""

    scene: str
    status: Literal["done", "failed"]
    output: str
    settings: str
    stamps: str
    key: str | None
    sha256: str | None
    stamp: str | None
    seconds: float | None
    reason: str | None
    facts: dict[str, object]
    notes: tuple[str, ...]
    thumbnails: tuple[str, ...]


class Journal(AbstractContextManager["Journal"]):
    """The database of a batch, `batch.sqlite`. It is in WAL mode, so others can read it while it is written.

    Args:
        file: The database, created if needed. A lock beside it is held while the journal is open; it goes with the
            process, however that ends.

    Raises:
        BatchError: Another batch uses the file, it is not a journal, or the disk is full.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._telling():
            self._lock = sqlite3.connect(
                file.with_name(f".{file.name}.lock"), timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._lock.close()
            raise BatchError(f"{file} is in use by another batch; wait for it, or choose another folder") from error
        try:
            with self._telling():
                self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
                self._database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_TABLE}")
                self._database.execute(f"SELECT {', '.join(Entry._fields)} FROM scenes LIMIT 1")
        except BatchError:
            self._lock.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._lock.close()

    def entry(self, scene: str) -> Entry | None:
        """Returns what is recorded of a scene; None if nothing is."""
        with self._telling():
            row = self._database.execute(
                f"SELECT {', '.join(Entry._fields)} FROM scenes WHERE scene = ?", (scene,)
            ).fetchone()
        return _entry(row) if row else None

    def keep(self, scene: str, output: str, settings: str, stamps: str, outcome: JobOutcome) -> None:
        """Records the outcome of a scene. It is on disk when this returns."""
        row = (
            *(scene, "failed" if outcome.reason else "done", output, settings, stamps),
            *(outcome.key, outcome.sha256, outcome.stamp, outcome.seconds),
            outcome.reason and readable(outcome.reason),
            *(json.dumps(part) for part in (outcome.facts, outcome.notes, outcome.thumbnails)),
        )
        with self._telling():
            places = ", ".join("?" * len(row))
            self._database.execute(f"INSERT OR REPLACE INTO scenes VALUES ({places})", row)

    def restamp(self, scene: str, stamps: str, stamp: str | None) -> None:
        """Records that the files of a scene have new times but the same content."""
        with self._telling():
            self._database.execute("UPDATE scenes SET stamps = ?, stamp = ? WHERE scene = ?", (stamps, stamp, scene))

    def forget_failed(self, but: Collection[str]) -> None:
        """Forgets failures of scenes that no longer exist."""
        with self._telling():
            failed = [
                scene for (scene,) in self._database.execute("SELECT scene FROM scenes WHERE status = 'failed'")
            ]
            gone = [(scene,) for scene in failed if scene not in but]
            self._database.executemany("DELETE FROM scenes WHERE scene = ?", gone)

    def entries(self, status: str, limit: int) -> Iterator[Entry]:
        """Yields scenes of a status, sorted by name, up to a limit."""
        with self._telling():
            rows = self._database.execute(
                f"SELECT {', '.join(Entry._fields)} FROM scenes WHERE status = ? ORDER BY scene LIMIT ?",
                (status, limit),
            )
            yield from map(_entry, rows)

    def count(self, status: str) -> int:
        """Returns the number of scenes with a status."""
        with self._telling():
            (count,) = self._database.execute("SELECT count(*) FROM scenes WHERE status = ?", (status,)).fetchone()
        return int(count)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise BatchError(
                f"the journal {self._file}: {error}; free some space, or name another file by --journal"
            ) from error


def _entry(row: tuple[Any, ...]) -> Entry:
    entry = Entry(*row)
    facts, notes, thumbnails = (json.loads(part) for part in row[-3:])
    return entry._replace(facts=facts, notes=tuple(notes), thumbnails=tuple(thumbnails))
