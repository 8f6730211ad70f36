"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def part_of(target: Path) -> Path:
    """Returns a name beside a file that no other process uses, for what becomes that file when it is whole."""
    return target.with_name(f".defusion-{os.getpid()}-{secrets.token_hex(4)}.part")


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Gives a name beside a file to write to. It takes the file's name at the end, or is gone after any failure.

    Raises:
        OSError: It cannot be moved.
    """
    part = part_of(target)
    try:
        yield part
        part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink()
