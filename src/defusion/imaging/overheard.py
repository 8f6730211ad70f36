"""Captures what C libraries print while they decode."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

_STDERR = 2
_one_at_a_time = threading.Lock()


@contextmanager
def overheard() -> Iterator[Callable[[], str]]:
    """Keeps what a library writes to the process's stderr, or prints from Python, away from the terminal.

    Yields:
        A function that returns what was written to stderr so far.
    """
    with _one_at_a_time, tempfile.TemporaryFile() as heard, redirect_stdout(io.StringIO()):

        def said() -> str:
            heard.seek(0)
            return heard.read().decode(errors="replace")

        try:
            kept = os.dup(_STDERR)
        except OSError:  # the process has no stderr
            yield said
            return
        os.dup2(heard.fileno(), _STDERR)
        try:
            yield said
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
