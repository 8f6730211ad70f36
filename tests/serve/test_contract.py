"""What the OpenAPI description says holds for requests that schemathesis makes up, and damaged files are refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")
httpx = pytest.importorskip("httpx2", reason="requests are made by httpx2")

from .full import served

pytestmark = pytest.mark.full

#: Requests that schemathesis makes up for each operation: there are sixteen, so about a thousand.
EXAMPLES = int(os.environ.get("DEFUSION_CONTRACT_EXAMPLES", "60"))

#: Files that are odd but whole: floats, LZMA of several strips, a tag of an unusual type, several pages.
ONLY_ODD = {f"exception_{what}.tif" for what in ("float", "lzma_s", "minw", "pages")}


def test_made_up_requests_meet_what_is_described() -> None:
    pytest.importorskip("schemathesis", reason="requests are made up by schemathesis")
    with served("--max-client-jobs", "100") as address:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"]
        options = ["--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1"]
        options += ["--request-timeout", "60"]  # the first picture by another engine waits until that is loaded
        options += ["--exclude-path", "/readyz"]  # says 503 while a worker is replaced
        options += ["--exclude-checks", "positive_data_acceptance"]  # bytes that are no picture fit the description
        run = subprocess.run([*command, *options, "--no-color"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    generated = re.search(r"([\d,]+) generated", run.stdout)
    print(generated and generated[0])
    assert generated is not None and int(generated[1].replace(",", "")) >= 8 * EXAMPLES


def test_damaged_files_are_refused_and_the_service_lives_on(shared: Path) -> None:
    from PIL import Image

    folder = shared / "field" / "robustness"
    files = [file for file in sorted(folder.rglob("*")) if file.suffix not in (".toml", ".safetensors", "")]
    assert files
    with served("--max-seconds", "60", "--max-memory-mb", "2048") as address:
        good = _png(Image.new("RGB", (64, 48), "grey"))
        before = _resident(address)
        answers = {}
        for file in files:
            with file.open("rb") as opened:
                sent = [("sources", (file.name, opened)), ("sources", ("good.png", good))]
                answers[file.name] = httpx.post(f"{address}/v1/fuse", files=sent, timeout=200).status_code
        assert {name for name, status in answers.items() if status == 200} == ONLY_ODD
        refused = [status for name, status in answers.items() if name not in ONLY_ODD]
        assert set(refused) <= {413, 415, 422}
        pair = [("sources", ("a.png", good)), ("sources", ("b.png", good))]
        assert httpx.post(f"{address}/v1/fuse", files=pair, timeout=200).status_code == 200
        assert _resident(address) < 1.5 * before


def _png(image: object) -> bytes:
    import io

    encoded = io.BytesIO()
    image.save(encoded, "PNG")  # type: ignore[attr-defined]
    return encoded.getvalue()


def _resident(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    return float(re.search(r"^defusion_resident_bytes (\S+)", text, re.MULTILINE)[1])  # type: ignore[index]
