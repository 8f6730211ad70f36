"""Reads and writes weights files, and finds those that the package ships."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.errors import WeightsError
from defusion.model.config import NetworkConfig, PyramidConfig, config_from_dict
from defusion.system.files import beside

SUFFIX = ".safetensors"
DEFAULT = "pyramid"

_METADATA_KEY = "defusion"


@dataclass(frozen=True)
class WeightsFile:
    """A weights file whose header has been read and checked."""

    path: Path
    config: NetworkConfig | PyramidConfig
    about: dict[str, Any]
    """Recipe, data, hardware, results, licence: what the writer said of the weights."""
    sha256: str
    """Of the tensors: names, dtypes, shapes and bytes, in the order of their names."""

    @classmethod
    def open(cls, path: str | Path) -> WeightsFile:
        """Reads the header of a weights file.

        Raises:
            WeightsError: The file does not exist, is not safetensors, or was not written by defusion.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise WeightsError(f"{path}: no such weights file; `defusion weights list` shows those that are there")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = (file.metadata() or {}).get(_METADATA_KEY)
        except SafetensorError as error:
            raise WeightsError(
                f"{path}: not a safetensors file ({error}); a published .pth file becomes one by "
                f"`defusion weights convert {path.name} -o NAME{SUFFIX}`"
            ) from error
        if metadata is None:
            raise WeightsError(
                f"{path}: a safetensors file, but without defusion's metadata; expected one that "
                f"`defusion train` or `defusion weights convert` wrote"
            )
        try:
            header = json.loads(metadata)
            return cls(path, config_from_dict(header["config"]), header["about"], header["sha256"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise WeightsError(
                f"{path}: cannot make sense of defusion's metadata ({error}); was it written by a newer defusion?"
            ) from error

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Reads all tensors as float32, whatever they are on disk.

        Raises:
            WeightsError: The tensors do not match the SHA-256 in the header.
        """
        from safetensors.numpy import load_file

        try:
            stored = load_file(self.path)
        except OSError as error:
            raise WeightsError(f"{self.path}: was removed after it was opened ({error.strerror or error})") from error
        if _digest(stored) != self.sha256:
            raise WeightsError(
                f"{self.path}: the tensors do not match their SHA-256: the file is damaged, or was replaced after it "
                "was opened; copy it again, or load it again"
            )
        return {key: np.asarray(value, np.float32) for key, value in stored.items()}

    def card(self) -> str | None:
        """Returns the model card that stands beside the file, as Markdown, if there is one."""
        card = self.path.with_suffix(".md")
        return card.read_text(encoding="utf-8") if card.is_file() else None


def save(
    path: str | Path,
    tensors: Mapping[str, NDArray[Any]],
    config: NetworkConfig | PyramidConfig,
    about: Mapping[str, Any],
) -> WeightsFile:
    """Writes a weights file. It appears complete or not at all.

    Args:
        path: File to write; an existing one is replaced.
        tensors: The network's tensors, float32 or float16, by name.
        config: The network that they belong to.
        about: JSON data for `WeightsFile.about`.
    """
    from safetensors.numpy import save as to_bytes

    path = Path(path)
    contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    header = {"config": config.to_dict(), "about": dict(about), "sha256": _digest(contiguous)}
    content = to_bytes(contiguous, {_METADATA_KEY: json.dumps(header)})
    try:
        with beside(path) as part:
            part.write_bytes(content)  # safetensors' own writing would hide the file from everyone else
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error
    return WeightsFile.open(path)


def bundled() -> dict[str, Path]:
    """Returns the weights files that the package ships, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob(f"*{SUFFIX}"))}


def resolve(weights: str | Path | None) -> Path:
    """Returns the file that a user means: a bundled name, a path, or the default for None."""
    name = DEFAULT if weights is None else str(weights)
    shipped = bundled()
    if name in shipped:
        return shipped[name]
    if Path(name).suffix == SUFFIX or Path(name).exists():
        return Path(name)
    raise WeightsError(f"no weights are named {name!r}; expected one of {', '.join(shipped)} or a {SUFFIX} file")


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {value.dtype} {value.shape}\n".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
