"""What programs see: pictures in, a picture or a problem out."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")
pytest.importorskip("httpx2", reason="Starlette's test client needs httpx2")

from .conftest import parts

Client = Any


def test_the_picture_has_the_bytes_that_the_command_writes(client: Client, pair: list[Path], tmp_path: Path) -> None:
    from defusion.api.fuser import Fuser

    fuser = Fuser()
    for name, suffix in {"png": ".png", "tiff": ".tif", "jpeg": ".jpg"}.items():
        answer = client.post("/v1/fuse", params={"format": name}, files=parts(pair))
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == f"image/{name}"
        written = fuser.fuse_files(pair, tmp_path / f"fused{suffix}").output
        assert answer.content == written.read_bytes()


def test_the_format_is_that_of_the_first_picture(client: Client, pair: list[Path], png: Callable[..., bytes]) -> None:
    assert client.post("/v1/fuse", files=parts(pair)).headers["content-type"] == "image/tiff"
    pictures = [("sources", ("a", png(seed=1))), ("sources", ("b", png(seed=2)))]
    assert client.post("/v1/fuse", files=pictures).headers["content-type"] == "image/png"


def test_options_are_named_as_on_the_command_line(client: Client, pair: list[Path]) -> None:
    query = {"task": "focus", "weights": "paper", "infrared-palette": "none"}
    answer = client.post("/v1/fuse", params=query, files=parts(pair))
    facts = json.loads(answer.headers["defusion-result"])
    assert (facts["task"], facts["head"], facts["why"]) == ("focus", "paper", "it was asked for")


def test_what_was_changed_is_told(client: Client, pair: list[Path]) -> None:
    answer = client.post("/v1/fuse", params={"format": "jpeg"}, files=parts(pair))
    notes = json.loads(answer.headers["defusion-result"])["notes"]
    assert "fused.jpg: JPEG holds 8 bits, 16-bit result rounded to 8" in notes


def refused(answer: Any, status: int) -> str:
    """The sentence of a problem, which names neither a path nor code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail"} and problem["status"] == status
    assert "Traceback" not in answer.text and "/tmp" not in answer.text and "defusion-serve" not in answer.text
    return str(problem["detail"])


def header_only_png(width: int, height: int) -> bytes:
    """A few bytes that say that they are a large picture."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("task=sport", "task came as 'sport'; expected auto"),
        ("format=gif", "format came as 'gif'; expected png"),
        ("colour=red", "the parameter 'colour' is unknown"),
        ("weights=/etc/passwd", "weights came as '/etc/passwd'; expected"),
        ("device=cuda:0;", "device came as"),
        ("task=focus&task=focus", "a parameter came twice"),
    ],
)
def test_unknown_options_are_refused_before_any_work(client: Client, pair: list[Path], query: str, said: str) -> None:
    assert said in refused(client.post(f"/v1/fuse?{query}", files=parts(pair)), 422)


def test_what_cannot_be_fused_is_refused_in_one_sentence(
    client: Client, pair: list[Path], png: Callable[..., bytes]
) -> None:
    def post(*pictures: tuple[str, bytes]) -> Any:
        return client.post("/v1/fuse", files=[("sources", each) for each in pictures])

    assert "two" in refused(post(("a.png", png())), 422)
    assert "b.png is not a picture" in refused(post(("a.png", png()), ("b.png", b"hello")), 422)
    assert "../../b.png" not in refused(post(("a.png", png()), ("../../b.png", b"hello")), 422)
    assert "b.png is empty" in refused(post(("a.png", png()), ("b.png", b"")), 422)
    cut = png()[:-200]
    assert "a.png is truncated or damaged" in refused(post(("a.png", cut), ("b.png", png())), 422)


def test_a_device_that_is_not_there_is_no_matter_of_size(client: Client, pair: list[Path]) -> None:
    torch = pytest.importorskip("torch", reason="the device is one of torch's")
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    answer = client.post("/v1/fuse", params={"engine": "torch", "device": "mps"}, files=parts(pair))
    said = refused(answer, 422)
    assert "has no device 'mps' here" in said
    assert len(said) < 200


def test_limits_are_told_in_one_sentence(client: Client, png: Callable[..., bytes]) -> None:
    many = [("sources", ("a.png", png())) for _ in range(5)]
    assert "more than 4 pictures came" in refused(client.post("/v1/fuse", files=many), 413)
    large = [("sources", ("a.png", bytes(3_000_000)))]
    assert "more than 2 MB came" in refused(client.post("/v1/fuse", files=large), 413)
    bomb = [("sources", ("a.png", header_only_png(60_000, 60_000))), ("sources", ("b.png", png()))]
    assert "60000x60000 pixels" in refused(client.post("/v1/fuse", files=bomb), 413)


def test_bodies_of_another_kind_are_refused(client: Client, png: Callable[..., bytes]) -> None:
    assert "expected a multipart/form-data body" in refused(client.post("/v1/fuse", content=b"hello"), 415)
    other = client.post("/v1/fuse", files=[("pictures", ("a.png", png()))])
    assert "a part is named 'pictures'; expected 'sources'" in refused(other, 422)
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert "ends before its last part" in refused(client.post("/v1/fuse", content=b"--x\r\n", headers=kind), 422)
    assert "is damaged" in refused(client.post("/v1/fuse", content=b"hello", headers=kind), 422)
    refused(client.post("/v1/fuse", json={"sources": "a"}), 422)
    refused(client.post("/v1/fuse", content="{", headers={"content-type": "application/json"}), 400)
    assert "no such picture" in refused(client.post("/v1/fuse", json={"sources": ["a", "b"]}), 404)


def test_nothing_is_kept_of_what_was_fused_or_refused(client: Client, pair: list[Path]) -> None:
    for query in ("", "?task=sport", "?infrared-palette=none"):
        client.post(f"/v1/fuse{query}", files=parts(pair))
    client.post("/v1/fuse", files=parts(pair[:1]))
    stored = next(line for line in client.get("/metrics").text.splitlines() if line.startswith("defusion_stored"))
    assert float(stored.split()[1]) < 100  # the word on whose folder it is


def test_pictures_are_sent_once_and_fused_by_their_ids(client: Client, pair: list[Path]) -> None:
    answer = client.post("/v1/pictures", files=parts(pair))
    assert answer.status_code == 201, answer.text
    dark, bright = answer.json()["pictures"]
    assert (dark["name"], dark["width"], dark["height"], dark["depth"]) == ("dark.tif", 128, 96, "uint16")
    assert dark["light"] < bright["light"]
    for link in ("thumbnail", "preview"):
        assert client.get(dark["links"][link]).content.startswith(b"\xff\xd8")
    job = client.post("/v1/fuse", json={"sources": [dark["id"], bright["id"]]}, headers={"prefer": "respond-async"})
    assert job.status_code == 202
    with client.stream("GET", job.json()["links"]["events"]) as events:
        news = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]
    assert news[-1]["state"] == "done" and news[-1]["facts"]["sentence"].startswith("2 ")
    fused = news[-1]["results"]["fused"]
    direct = client.post("/v1/fuse", files=parts(pair))
    assert client.get(fused["links"]["file"]).content == direct.content
    assert client.get(job.json()["links"]["self"]).json()["state"] == "done"
    for link in (job.json()["links"]["self"], dark["links"]["self"], bright["links"]["self"]):
        assert client.delete(link).status_code == 204
        refused(client.get(link), 404)
    refused(client.get(fused["links"]["file"]), 404)


def test_tiles_show_the_picture_at_full_size(client: Client, png: Callable[..., bytes]) -> None:
    import io

    import numpy as np
    from PIL import Image

    sent = png(700, 600)
    (picture,) = client.post("/v1/pictures", files=[("sources", ("a.png", sent))]).json()["pictures"]
    tiles = client.get(picture["links"]["tiles"]).json()
    assert tiles == {"width": 700, "height": 600, "tile": 512, "levels": 2}
    corner = Image.open(io.BytesIO(client.get(f"{picture['links']['tiles']}/1/1/1").content))
    truth = np.asarray(Image.open(io.BytesIO(sent)))[512:, 512:].astype(float)
    assert corner.size == (188, 88)
    assert np.abs(np.asarray(corner) - truth).mean() < 12  # noise, as a JPEG has it
    whole = Image.open(io.BytesIO(client.get(f"{picture['links']['tiles']}/0/0/0").content))
    assert whole.size == (350, 300)
    refused(client.get(f"{picture['links']['tiles']}/1/2/0"), 404)
    refused(client.get(f"{picture['links']['tiles']}/2/0/0"), 404)


def test_decompose_gives_links_to_the_parts(client: Client, pair: list[Path]) -> None:
    answer = client.post("/v1/decompose", params={"format": "png"}, files=parts(pair))
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert results.keys() == {"common", "unique_a", "unique_b", "fused"}
    assert client.get(results["common"]["links"]["file"]).content.startswith(b"\x89PNG")
    three = client.post("/v1/decompose", files=parts([*pair, pair[0]]))
    assert "decomposing needs exactly two pictures; 3 came" in refused(three, 422)


def test_align_gives_links_to_the_frames(client: Client, pair: list[Path]) -> None:
    answer = client.post("/v1/align", params={"align": "translation"}, files=parts(pair))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [each["file"] for each in told["facts"]["alignment"]["frames"]] == ["dark.tif", "bright.tif"]
    assert told["results"].keys() == {"frame_1", "frame_2"} and "files" not in told["facts"]
    assert client.get(told["results"]["frame_2"]["links"]["file"]).status_code == 200
    assert "'task' is unknown; expected align" in refused(client.post("/v1/align?task=focus", files=parts(pair)), 422)


def test_maps_are_made_on_request(client: Client, pair: list[Path]) -> None:
    job = client.post("/v1/fuse?maps=true", files=parts(pair), headers={"Accept": "application/json"}).json()
    assert sorted(job["results"]) == ["fused", "residual_map", "source_map"]
    assert "maps" not in job["facts"]
    file = client.get(job["results"]["source_map"]["links"]["file"])
    assert file.headers["content-type"] == "image/png"
    assert client.post("/v1/fuse?maps=some", files=parts(pair)).status_code == 422


def test_examples_are_made(client: Client) -> None:
    pytest.importorskip("skimage", reason="examples are made of scikit-image's photographs")
    answer = client.post("/v1/examples/focus")
    assert [each["name"] for each in answer.json()["pictures"]] == ["focus_a.png", "focus_b.png"]
    refused(client.post("/v1/examples/other"), 404)


def test_methods_and_pages_that_are_not_there_are_problems_too(client: Client) -> None:
    assert "/openapi.json lists" in refused(client.get("/nowhere"), 404)
    refused(client.get("/page/nowhere.js"), 404)
    refused(client.get("/page/../app.py"), 404)
    assert client.get("/v1/fuse").headers["allow"] == "POST"
    assert refused(client.get("/v1/fuse"), 405) == "GET came; expected POST"


def test_figures_for_prometheus(client: Client, pair: list[Path]) -> None:
    before = time.monotonic()
    client.post("/v1/fuse", files=parts(pair))
    took = time.monotonic() - before
    text = client.get("/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    done = float(figures['defusion_jobs_total{work="fuse",outcome="done"}'])
    failed = float(figures.get('defusion_jobs_total{work="fuse",outcome="failed"}', 0))
    assert done >= 1 and done + failed == float(figures['defusion_job_seconds_bucket{work="fuse",le="+Inf"}'])
    assert 0 < float(figures['defusion_job_seconds_sum{work="fuse"}']) / done < 60 + took
    assert float(figures['defusion_requests_total{method="POST",route="/v1/fuse",status="200"}']) >= 1
    assert float(figures["defusion_resident_bytes"]) > 1e7
