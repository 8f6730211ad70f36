"""CSV files: no text of a user's is a formula, and no module writes any past that."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import defusion
from defusion.system.spreadsheet import write_rows


def written(*row: object) -> list[str]:
    text = io.StringIO(newline="")
    write_rows(text, [row])
    (read,) = csv.reader(io.StringIO(text.getvalue(), newline=""))
    return read


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "=cmd|' /C calc'!A0",
        "\t=1",
        "\n@a",
        " =1",
        "\uff1d1+1",
        "-",
        "-x.png",
    ],
)
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert written(text) == [f"'{text}"]


@pytest.mark.parametrize("value", [-1.5, "-1.5", "+3", "-.5e-07", "1", "a=b", "", "a-1.png", "'=1"])
def test_numbers_and_other_text_stay_as_they_are(value: object) -> None:
    assert written(value) == [str(value)]


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), min_size=2))
def test_no_text_begins_a_formula_and_none_is_lost(texts: list[str]) -> None:
    for given_text, read in zip(texts, written(*texts), strict=True):
        kept = given_text.replace("\r", "\n")
        assert read in (kept, f"'{kept}")
        assert re.fullmatch(r"[+-][\d.eE+-]+|(?!\s*[=+\-@]).*", read, re.DOTALL)


def test_no_other_module_writes_csv() -> None:
    sources = Path(defusion.__file__).parent.rglob("*.py")
    writing = [path.name for path in sources if re.search(r"csv\.writer|DictWriter|to_csv|savetxt", path.read_text())]
    assert writing == ["spreadsheet.py"]
