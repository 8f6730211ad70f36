"""CSV files that are safe to open: the one place where the package writes any."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import TextIO

#: What a spreadsheet takes for the beginning of a formula, in full width too, as it reads those where Chinese or
#: Japanese is written. Tabs and line ends before it do not hinder it.
_FORMULA = re.compile(r"[\s\0]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Adds rows to a CSV file that was opened with `newline=""`.

    A text that a spreadsheet would run as a formula gets an apostrophe before it, which spreadsheets take for a sign
    of text. Numbers stay as they are; a carriage return, which would end a row for some readers, becomes a newline.
    """
    csv.writer(file, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)


def cell(value: object) -> object:
    """Returns what stands in a CSV file for a value."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", "\n")
    runs = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if runs else text
