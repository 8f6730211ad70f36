"""A report on disk: its files, and a page that needs nothing beside it and lets nothing through unescaped."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import Score
from defusion.evaluation.report import write_report
from defusion.evaluation.results import EvaluationScene, Outcome, Results

_VOID = {"meta", "link", "br", "input", "img", "path", "circle", "rect"}


class Page(HTMLParser):
    """What a page holds: elements by name, text, the scripts' contents; refuses elements that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[self.elements[-1][1].get("id") or ""] = data
        elif self._open and self._open[-1] != "style":
            self.texts.append(data)


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "new" / "report"
    written = write_report(results, folder, quoted=("paper", "mefb", "vifb"))
    assert [path.name for path in written] == [
        "index.html",
        "results.csv",
        "results.json",
        "tables.md",
        "tables.tex",
    ]
    assert sorted(folder.iterdir()) == sorted([*written, folder / "cache.sqlite"])  # and no part of one
    return folder


@pytest.fixture(scope="module")
def page(folder) -> Page:
    return Page((folder / "index.html").read_text("utf-8"))


def test_csv_has_every_score_and_every_reason(folder, results, failure, reason):
    rows = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text("utf-8"))))
    assert list(rows[0]) == ["set", "scene", "method", "metric", "value", "reason"]
    assert len(rows) == 9 * 3 * 3 + 6 * 4
    for row in rows:
        outcome = next(o for o in results.outcomes if (o.scene.name, o.method) == (row["scene"], row["method"]))
        if row["value"]:
            assert float(row["value"]) == outcome.scores[row["metric"]].value and not row["reason"]
        else:
            assert row["reason"] == outcome.failure or row["reason"] == outcome.scores[row["metric"]].reason
    assert sum(row["reason"] == failure for row in rows) == 4 and sum(row["reason"] == reason for row in rows) == 1


def test_json_says_how_and_what(folder, methods, failure):
    facts = json.loads((folder / "results.json").read_text("utf-8"))
    assert facts["protocol"] == "toolkit" and facts["notes"] == ["2 scenes <left> out"]
    assert facts["made"]["numpy"] == np.__version__
    mefb = facts["sets"][0]
    assert (mefb["name"], mefb["scenes"]) == ("mefb", 9) and tuple(mefb["methods"]) == methods
    found = mefb["methods"]["average"]["metrics"]["ce"]
    assert found["mean"] == pytest.approx(1.4) and found["low"] < 1.4 < found["high"] and found["rank"] == 1
    assert mefb["methods"]["maximum"]["metrics"]["ssim"]["missing"] == 1
    assert [each["name"] for each in facts["metrics"]] == ["ce", "qcv", "ssim", "psnr_truth"]
    failed = [outcome for outcome in facts["outcomes"] if outcome["failure"]]
    assert len(facts["outcomes"]) == 33 and len(failed) == 1
    assert failed[0]["scores"]["ce"] == {"value": None, "reason": failure}


def test_page_needs_nothing_from_outside(folder, page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset", "formaction"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,", "data:image/webp;base64,")), (
                tag,
                attributes,
            )
    text = (folder / "index.html").read_text("utf-8")
    styles = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert styles and "url(" not in styles[1] and "@import" not in styles[1]
    code = page.scripts[""]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?://", code)


def test_page_lets_no_markup_in(page, methods, failure):
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "link", "style", "body", "a", "header", "h1", "h2", "h3", "p", "nav"),
        *("label", "input", "main", "section", "span", "b", "div", "table", "thead", "tbody", "tr", "th", "td"),
        *("button", "br", "select", "option", "details", "summary", "figure", "figcaption", "svg", "path", "text"),
        *("rect", "circle", "dl", "dt", "dd", "script", "img"),
    }
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [each.get("type") for each in scripts] == ["application/json"] * 12 + [None]
    for method in methods:
        assert method in page.texts
    assert failure in page.texts and "2 scenes <left> out" in page.texts


def test_page_marks_what_is_quoted_best_and_missing(page):
    rows = [attributes for tag, attributes in page.elements if tag == "tr"]
    quoted = [attributes for attributes in rows if attributes.get("class") == "quoted"]
    assert len(quoted) == 7 + 21 + 21  # and MEFB's again among the places
    assert "DeFusion (paper)*" in page.texts
    assert any("mean rank average" in text and "over 2 of its 20 metrics" in text for text in page.texts)
    assert any(text.startswith("* (paper) quoted, not measured here") for text in page.texts)
    best = [attributes for tag, attributes in page.elements if tag == "td" and attributes.get("class") == "p1"]
    assert best and all("data-tip" in attributes for attributes in best if "." not in (attributes["data-v"] or "."))
    headers = [attributes for tag, attributes in page.elements if tag == "button" and "data-first" in attributes]
    assert any("Cross entropy" in (attributes.get("data-tip") or "") for attributes in headers)


def test_all_pictures_of_the_page_decode(page):
    stores = {name: json.loads(text) for name, text in page.scripts.items() if name.startswith("pictures-")}
    assert len(stores) == 11
    pictures = 0
    for store in stores.values():
        for panel in store["panels"]:
            for data in filter(None, (panel["data"], panel["error"])):
                image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
                image.load()
                assert (image.format, image.size) == ("WEBP", (64, 48))
                pictures += 1
    # Nine scenes of two sources and three methods; two with truth as well, and with errors, one failed.
    assert pictures == 9 * 5 + (3 + 3 * 2) + (3 + 2 * 2)


def test_page_data_has_scores_and_reasons_of_every_scene(page, methods, failure, reason):
    mefb, focus = json.loads(page.scripts["data"])["sets"]
    assert mefb["methods"] == list(methods) and len(mefb["scenes"]) == 9
    assert mefb["scenes"][0]["values"][1] == [2.0, 400.0, None] and mefb["scenes"][0]["reasons"] == {"1,2": reason}
    assert focus["scenes"][1]["reasons"] == {f"2,{column}": failure for column in range(4)}


def test_a_report_can_be_written_again_and_only_where_there_is_a_folder(results, folder, tmp_path):
    before = (folder / "results.csv").read_text("utf-8")
    write_report(results, folder)
    assert (folder / "results.csv").read_text("utf-8") == before
    assert "(paper)*" not in (folder / "index.html").read_text("utf-8")
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match=r"cannot be written to .*file"):
        write_report(results, tmp_path / "file")


def test_a_report_is_written_again_where_anything_it_depends_on_has_changed(tmp_path, monkeypatch):
    files = [tmp_path / f"{name}.png" for name in "abf"]
    for shade, file in enumerate(files):
        Image.new("RGB", (64, 48), (shade, 0, 0)).save(file)
    scene = EvaluationScene("mefb", "one", (files[0], files[1]))

    def one_score(value: float) -> Results:
        return Results("toolkit", ("ce",), (Outcome("average", scene, files[2], {"ce": Score(value)}),))

    def dates() -> list[int]:
        return [path.stat().st_ino for path in written]  # a file that is written anew is another

    written = write_report(one_score(1.0), tmp_path / "out")
    before = dates()
    assert write_report(one_score(1.0), tmp_path / "out") == written and dates() == before

    def is_new() -> bool:
        nonlocal before
        last, before = before, dates()
        return all(one != other for one, other in zip(last, before, strict=True))

    write_report(one_score(2.0), tmp_path / "out")
    assert is_new()
    write_report(one_score(2.0), tmp_path / "out", quoted=("mefb",))
    assert is_new()
    Image.new("RGB", (64, 48), (40, 0, 0)).save(files[2])
    write_report(one_score(2.0), tmp_path / "out", quoted=("mefb",))
    assert is_new()
    written[3].write_text("edited")
    write_report(one_score(2.0), tmp_path / "out", quoted=("mefb",))
    assert is_new() and "edited" not in written[3].read_text("utf-8")
    monkeypatch.setattr("defusion.evaluation.report.write.code_fingerprint", lambda *patterns: "another code")
    write_report(one_score(2.0), tmp_path / "out", quoted=("mefb",))
    assert is_new()
    before = dates()
    write_report(one_score(2.0), tmp_path / "out", quoted=("mefb",))
    assert dates() == before


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to check the page's code with")
def test_the_pages_code_is_well_formed():
    code = resources.files("defusion.evaluation.report").joinpath("page.js").read_text("utf-8")
    done = subprocess.run(["node", "--check", "-"], input=code, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
