"""The page is small, whole and of its own; the description fits the routes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")

from starlette.routing import Route

from defusion.serve.app import EXAMPLES, PAGE, Service
from defusion.serve.openapi import description
from defusion.serve.sentence import sentence
from defusion.serve.settings import ServiceSettings

OWN = [file for file in PAGE.iterdir() if file.suffix in (".js", ".css", ".html", ".svg")]


def test_the_page_is_small() -> None:
    everything = sum(file.stat().st_size for file in PAGE.rglob("*") if file.is_file())
    assert everything < 3_000_000
    assert sum(file.stat().st_size for file in OWN) < 100_000  # what is loaded before there are pictures


def test_the_page_asks_nobody_else() -> None:
    for file in OWN:
        addresses = re.findall(r"https?://[^\s\"'<>)]+", file.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file


def test_all_that_the_page_names_is_there() -> None:
    for file in OWN:
        for name in re.findall(r"[\"'](?:page/|\./)([\w./-]+\.\w+)[\"']", file.read_text()):
            assert (PAGE / name).is_file(), f"{file.name} names {name}"
    assert all((PAGE / f"example-{name}.jpg").is_file() for name in EXAMPLES)


def test_other_peoples_work_comes_with_its_licence() -> None:
    for folder in (PAGE / "vendor").iterdir():
        if folder.is_dir():
            assert any(file.name.startswith("LICENSE") for file in folder.iterdir()), folder


def test_the_description_has_all_routes_and_no_others() -> None:
    document = description(ServiceSettings(token="x"))
    described = {
        (path, method.upper()) for path, of in document["paths"].items() for method in of if method != "parameters"
    }
    plain = re.compile(r":int\b")
    routes = {
        (plain.sub("", route.path), method)
        for route in Service(ServiceSettings()).app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    of_the_page = {("/", "GET"), ("/openapi.json", "GET"), ("/v1/about", "GET"), ("/v1/session", "POST")}
    assert routes - described == of_the_page | {("/v1/examples/{name}", "POST")}
    assert not described - routes


def test_what_the_description_refers_to_is_there() -> None:
    document: Any = description(ServiceSettings())
    assert document["openapi"].startswith("3.1") and "security" not in document
    for reference in re.findall(r'"#/([^"]+)"', json.dumps(document)):
        place = document
        for name in reference.split("/"):
            place = place[name]
        assert place


def test_the_process_that_answers_loads_no_engine() -> None:
    code = (
        "import sys, defusion.serve.run, defusion.serve.options as o; o.options(); "
        "print([m for m in ('torch', 'openvino', 'cv2', 'dask', 'tifffile', 'imagecodecs') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_a_sentence_tells_what_was_seen_and_done() -> None:
    facts = {"task": "exposure", "sources": 7, "width": 60, "height": 40, "depth": "uint16"}
    assert sentence(facts) == "7 exposures, fused at 60x40 in 16 bits"
    frame = {"aligned": True, "model": "homography", "residual_px": 0.21, "left_out": False}
    still = {**frame, "model": "identity", "residual_px": 0.0}
    lost = {**frame, "aligned": False, "left_out": True}
    moved = {**facts, "alignment": {"frames": [still, frame, lost]}}
    assert sentence(moved) == "7 exposures, aligned to 0.2 px, 1 left out, fused at 60x40 in 16 bits"
    both = sentence({**facts, "task": "infrared", "sources": 2})
    assert both == "Infrared and visible light, fused at 60x40 in 16 bits"
    mended = sentence({**facts, "ghosts": {"a.tif": "1-a.ghosts.png"}})
    assert mended == "7 exposures, what moved shown as one frame has it, fused at 60x40 in 16 bits"
