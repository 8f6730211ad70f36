"""Compiled graphs, kept between runs. They are only used if this user wrote them.

The name of a file is a hash of everything that its graph depends on. The file holds a digest of that name and of the
graph, and OpenVINO gets exactly the bytes that were checked. OpenVINO's own cache is not used: it maps a file without
checking its bytes, and two processes that start together can read a half-written one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from defusion.system.cache import CacheError, check_own, tell, trusted_folder
from defusion.system.files import beside
from defusion.system.machine import processor

_START = b"defusion graph 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size


def compiled(core: Any, model: Any, options: Mapping[str, Any]) -> Any:
    """Compiles a graph for the CPU, or takes it from the cache.

    If anything is wrong with the cache, the graph is compiled as if there were no cache; `system.cache.faults` says
    what was wrong.

    Args:
        core: OpenVINO's core.
        model: The graph.
        options: Properties to compile it with.
    """
    options = dict(options)
    try:
        file = trusted_folder("openvino") / f"{_key(model, options)}.blob"
    except CacheError as fault:
        tell(str(fault))
        return core.compile_model(model, "CPU", options)
    try:
        return core.import_model(_checked(file), "CPU", options)
    except FileNotFoundError:
        pass
    except (CacheError, OSError, RuntimeError) as fault:  # RuntimeError comes from OpenVINO
        tell(f"a graph was compiled again, because the cached one cannot be used: {fault}")
        with suppress(OSError):  # if it is a link, this removes the link and not its target
            file.unlink()
    made = core.compile_model(model, "CPU", options)
    blob = made.export_model().read()
    try:
        with beside(file) as place:
            place.write_bytes(_START + _digest(file, blob) + blob)
            place.chmod(0o600)
    except OSError as error:
        tell(f"a compiled graph cannot be kept in {file.parent} ({error.strerror or error})")
    return made


def damaged(folder: Path) -> list[str]:
    """Returns what is wrong with the compiled graphs in a folder, one sentence each."""
    found = []
    for file in sorted(folder.glob("*.blob")):
        try:
            _checked(file)
        except (CacheError, OSError) as fault:
            found.append(str(fault))
    return found


def _checked(file: Path) -> bytes:
    """Reads a compiled graph, after checking that it is complete and belongs to this user.

    Raises:
        CacheError: It is not.
        OSError: The file does not exist or cannot be read.
    """
    check_own(file, stat.S_IFREG)
    opened = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(opened, "rb") as stream:
        content = stream.read()
    blob = content[len(_START) + _DIGEST_BYTES :]
    if content != _START + _digest(file, blob) + blob:
        raise CacheError(f"{file} is damaged")
    return blob


def _digest(file: Path, blob: bytes) -> bytes:
    """Returns the digest of a graph and its name. The name counts, since a good graph under another name is just as
    wrong as a damaged one.
    """
    return hashlib.sha256(file.name.encode() + b"\n" + blob).digest()


def _key(model: Any, options: Mapping[str, Any]) -> str:
    """Returns a hash of a graph, of how it is compiled, and of the versions and the processor."""
    digest = hashlib.sha256(repr((sorted(options.items()), *_machine())).encode())
    numbers: dict[str, int] = {}
    for node in model.get_ordered_ops():
        numbers[node.get_name()] = len(numbers)
        froms = [(numbers[each.get_node().get_name()], each.get_index()) for each in map(_source, node.inputs())]
        outs = [
            (str(each.get_partial_shape()), str(each.get_element_type()), sorted(each.get_names()))
            for each in node.outputs()
        ]
        constant = node.get_type_name() == "Constant"
        facts = {} if constant else node.get_attributes()
        digest.update(repr((node.get_type_name(), sorted(facts.items()), froms, outs)).encode())
        if constant:
            digest.update(node.data.tobytes())
    return digest.hexdigest()


def _source(port: Any) -> Any:
    return port.get_source_output()


@cache
def _machine() -> tuple[str, ...]:
    from defusion.runtime.vino import get_version

    return get_version(), processor()
