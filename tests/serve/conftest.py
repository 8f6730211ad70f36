"""A service for tests, and pictures to send it. Tests skip, saying so, without the extra `serve`."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defusion.imaging import from_array, write

MP = 1_000_000


def wait_until_ready(client: Any) -> None:
    end = time.monotonic() + 120
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < end, "the service is not ready after two minutes"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A service with small limits, and its network loaded."""
    from starlette.testclient import TestClient

    from defusion.serve.app import Service
    from defusion.serve.settings import Limits, ServiceSettings

    limits = Limits(upload_bytes=2 * MP, picture_pixels=MP, frames=4)
    settings = ServiceSettings(port=80, limits=limits)
    with TestClient(Service(settings).app, base_url="http://127.0.0.1") as client:
        wait_until_ready(client)
        yield client


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two exposures of a made scene, 16-bit TIFFs with different names."""
    folder = tmp_path_factory.mktemp("pair")
    scene = np.random.default_rng(0).random((12, 16, 3)).repeat(8, 0).repeat(8, 1)
    files = [folder / "dark.tif", folder / "bright.tif"]
    for file, stops in zip(files, (0.25, 1.0), strict=True):
        write(file, from_array((65535 * stops * scene).astype(np.uint16)))
    return files


def parts(files: list[Path]) -> list[Any]:
    """Files as the parts of a multipart body."""
    return [("sources", (file.name, file.read_bytes())) for file in files]


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes a PNG of noise."""

    def make(width: int = 48, height: int = 32, seed: int = 0) -> bytes:
        from PIL import Image

        encoded = io.BytesIO()
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(encoded, "PNG")
        return encoded.getvalue()

    return make
