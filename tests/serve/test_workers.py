"""Workers that die, are too slow or take too much: told or tried again, and the next task is done."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")

from defusion.api.options import Options
from defusion.imaging import from_array, write
from defusion.serve.problem import Problem
from defusion.serve.settings import Limits
from defusion.serve.work import _warm_up
from defusion.serve.workers import Pool


def run(limits: Limits, tmp_path: Path, use: Callable[[Pool], Awaitable[Any]]) -> Any:
    async def opened() -> Any:
        pool = Pool(1, fuses=False, folder=tmp_path / "store", limits=limits, arguments={})
        pool.open()
        try:
            return await use(pool)
        finally:
            await pool.close()

    return asyncio.run(opened())


@pytest.fixture
def picture(tmp_path: Path) -> dict[str, Any]:
    """A task for a worker that loads no network."""
    file = tmp_path / "sea.tif"
    noise = np.random.default_rng(0).integers(0, 2**16, (400, 600, 3), np.uint16)
    write(file, from_array(noise))
    return {"work": "look", "source": str(file), "thumbnail": f"{tmp_path}/t.jpg", "preview": f"{tmp_path}/p.jpg"}


def test_a_task_of_a_killed_worker_is_taken_on_by_another(tmp_path: Path, picture: dict[str, Any]) -> None:
    async def use(pool: Pool) -> tuple[dict[str, Any], list[int]]:
        killed: list[int] = []

        def begun() -> None:
            if not killed:
                killed.extend(pool.pids())
                os.kill(killed[0], signal.SIGKILL)

        return await pool.run(picture, begun=begun), [*killed, *pool.pids(), pool.restarts]

    facts, (killed, other, restarts) = run(Limits(), tmp_path, use)
    assert (facts["width"], facts["depth"]) == (600, "uint16")
    assert killed != other and restarts == 1


def test_a_task_that_ends_two_workers_is_given_up(tmp_path: Path, picture: dict[str, Any]) -> None:
    async def use(pool: Pool) -> dict[str, Any]:
        def begun() -> None:
            for pid in pool.pids():
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(Problem, match="ended two worker processes") as told:
            await pool.run(picture, begun=begun)
        assert told.value.status == 422
        return await pool.run(picture)

    assert run(Limits(), tmp_path, use)["width"] == 600


def test_a_task_that_takes_too_long_is_ended(tmp_path: Path, picture: dict[str, Any]) -> None:
    async def use(pool: Pool) -> None:
        with pytest.raises(Problem, match=r"more than the 0\.01 s") as told:
            await pool.run(picture)
        assert (told.value.status, pool.restarts) == (422, 1)

    run(replace(Limits(), job_seconds=0.01), tmp_path, use)


def test_a_task_that_takes_too_much_memory_is_told(tmp_path: Path, picture: dict[str, Any]) -> None:
    from PIL import Image

    Image.new("RGB", (10_000, 10_000)).save(tmp_path / "large.png", compress_level=1)

    async def use(pool: Pool) -> None:
        with pytest.raises(Problem, match="memory") as told:
            await pool.run({**picture, "source": f"{tmp_path}/large.png"})
        assert told.value.status == 413

    run(replace(Limits(), memory_bytes=400 * 2**20), tmp_path, use)


def test_a_cancelled_task_ends_its_worker(tmp_path: Path, picture: dict[str, Any]) -> None:
    async def use(pool: Pool) -> tuple[int, dict[str, Any]]:
        started = asyncio.Event()
        task = asyncio.create_task(pool.run(picture, begun=started.set))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pool.restarts, await pool.run(picture)

    restarts, facts = run(Limits(), tmp_path, use)
    assert restarts == 1 and facts["width"] == 600


def test_more_pixels_than_allowed_are_refused_before_decoding(tmp_path: Path, picture: dict[str, Any]) -> None:
    async def use(pool: Pool) -> None:
        with pytest.raises(
            Problem, match=r"sea\.tif says that it is 600x400 pixels; expected 0.2 megapixels"
        ) as told:
            await pool.run(picture)
        assert told.value.status == 413

    run(replace(Limits(), picture_pixels=200_000), tmp_path, use)


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    from defusion.serve.work import _share_cores

    kept: list[list[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 7}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: kept.append(cores), raising=False)
    for number in range(2):
        _share_cores(number, 2)
    _share_cores(0, 1)  # alone it has all
    assert kept == [[0, 2, 7], [1, 3]]


def test_a_worker_says_nothing_while_it_gets_ready(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    _warm_up(Options())
    assert [str(each.message) for each in recwarn] == []
