"""What the long tests share: the command in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def served(*options: str) -> Iterator[str]:
    """Runs `defusion serve`, gives its address when a network is loaded, and ends it."""
    command = [sys.executable, "-m", "defusion", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next(found[0] for line in process.stderr if (found := re.search(r"http://[\w.:]+", line)))
        _wait_until_ready(address)
        yield address
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stderr.close()


def _wait_until_ready(address: str) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/readyz").close()
            return
        except urllib.error.HTTPError:
            assert time.monotonic() < end, "the service is not ready after two minutes"
            time.sleep(0.1)
