"""Folders that grow: when to look again, and which files are complete."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from defusion.batch.places import stamp
from defusion.batch.scenes import BatchScene

#: Seconds for which a file has to stay unchanged to count as complete.
SETTLE_S = 2.0

#: Seconds between looks if no change is reported. File systems such as NFS report none.
LOOK_S = 5.0


class Settling:
    """Tracks which sources have stopped changing. It uses this machine's clock only."""

    def __init__(self, settle_s: float = SETTLE_S) -> None:
        self.settle_s = settle_s
        self.waits = False
        """Some sources are still changing."""
        self._seen: dict[str, tuple[str, float]] = {}

    def settled(self, scenes: Sequence[BatchScene]) -> list[BatchScene]:
        """Returns the scenes with at least two sources, all of which exist and have stopped changing."""
        standing = {source for scene in scenes for source in scene.sources if self._stands(source)}
        ready = [scene for scene in scenes if len(scene.sources) > 1 and standing.issuperset(scene.sources)]
        self.waits = len(ready) < len(scenes)
        return ready

    def _stands(self, source: str) -> bool:
        now, found = time.monotonic(), stamp(source)
        before, since = self._seen.get(source, ("", now))
        if found != before:
            since = now
            self._seen[source] = found, now
        return found != "absent" and now - since >= self.settle_s


def changes(folders: Sequence[Path], settling: Settling, stop: Event) -> Iterator[None]:
    """Yields at once, and then each time that something in the folders may have changed, until `stop` is set."""
    from watchfiles import watch

    look_ms = int(min(settling.settle_s / 2, LOOK_S) * 1000)
    told = watch(*folders, stop_event=stop, rust_timeout=look_ms, yield_on_timeout=True) if folders else None
    looked = float("-inf")
    while not stop.is_set():
        if settling.waits or time.monotonic() - looked >= LOOK_S:
            looked = time.monotonic()
            yield
        if told is None:
            stop.wait(look_ms / 1000)
        elif next(told, None):
            looked = float("-inf")
