"""A worker process: `python -m defusion.serve.work START`. Tasks and answers are lines of JSON.

A task names its kind and files: `{"work": "fuse", ...}`. The answers are any number of `{"progress": FRACTION}`, then
`{"done": FACTS}` or `{"failed": KIND, "detail": SENTENCE}`. At the start, one `{"done": {}}` says that the worker is
ready.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TextIO

from defusion.api.options import Options
from defusion.errors import DefusionError
from defusion.imaging.decoded import PixelsError, limit_pixels
from defusion.serve.store import without_paths
from defusion.system.machine import give_memory_back

if TYPE_CHECKING:
    from defusion.api.fuser import Fuser
    from defusion.tiles.progress import FusingProgress

Tell = Callable[[float], None]

#: Fraction of the progress of a stack that looking at its frames counts for.
_LOOKING = 0.2


def main() -> None:
    """Works until stdin ends, which means that the service has ended; then deletes the service's folder."""
    start = json.loads(sys.argv[1])
    _limit_memory(start["memory_bytes"])
    _share_cores(start["number"], start["workers"])
    limit_pixels(start["picture_pixels"])
    give_memory_back()
    answers = _only_ours()
    tasks: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(tasks, start["folder"]), daemon=True).start()
    if start["fuses"]:
        _warm_up(Options(**start["arguments"]))
    _answer(answers, {"done": {}})
    while True:
        task = tasks.get()
        _answer(answers, _worked(task, start["arguments"], lambda part: _answer(answers, {"progress": part})))


def _worked(task: dict[str, Any], arguments: dict[str, str], tell: Tell) -> dict[str, Any]:
    """Does a task, and returns its outcome."""
    try:
        return {"done": _WORKS[task.pop("work")](task, arguments, tell)}
    except PixelsError as error:
        return _failed("large", str(error))
    except DefusionError as error:
        return _failed("large" if _lacks_memory(error) else "bad", str(error))
    except MemoryError:
        return _failed("large", "this takes more memory than a job may have; send smaller or fewer pictures")
    except Exception:
        return {"failed": "internal", "detail": traceback.format_exc()}


def _fuse(task: dict[str, Any], arguments: dict[str, str], tell: Tell) -> dict[str, Any]:
    from defusion.serve.sentence import sentence

    options = Options(**{**arguments, **task["arguments"]})
    fuser = _loaded(options.network())
    maps = task.get("maps") if fuser.weights.config.heads == ("pyramid",) else None
    made = fuser.fuse_files(task["sources"], task["output"], report=_telling(tell), maps=maps, **options.of_scene())
    facts = {name: value for name, value in made.facts.items() if name != "output"}
    if maps is not None:
        facts["frames"] = json.loads(Path(made.facts["maps"]["facts"]).read_text("utf-8"))["frames"]
    return dict(_scrubbed({**facts, "sentence": sentence(facts)}))


def _decompose(task: dict[str, Any], arguments: dict[str, str], tell: Tell) -> dict[str, Any]:
    from defusion.api.sources import frames_of
    from defusion.imaging import write

    options = Options(**{**arguments, **task["arguments"]})
    frames = [frame.kept() for frame in frames_of(task["sources"])]
    decomposed = _loaded(options.network()).decompose_frames(frames, **options.of_scene())
    tell(0.8)
    notes = list(decomposed.notes)
    for name, output in task["outputs"].items():
        notes += write(output, getattr(decomposed.parts, name))
    return dict(_scrubbed({"sources": 2, **decomposed.facts(), "notes": notes}))


def _align(task: dict[str, Any], arguments: dict[str, str], tell: Tell) -> dict[str, Any]:
    from defusion.api.align import align_files

    made = align_files(task["sources"], task["folder"], model=task["arguments"].get("align", "auto"))
    facts = {"sources": len(task["sources"]), "alignment": made.alignment.facts(), "notes": list(made.notes)}
    return dict(_scrubbed({**facts, "files": [output.name for output in made.outputs]}))


def _look(task: dict[str, Any], arguments: dict[str, str], tell: Tell) -> dict[str, Any]:
    from defusion.serve.look import look

    return look(Path(task["source"]), Path(task["thumbnail"]), Path(task["preview"]))


def _spread(task: dict[str, Any], arguments: dict[str, str], tell: Tell) -> dict[str, Any]:
    from defusion.serve.look import spread

    return spread(Path(task["source"]), Path(task["levels"]))


def _example(task: dict[str, Any], arguments: dict[str, str], tell: Tell) -> dict[str, Any]:
    from defusion.demo import demo_pairs
    from defusion.imaging import write

    for output, picture in zip(task["outputs"], demo_pairs()[task["name"]](), strict=True):
        write(output, picture)
    return {}


_WORKS: dict[str, Callable[[dict[str, Any], dict[str, str], Tell], dict[str, Any]]] = {
    "fuse": _fuse,
    "decompose": _decompose,
    "align": _align,
    "look": _look,
    "spread": _spread,
    "example": _example,
}


@lru_cache(maxsize=2)
def _loaded(network: Options) -> Fuser:
    from defusion.api.fuser import Fuser

    return Fuser(network)


def _warm_up(options: Options) -> None:
    """Loads and compiles the network, so that the first client does not wait for it."""
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    _loaded(options.network()).fuse([noise, noise // 2])  # like two exposures, which can be aligned


def _telling(tell: Tell) -> Callable[[FusingProgress], None]:
    """Combines the progress of looking at frames and of fusing rows into one fraction."""

    def report(progress: FusingProgress) -> None:
        if not progress.of_rows:
            tell(_LOOKING * progress.frame / progress.frames)
        else:
            looked = _LOOKING if progress.frames > 1 else 0.0
            tell(looked + (1 - looked) * progress.rows / progress.of_rows)

    return report


def _scrubbed(facts: Any) -> Any:
    """Removes the folders from all file names in facts, in keys, too."""
    if isinstance(facts, dict):
        return {_scrubbed(name): _scrubbed(value) for name, value in facts.items()}
    if isinstance(facts, list):
        return [_scrubbed(each) for each in facts]
    return without_paths(facts) if isinstance(facts, str) else facts


def _failed(kind: str, detail: str) -> dict[str, Any]:
    return {"failed": kind, "detail": without_paths(detail)}


def _lacks_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or re.search(r"\bmemory\b", str(error)):
            return True
        error = error.__cause__
    return False


def _limit_memory(most: int) -> None:
    """Limits this process's memory where the system can. An allocation then fails with an error, which is better than
    being killed.
    """
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _share_cores(number: int, workers: int) -> None:
    """Limits this process to its share of the cores where the system can, because engines start a thread for each
    core.
    """
    if workers > 1 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number % len(cores) :: workers] or cores)


def _only_ours() -> TextIO:
    """Keeps stdout for answers: what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _lines() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _listen(tasks: SimpleQueue[dict[str, Any]], folder: str) -> None:
    for task in _lines():
        tasks.put(task)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
