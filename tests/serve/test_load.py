"""Many clients at once, for minutes: nobody hears anything but a picture or "later", and memory comes back."""

from __future__ import annotations

import io
import os
import re
import signal
import threading
import time
from collections import Counter

import numpy as np
import psutil
import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")
httpx = pytest.importorskip("httpx2", reason="requests are made by httpx2")

from .full import served

pytestmark = pytest.mark.full

CLIENTS = 50
SECONDS = float(os.environ.get("DEFUSION_LOAD_SECONDS", "120"))


def megapixel_pair() -> list[bytes]:
    from PIL import Image

    scene = np.random.default_rng(0).integers(0, 256, (25, 40, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    files = []
    for light in (0.4, 1.0):
        encoded = io.BytesIO()
        Image.fromarray((light * scene).astype(np.uint8)).save(encoded, "PNG", compress_level=1)
        files.append(encoded.getvalue())
    return files


def figure(address: str, name: str) -> float:
    text = httpx.get(f"{address}/metrics", timeout=30).text
    found = re.search(rf"^defusion_{name} (\S+)", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_fifty_clients_at_once() -> None:
    pair = megapixel_pair()
    answers: Counter[int] = Counter()
    seconds: list[float] = []

    def client(address: str, end: float) -> None:
        with httpx.Client(timeout=300) as session:
            while True:
                sent = [("sources", (f"{number}.png", data)) for number, data in enumerate(pair)]
                since = time.monotonic()
                answer = session.post(f"{address}/v1/fuse", files=sent)
                answers[answer.status_code] += 1
                if answer.status_code == 429:
                    time.sleep(min(5, int(answer.headers["retry-after"])))
                else:
                    seconds.append(time.monotonic() - since)
                if time.monotonic() > end:
                    return

    with served() as address:
        for _ in range(3):  # what is loaded with the first pictures stays
            client(address, end=0)
        before = figure(address, "resident_bytes")
        answers.clear()
        seconds.clear()
        end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=client, args=(address, end)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 2)
        workers = [
            each for each in psutil.Process().children(recursive=True) if "defusion.serve.work" in each.cmdline()
        ]
        os.kill(max(workers, key=lambda each: each.cpu_times().user).pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert answers.keys() <= {200, 429}, answers
        assert answers[200] > 0
        for _ in range(3):
            client(address, end=0)
        after = figure(address, "resident_bytes")
        assert figure(address, "worker_restarts_total") == 1
        assert figure(address, "stored_bytes") < 100
    print(f"{dict(answers)}, 95 % of accepted jobs within {np.percentile(seconds, 95):.1f} s, ", end="")
    print(f"{before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after")
    assert after < 1.1 * before
