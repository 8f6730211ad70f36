"""Methods that are measured: our network, methods without a network, folders of pictures by others, and commands.

Each has a name, as in tables, and a fingerprint of everything but the sources that its pictures depend on. While that
stays the same, pictures of an earlier run are still valid.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

import defusion
from defusion.api.fuser import Fuser
from defusion.api.sources import frames_of
from defusion.errors import EvaluationError
from defusion.evaluation.baselines import BASELINES, Pixels
from defusion.evaluation.datasets import PICTURE_SUFFIXES, DataSet
from defusion.evaluation.results import EvaluationScene
from defusion.imaging import Picture, read, write
from defusion.imaging.samples import converted
from defusion.weights import WeightsFile, resolve

DEFAULT_METHODS = ("defusion", "average", "mertens", "laplacian", "detail")

#: A command that takes longer for one scene has failed.
COMMAND_LIMIT_S = 600.0

#: Fixed, so that numbers are the same on all machines.
_PRECISION = "float32"

#: Packages that call the code that fuses. No picture depends on them. All others count, including new ones.
_FACES = ("batch", "cli", "evaluation", "pretext", "serve", "training", "video")

#: The code that pictures of baselines depend on.
_BASELINES = ("evaluation/baselines.py", "evaluation/methods.py", "imaging/*.py")

Fuse = Callable[[EvaluationScene, Path], None]
"""Makes the fused picture of a scene and writes it to a path that ends in `.png`."""


@dataclass(frozen=True)
class Network:
    """Our network, as users run it, with weights of their choice."""

    name: str
    weights: WeightsFile

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and the code."""
        return f"network {self.weights.sha256} {_PRECISION} {code_fingerprint(*fusing_files())}"

    def load(self) -> Fuse:
        """Loads the network."""
        # Metrics compare with the sources as they are, so they are not aligned.
        fuser = Fuser(weights=self.weights.path, precision=_PRECISION, align="off")

        def fuse(scene: EvaluationScene, out: Path) -> None:
            medical = scene.kind == "medical"  # its colours show activity (PET, SPECT), not temperature
            frames = [frame._replace(true_colours=medical) for frame in frames_of(scene.sources)]
            _write(out, fuser.fuse_frames(frames).picture())

        return fuse


@dataclass(frozen=True)
class Baseline:
    """A method of `BASELINES`."""

    name: str
    baseline: str

    @property
    def fingerprint(self) -> str:
        """Hash of the method and the code."""
        return f"baseline {self.baseline} {code_fingerprint(*_BASELINES)}"

    def fuse(self, scene: EvaluationScene, out: Path) -> None:
        """Makes the fused picture of a scene.

        Raises:
            EvaluationError: The sources differ in size.
        """
        a, b = (read(source) for source in scene.sources)
        if a.size_text != b.size_text:
            raise EvaluationError(f"the sources are {a.size_text} and {b.size_text}; expected one size")
        channels = 1 if a.grey and b.grey else 3
        sources: list[Pixels] = [each.pixels[..., :channels] for each in (a, b)]
        fused = BASELINES[self.baseline](*sources)
        # Ties are rounded up, as in the toolkits. Half of all means of two levels are ties. Rounding them to even, as
        # the network's pictures are rounded, would leave every other level empty, and the average would lose .1 bit
        # of entropy.
        samples = np.floor(np.clip(fused, 0, 1) * np.float32(255) + np.float32(0.501)).astype(np.uint8)
        write(out, Picture(samples))


@dataclass(frozen=True)
class Command:
    """A command line that fuses two files into a third."""

    name: str
    line: str
    """The command. {a} and {b} stand for the sources, {out} for the picture, a PNG."""

    @property
    def fingerprint(self) -> str:
        """The text of the command. The program that it calls is not examined."""
        return f"command {self.line}"

    def fuse(self, scene: EvaluationScene, out: Path) -> None:
        """Runs the command, without a shell.

        Raises:
            EvaluationError: The command cannot be started, ends with a code other than 0, takes too long or writes no
                picture.
        """
        with tempfile.TemporaryDirectory(prefix=".command-", dir=out.parent) as folder:
            made = Path(folder) / "out.png"
            paths = {"a": scene.sources[0].resolve(), "b": scene.sources[1].resolve(), "out": made.resolve()}
            words = [
                re.sub(r"\{(a|b|out)\}", lambda key: str(paths[key[1]]), word) for word in shlex.split(self.line)
            ]
            try:
                done = subprocess.run(
                    words, capture_output=True, text=True, errors="replace", timeout=COMMAND_LIMIT_S, check=False
                )
            except subprocess.TimeoutExpired:
                raise EvaluationError(f"the command took more than {COMMAND_LIMIT_S:.0f} s") from None
            except OSError as error:
                raise EvaluationError(f"{words[0]} cannot be started: {error.strerror or error}") from error
            if done.returncode:
                said = done.stderr.strip().splitlines()
                raise EvaluationError(said[-1] if said else f"the command ended with code {done.returncode}")
            if not made.is_file():
                raise EvaluationError("the command ended with code 0, but wrote no picture to {out}")
            made.replace(out)


@dataclass(frozen=True)
class PictureFolder:
    """A folder of fused pictures that were made elsewhere."""

    name: str
    folder: Path

    def find(self, data_set: DataSet) -> dict[str, Path]:
        """Finds the pictures for the scenes of a data set.

        Returns:
            Pictures by scene. A scene is left out if its picture is missing or if several match.
        """
        return {scene: files[0] for scene, files in self.fitting(data_set).items() if len(files) == 1}

    def fitting(self, data_set: DataSet) -> dict[str, list[Path]]:
        """Finds the pictures that match each scene: in a folder with the data set's name if there is one, else in the
        folder itself.

        A picture matches a scene if its name is the scene's, or begins or ends with it, separated by `_` or `-`. If
        several match, one that has nothing but this method's name besides the scene's is preferred. A name that
        matches several scenes belongs to the longest.

        Returns:
            Pictures by scene: one if it is clear, none if it is missing, otherwise all that match.
        """
        folders = [
            each for each in self.folder.iterdir() if each.is_dir() and each.name.lower() == data_set.name.lower()
        ]
        candidates: dict[str, list[tuple[str, Path]]] = {}
        scenes = sorted((scene.name for scene in data_set.scenes), key=len, reverse=True)
        for file in sorted((folders or [self.folder])[0].iterdir()):
            if file.suffix.lower() in PICTURE_SUFFIXES:
                for scene in scenes:
                    if (beside := _beside(file.stem.lower(), scene.lower())) is not None:
                        candidates.setdefault(scene, []).append((beside, file))
                        break
        found = {}
        for scene, files in candidates.items():
            exact = [file for beside, file in files if beside in ("", self.name.lower())]
            found[scene] = exact if len(exact) == 1 else [file for _, file in files]
        return found


Method = Network | Baseline | Command | PictureFolder


def parse_methods(given: Sequence[str]) -> list[Method]:
    """Parses methods as users write them.

    Args:
        given: `defusion`, `defusion@WEIGHTS` or a name of `BASELINES`, several separated by commas; `NAME=METHOD` to
            rename one of these; `NAME=FOLDER` for pictures; `NAME=COMMAND` for a command line with {a}, {b}, {out}.

    Raises:
        EvaluationError: A method or folder does not exist, or two methods have one name.
        WeightsError: The weights do not exist.
    """
    methods = [
        _method(word) for each in given for word in ([each] if "=" in each else each.split(",")) if word.strip()
    ]
    for name, count in Counter(method.name.lower() for method in methods).items():
        if count > 1:
            raise EvaluationError(f"{count} methods are called {name!r}; rename one by NAME=...")
    return methods


def _method(word: str) -> Method:
    name, equals, what = (part.strip() for part in word.partition("="))
    if not equals:
        what = name
    elif "," in name:
        raise EvaluationError(f"{word}: a method written with = needs a --methods option of its own")
    if re.fullmatch(r"defusion(@.+)?", what):
        return _network(name if equals else "", what)
    if what in BASELINES:
        return Baseline(name, what)
    if equals and "{out}" in what:
        return Command(name, what)
    if equals and Path(what).is_dir():
        return PictureFolder(name, Path(what))
    if equals:
        raise EvaluationError(
            f"{word}: expected a folder of pictures, or a command line with {{a}}, {{b}} and {{out}}"
        )
    known = ", ".join(("defusion", "defusion@WEIGHTS", *BASELINES))
    raise EvaluationError(f"there is no method {what!r}; expected {known}, NAME=FOLDER or NAME=COMMAND")


def _network(name: str, what: str) -> Network:
    ours, at, weights = what.partition("@")
    file = WeightsFile.open(resolve(weights if at else None))
    return Network(name or ours + (f"@{file.path.stem}" if at else ""), file)


def _beside(stem: str, scene: str) -> str | None:
    """Returns what a file's name has besides a scene's name; None if it does not match that scene."""
    if stem == scene:
        return ""
    if stem.startswith((f"{scene}_", f"{scene}-")):
        return stem[len(scene) + 1 :]
    if stem.endswith((f"_{scene}", f"-{scene}")):
        return stem[: -len(scene) - 1]
    return None


def _write(out: Path, picture: Picture) -> None:
    """Writes a picture with 8 bits and without profile, as all pictures are measured."""
    samples: NDArray[np.uint8] = converted(picture.samples[:, :], np.uint8)
    write(out, Picture(samples))


def file_name(name: str) -> str:
    """Returns a name with all characters escaped that file names cannot have: `defusion@a/b` becomes
    `defusion%40a%2Fb`.
    """
    quoted = quote(name, safe=" +")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


@cache
def fusing_files() -> list[str]:
    """Returns the files of this package that a fused picture may depend on, including this one."""
    package = Path(defusion.__file__).parent
    names = (file.relative_to(package) for file in package.rglob("*.py"))
    return ["evaluation/methods.py", *(name.as_posix() for name in names if name.parts[0] not in _FACES)]


def code_fingerprint(*patterns: str) -> str:
    """Returns a SHA-256 of files of this package, so that results become invalid when their code changes."""
    package = Path(defusion.__file__).parent
    digest = sha256()
    for file in sorted({file for pattern in patterns for file in package.glob(pattern)}):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()
