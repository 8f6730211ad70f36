"""The queue: who may ask for more, what is told while a job runs, what is kept how long."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")

from defusion.serve.answers import events, job_facts
from defusion.serve.jobs import Jobs
from defusion.serve.metrics import Metrics
from defusion.serve.options import RequestOptions
from defusion.serve.problem import Problem
from defusion.serve.settings import Limits
from defusion.serve.store import PictureStore, file_name, sweep, without_paths
from defusion.serve.workers import Pool

ASKED = RequestOptions({}, ".png")


class HeldPool:
    """Tasks wait until they are let go, as if a network worked at them."""

    seconds = 3.0

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def run(self, task: dict[str, Any], heard: Callable[[float], None], begun: Callable[[], None]) -> Any:
        begun()
        heard(0.5)
        await self.go.wait()
        Path(task["output"]).write_bytes(b"fused")
        return {"sentence": "Fused"}


def run(limits: Limits, use: Callable[[PictureStore, Jobs, HeldPool], Awaitable[None]]) -> None:
    async def opened() -> None:
        store, pool = PictureStore(limits), HeldPool()
        jobs = Jobs(store, cast(Pool, pool), Metrics())
        try:
            await use(store, jobs, pool)
        finally:
            await jobs.close()
            store.close()
            assert not store.folder.exists()

    asyncio.run(opened())


def picture(store: PictureStore) -> Any:
    file = store.new_folder() / "a.png"
    file.write_bytes(b"picture")
    return store.add(file)


def test_a_client_with_many_jobs_is_asked_to_wait() -> None:
    async def use(store: PictureStore, jobs: Jobs, pool: HeldPool) -> None:
        pair = [picture(store), picture(store)]
        for _ in range(2):
            jobs.begin("fuse", "a", pair, ASKED)
        with pytest.raises(Problem, match="2 of your jobs wait or run") as told:
            jobs.begin("fuse", "a", pair, ASKED)
        assert told.value.status == 429 and int(told.value.headers["Retry-After"]) >= 1
        other = jobs.begin("fuse", "b", pair, ASKED)
        pool.go.set()
        assert other.task is not None
        await other.task
        jobs.begin("fuse", "a", pair, ASKED)

    run(replace(Limits(), client_jobs=2), use)


def test_a_full_queue_is_told() -> None:
    async def use(store: PictureStore, jobs: Jobs, pool: HeldPool) -> None:
        pair = [picture(store), picture(store)]
        jobs.begin("fuse", "a", pair, ASKED)  # waits: no other task has run yet
        with pytest.raises(Problem, match="1 jobs wait") as told:
            jobs.begin("fuse", "b", pair, ASKED)
        assert told.value.status == 429 and "Retry-After" in told.value.headers

    run(replace(Limits(), queue=1), use)


def test_news_of_a_job_say_how_long_it_takes() -> None:
    async def use(store: PictureStore, jobs: Jobs, pool: HeldPool) -> None:
        job = jobs.begin("fuse", "a", [picture(store), picture(store)], ASKED)
        news = events(job)
        assert await anext(news) == "retry: 1000\n\n"
        running = await anext(news)
        assert '"state": "running"' in running and '"progress": 0.5' in running and '"seconds_left"' in running
        pool.go.set()
        assert '"state": "done"' in await anext(news)
        with pytest.raises(StopAsyncIteration):
            await anext(news)
        assert job_facts(job)["results"]["fused"]["name"] == "fused.png"

    run(Limits(), use)


def test_a_removed_job_is_ended_and_leaves_nothing() -> None:
    async def use(store: PictureStore, jobs: Jobs, pool: HeldPool) -> None:
        pair = [picture(store), picture(store)]
        job = jobs.begin("fuse", "a", pair, ASKED)
        await asyncio.sleep(0)
        await jobs.remove(job)
        assert job.task is not None and job.task.cancelled()
        assert {each.name for each in store.folder.iterdir()} == {"owner", *(each.id for each in pair)}
        assert jobs.running == jobs.waiting == 0

    run(Limits(), use)


def test_pictures_and_jobs_are_deleted_when_nobody_asks_for_them() -> None:
    async def use(store: PictureStore, jobs: Jobs, pool: HeldPool) -> None:
        pair = [picture(store), picture(store)]
        pool.go.set()
        job = jobs.begin("fuse", "a", pair, ASKED)
        store.expire()  # held by the job
        assert all(each.file.exists() for each in pair)
        assert job.task is not None
        await job.task
        await asyncio.sleep(0.06)
        store.picture(pair[0].id)  # asked for again
        await jobs.expire()
        store.expire()
        assert pair[0].file.exists() and not pair[1].folder.exists()
        assert not any(each.folder.exists() for each in job.results.values())
        with pytest.raises(Problem, match="there is no such job"):
            jobs.job(job.id)

    run(replace(Limits(), kept_seconds=0.05), use)


def test_a_full_store_is_told() -> None:
    async def use(store: PictureStore, jobs: Jobs, pool: HeldPool) -> None:
        picture(store).file.write_bytes(bytes(200))
        with pytest.raises(Problem, match="has no room for more pictures") as told:
            store.new_folder()
        assert told.value.status == 429

    run(replace(Limits(), stored_bytes=100), use)


def test_folders_of_services_that_crashed_are_deleted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = PictureStore(Limits())
    code = "from defusion.serve.store import *; print(PictureStore(Limits()).folder); import os; os._exit(9)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    crashed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    left = Path(crashed.stdout.strip())
    assert left.parent == tmp_path and left.is_dir()
    sweep()
    assert store.folder.is_dir() and not left.exists()
    assert store.folder.stat().st_mode & 0o777 == 0o700
    store.close()


def test_names_of_uploads_are_made_safe() -> None:
    assert file_name("../../etc/passwd", 1) == "passwd"
    assert file_name("C:\\photos\\sea.NEF", 1) == "sea.NEF"
    assert file_name("a\nb\x1b[31m.png", 1) == "a_b_[31m.png"
    assert file_name("..", 3) == file_name("", 3) == "source 3"
    assert len(file_name("x" * 500 + ".tiff", 1)) == 80
    assert file_name("\u00e9t\u00e9.tif", 1) == "\u00e9t\u00e9.tif"


def test_sentences_lose_their_folders() -> None:
    told = "/tmp/defusion-serve-x1/abc/file/my sea.png is truncated (at 3/4, and/or more); copy it"
    assert without_paths(told) == "my sea.png is truncated (at 3/4, and/or more); copy it"
