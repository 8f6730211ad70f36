"""Runs the command in a process of its own, as a user does, without the second in which it imports its libraries.

Each process is forked from one that has imported them and has done nothing else. Tests of the imports start
`python -m defusion`.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from unittest.mock import patch

#: Signals that the command answers.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

#: What `fuse`, `decompose` and `align` import before they have read a picture.
IMPORTED = (
    *("PIL.PngImagePlugin", "cv2", "imagecodecs", "numpy.random", "psutil", "typer._adapters"),
    *("defusion.api.fuser", "defusion.cli.progress", "defusion.runtime.compiled", "defusion.runtime.openvino_engine"),
    *("defusion.runtime.pyramid_graph", "defusion.runtime.vino"),
)


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `defusion` with some arguments; by default in this process's folder."""
    words = list(map(str, arguments))
    if not hasattr(os, "fork"):
        return subprocess.run([sys.executable, "-m", "defusion", *words], capture_output=True, text=True, cwd=cwd)
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        asked = {"words": words, "cwd": str(cwd or Path.cwd()), "env": dict(os.environ), "said": [str(out), str(err)]}
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `defusion` in this process: `train` imports for seconds what other tests have imported."""
    from defusion.cli import main

    words, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    handlers = {each: signal.getsignal(each) for each in _SIGNALS}
    code: object = 0
    try:
        with patch.object(sys, "argv", ["defusion", *words]), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    return subprocess.CompletedProcess(words, int(str(code or 0)), out.getvalue(), err.getvalue())


@cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _serve() -> None:
    """Forks a process for each line; a line of its own answers with the exit code. Returns in the forked process."""
    import importlib

    for name in IMPORTED:
        importlib.import_module(name)
    while line := sys.stdin.readline():
        process = os.fork()
        if process == 0:
            return _become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    sys.exit()


def _become(words: list[str], cwd: str, env: dict[str, str], said: list[str]) -> None:
    for number, name in enumerate((os.devnull, *said)):
        opened = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["defusion", *words]


if __name__ == "__main__":
    _serve()
    from defusion.cli import main

    main()
