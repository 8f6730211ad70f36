"""Writes a report. Each file is written under another name and then moved into place. Unchanged files are not
rewritten.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from defusion.errors import EvaluationError
from defusion.evaluation.methods import code_fingerprint
from defusion.evaluation.published import published
from defusion.evaluation.report.figures import results_csv, results_json
from defusion.evaluation.report.page import page
from defusion.evaluation.report.pictures import BUDGET_BYTES, draw
from defusion.evaluation.report.sheets import draw_sheets
from defusion.evaluation.report.tables import set_tables
from defusion.evaluation.report.text import latex, markdown
from defusion.evaluation.results import Results
from defusion.evaluation.store import STORE, ResultStore, key_of
from defusion.system.files import beside

FILES = ("index.html", "results.csv", "results.json", "tables.md", "tables.tex")

_LIBRARIES = ("defusion", "numpy", "scipy", "opencv-python-headless", "pillow", "openvino")


#: The files that a report depends on besides the results: with the code, all that its contents follow from.
_FIGURES = ("*.py", "evaluation/**/*.py", "evaluation/report/page.*", "evaluation/published/*.csv", "imaging/*.py")


def write_report(results: Results, folder: Path, *, quoted: Sequence[str] = ()) -> list[Path]:
    """Writes a report into a folder, created if needed.

    Files that an earlier run wrote of the same results, with the same code and libraries, are left as they are.

    Args:
        results: All outcomes. Pictures are read from the files that they name.
        folder: Where to write `FILES`.
        quoted: Published tables to show beside measured figures, from `published.QUOTABLE`: `paper`, `mefb`, `vifb`.
            They appear at the data sets that they are about.

    Returns:
        The report's files; the first is the page.

    Raises:
        EvaluationError: There is nothing to report, a metric or a published table is unknown, or the folder cannot be
            written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ResultStore(folder / STORE) as store:
            key = _key(results, quoted, store)
            files = [folder / name for name in FILES]
            if not all(store.made(file, key) for file in files):
                for file, text in zip(files, _texts(results, quoted), strict=True):
                    with beside(file) as part:
                        part.write_text(text, "utf-8")
                    store.keep_made(file, key)
            return files
    except OSError as error:
        raise EvaluationError(f"the report cannot be written to {folder}: {error}; choose another folder") from error


def _texts(results: Results, quoted: Sequence[str]) -> list[str]:
    """Makes the contents of `FILES`."""
    tables = set_tables(results, published(quoted))
    sheets = draw_sheets(results, tables)
    album = draw(results, BUDGET_BYTES - sum(sheet.bytes for sheet in sheets.values()))
    made = {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), **_versions()}
    return [
        page(results, tables, album, sheets, made),
        results_csv(results),
        results_json(results, tables, made),
        markdown(tables),
        latex(tables),
    ]


def _key(results: Results, quoted: Sequence[str], store: ResultStore) -> str:
    """Returns a hash of all that a report depends on: results, the pictures that it shows, options, code and
    libraries.
    """

    def content(file: Path | None) -> str | None:
        try:
            return store.sha256(file) if file else None
        except EvaluationError:
            return "unreadable"

    outcomes = [
        (repr(each), [content(file) for file in (*each.scene.sources, each.scene.truth, each.picture)])
        for each in results.outcomes
    ]
    options = results.protocol, results.metrics, results.notes, tuple(quoted)
    return key_of(outcomes, options, code_fingerprint(*_FIGURES), _versions())


def _versions() -> dict[str, str]:
    """Returns the versions of what was used."""
    found = {"Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
