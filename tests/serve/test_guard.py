"""Who is let in, and what every answer carries."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")
pytest.importorskip("httpx2", reason="Starlette's test client needs httpx2")
from starlette.testclient import TestClient

from defusion.errors import DefusionError
from defusion.serve.app import Service
from defusion.serve.settings import Limits, ServiceSettings


def outside(settings: ServiceSettings) -> TestClient:
    """A service whose workers are not started: what is asked here ends before them."""
    return TestClient(Service(settings).app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def closed() -> Any:
    return outside(ServiceSettings(token="open sesame"))


def test_every_answer_has_the_headers_of_safety() -> None:
    client = outside(ServiceSettings())
    for path in ("/", "/healthz", "/nowhere", "/page/main.js", "/v1/about"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_a_token_is_asked_for_where_there_is_one(closed: Any) -> None:
    for path in ("/v1/about", "/metrics"):
        answer = closed.get(path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    for shown in ("Bearer open", "Bearer ", "Basic open sesame", "Bearer \u00fc"):
        assert closed.get("/v1/about", headers={"authorization": shown.encode()}).status_code == 401
    assert closed.get("/v1/about", headers={"authorization": "Bearer open sesame"}).status_code == 200
    for path in ("/", "/healthz", "/openapi.json", "/page/main.js"):
        assert closed.get(path).status_code == 200


def test_a_token_is_exchanged_for_a_cookie(closed: Any) -> None:
    assert closed.post("/v1/session").status_code == 401
    answer = closed.post("/v1/session", headers={"authorization": "Bearer open sesame"})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "sesame" not in cookie
    closed.cookies.clear()
    assert closed.get("/v1/about", headers={"cookie": cookie.partition(";")[0]}).status_code == 200
    assert closed.get("/v1/about", headers={"cookie": "defusion-session=guess"}).status_code == 401


def test_other_names_do_not_lead_here() -> None:
    client = outside(ServiceSettings())
    assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/healthz", headers={"host": "[::1"}).status_code == 421
    assert client.get("/healthz", headers={"host": "localhost:99"}).status_code == 200
    proxied = outside(ServiceSettings(hosts=("fuse.example",)))
    assert proxied.get("/healthz", headers={"host": "fuse.example"}).status_code == 200
    assert (
        outside(ServiceSettings(host="0.0.0.0")).get("/healthz", headers={"host": "any.example"}).status_code == 200
    )


def test_pages_of_other_sites_may_not_post() -> None:
    client = outside(ServiceSettings())
    for origin in ("http://evil.example", "null", "http://127.0.0.1.evil.example"):
        assert client.post("/v1/examples/x", headers={"origin": origin}).status_code == 403
    assert client.post("/v1/examples/x", headers={"origin": "http://127.0.0.1"}).status_code == 404


def test_cors_is_for_origins_that_were_named() -> None:
    client = outside(ServiceSettings(cors=("https://lab.example",)))
    asked = {"origin": "https://lab.example", "access-control-request-method": "POST"}
    answer = client.options("/v1/fuse", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://lab.example"
    assert client.post("/v1/examples/x", headers={"origin": "https://lab.example"}).status_code == 404
    other = client.post("/v1/examples/x", headers={"origin": "https://other.example"})
    assert other.status_code == 403 and "access-control-allow-origin" not in other.headers


def test_limits_are_above_zero() -> None:
    with pytest.raises(DefusionError, match="the limit frames came as 0"):
        Limits(frames=0)
