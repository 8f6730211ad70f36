"""README and docs: links lead somewhere, commands parse, and blocks of Python run on small pictures."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from defusion import Rig
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
    for target, heading in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if "://" not in target:
            linked = page.parent / target if target else page
            assert linked.exists(), f"{name(page)}: {target}"
            assert not heading or heading in headings(linked), f"{name(page)}: {target}#{heading}"


def headings(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    named = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in named}


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


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small pictures under the names that the pages use; it is the current folder."""
    rng = np.random.default_rng(0)
    scene = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)[..., None] + rng.integers(0, 60, (48, 64, 3))

    def write(name: str, *, grey: bool = False) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shown = np.clip(scene + rng.integers(-5, 6, scene.shape), 0, 255).astype(np.uint8)
        Image.fromarray(shown[..., 0] if grey else shown).save(tmp_path / name)

    for stem in ("near", "far"):
        write(f"{stem}.png")
        write(f"{stem}.tif")
    for stem in ("a", "b", "c", "d", "visible", "FLIR0012"):
        write(f"{stem}.jpg")
    for stem in ("visible", "photo", "over", "under", "fused", "truth", "a", "b"):
        write(f"{stem}.png")
    write("thermal.png", grey=True)
    Image.fromarray(scene[..., 0].astype(np.float32) / 8 + 20).save(tmp_path / "ir.tif")
    for folder in ("hand-held", "street", "stack", "red", "retouched", "ROOT/one", "ROOT/two"):
        for number in range(3):
            write(f"{folder}/{number}.jpg")
            write(f"{folder}/{number}.tif")
    for number in (1, 2):
        write(f"{number}_ir.png", grey=True)
        write(f"{number}_vis.png")
    (tmp_path / "scenes.csv").write_text("scene,sources\none,a.jpg;b.jpg\n")
    (tmp_path / "OUT").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


WITH_PYTHON = [page for page in PAGES if any(kind == "python" for kind, _ in blocks(page))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_blocks_of_python_run(page: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.name == "video.md":
        _cameras_and_clips(monkeypatch)
    scope: dict[str, object] = {name: np.asarray(Image.open(f"{name}.png")) for name in ("a", "b")}
    for kind, block in blocks(page):
        if kind == "python" and "__main__" in block:  # processes import the file
            Path("script.py").write_text(block)
            done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count(" done ") == 2
        elif kind == "python":
            exec(compile(block, name(page), "exec"), scope)


def _cameras_and_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has OpenCV read one frame of two cameras, and writes the clips and the rig that the page names."""
    import cv2

    from defusion.video.film import CODECS, Segment, joined

    class Camera:
        def __init__(self, place: object) -> None:
            self.left = 1

        def set(self, *_: object) -> None: ...

        def read(self) -> tuple[bool, object]:
            self.left -= 1
            return self.left >= 0, np.full((48, 64, 3), 90, np.uint8)

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(cv2, "imshow", lambda *_: None)
    monkeypatch.setattr(cv2, "waitKey", lambda *_: 0)
    for stem in ("ir", "visible"):
        segment = Segment(Path("part.nut"), CODECS["h264"], 8, 48, 64, Fraction(25), (2, 2))
        for number in range(2):
            segment.add(Fraction(number, 25), np.asarray(Image.open("a.png"), np.float32) / 255)
        segment.close()
        joined([Path("part.nut")], Path(f"{stem}.mp4"), ".mp4", None, Fraction(0), Fraction(1))
    Rig.of(np.eye(3), thermal=(48, 64), visible=(48, 64)).save("rig.json")


#: Commands that a test does not run: they serve, take minutes, or need what a reader has; and tests that run them.
ELSEWHERE = {
    "serve": "tests/serve/test_command.py",
    "train": "tests/training/test_run.py",
    "evaluate": "tests/evaluation/test_command.py",
    "explain": "tests/evaluation/test_explain.py",
    "export": "tests/test_export.py",
    "weights": "tests/weights/test_convert.py",
    "video": "tests/video/test_run.py",
    "rig": "tests/scene/test_rig.py",
}


def test_commands_of_the_pages_run(files: Path) -> None:
    from typer.testing import CliRunner

    ran = 0
    for page, (_, *words) in command_lines():
        if words[0] in ELSEWHERE or {"--rig", "--scheduler", "--watch", "--group", "OURS.safetensors"} & set(words):
            assert (HOUSE / ELSEWHERE.get(words[0], "tests/batch")).exists()
            continue
        found = [each for word in words for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        done = CliRunner().invoke(app, found)
        assert done.exit_code == 0, f"{page}: defusion {' '.join(words)}: {done.output}"
        ran += 1
    assert ran > 15
