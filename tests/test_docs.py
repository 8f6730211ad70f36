"""README and docs: links lead somewhere, commands parse, and blocks of Python run on small pictures."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from defusion.cli import app

HOUSE = Path(__file__).parents[1]
PAGES = [*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md"), *HOUSE.glob("benchmarks/*.md")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield found[1], found[2]


def name(page: Path) -> str:
    return str(page.relative_to(HOUSE))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name(page)}: {target}"


def command_lines() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for kind, block in blocks(page):
            for line in block.replace("\\\n", " ").splitlines() if kind in ("", "console", "sh", "bash") else ():
                words = line.removeprefix("$ ").strip()
                if words.startswith("defusion "):
                    yield name(page), shlex.split(words, comments=True)


def test_commands_in_docs_exist_with_their_options() -> None:
    """They are parsed, not run: the files that they name are the reader's."""
    seen = 0
    for page, (_, *words) in command_lines():
        known = options_of(words)
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{page}: {' '.join(words)}: {word}"
        seen += 1
    assert seen > 20


def options_of(words: list[str]) -> set[str]:
    """The options of the command that some words begin with, as its help lists them."""
    from typer.testing import CliRunner

    group = typer.main.get_command(app)
    path: list[str] = []
    for word in words:
        inner = getattr(group, "commands", {}).get(word)
        if inner is None:
            break
        group = inner
        path.append(word)
    assert path or words[0].startswith("-"), words
    key = " ".join(path)
    if key not in _KNOWN:
        said = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "300", "TERM": "dumb"}).output
        _KNOWN[key] = set(re.findall(r"--[a-z][a-z-]*", said)) | {"--install-completion", "--version"}
    return _KNOWN[key]


_KNOWN: dict[str, set[str]] = {}


@pytest.mark.parametrize("page", [HOUSE / "README.md", HOUSE / "docs" / "python.md"], ids=name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_blocks_of_python_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(2))
    for stem, array in (("near", a), ("far", b)):
        Image.fromarray(array).save(tmp_path / f"{stem}.png")
        Image.fromarray(array).save(tmp_path / f"{stem}.tif")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"a": a, "b": b}
    ran = 0
    for kind, block in blocks(page):
        if kind == "python":
            exec(compile(block, name(page), "exec"), scope)
            ran += 1
    assert ran
