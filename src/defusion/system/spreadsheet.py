"""CSV files that are safe to open in a spreadsheet. The package writes CSV only here."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import TextIO

#: What a spreadsheet takes for the start of a formula. Full-width signs count too, for Chinese and Japanese users.
#: Tabs and line ends before the sign do not change that.
_FORMULA = re.compile(r"[\s\0]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Adds rows to a CSV file that was opened with `newline=""`.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which marks it as text. Numbers stay
    as they are. A carriage return would end the row for some readers, so it becomes a newline.
    """
    csv.writer(file, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)


def cell(value: object) -> object:
    """Returns what to write for a value."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", "\n")
    runs = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if runs else text
