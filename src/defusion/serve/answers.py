"""What clients are told of pictures and jobs, and how the news of a job reaches them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from defusion.serve.jobs import Job
from defusion.serve.problem import Problem, gone
from defusion.serve.store import StoredPicture

#: Time after which a silent stream of events says that it lives: proxies close those that are silent for long.
_BEAT_SECONDS = 10.0


def picture_facts(picture: StoredPicture) -> dict[str, Any]:
    """Returns what a picture is, as far as somebody has looked, and its links."""
    looked = picture.made.get("look")
    seen = looked.result() if looked is not None and looked.done() and not looked.exception() else {}
    link = f"/v1/pictures/{picture.id}"
    links = {name: f"{link}/{name}" for name in ("file", "thumbnail", "preview", "tiles")}
    return {"id": picture.id, "name": picture.file.name, **seen, "links": {"self": link, **links}}


def job_facts(job: Job) -> dict[str, Any]:
    """Returns how far a job is, and what came of it."""
    link = f"/v1/jobs/{job.id}"
    facts: dict[str, Any] = {
        "id": job.id,
        "work": job.work,
        "state": job.state,
        "progress": round(job.progress, 3),
        "links": {"self": link, "events": f"{link}/events"},
    }
    if (left := job.seconds_left) is not None:
        facts["seconds_left"] = round(left, 1)
    if job.state == "done":
        facts["seconds"] = round(job.seconds or 0.0, 3)
        facts["facts"] = job.facts
        facts["results"] = {name: picture_facts(picture) for name, picture in job.results.items()}
    if job.problem is not None:
        facts["problem"] = job.problem.facts()
    return facts


async def events(job: Job) -> AsyncIterator[str]:
    """Gives the news of a job as server-sent events, each a `job`, from how it is now until it is over."""
    changes = job.changes()
    yield "retry: 1000\n\n"
    news = asyncio.ensure_future(anext(changes))
    try:
        while True:
            done, _ = await asyncio.wait((news,), timeout=_BEAT_SECONDS)
            if not done:
                yield ": still there\n\n"
                continue
            if isinstance(news.exception(), StopAsyncIteration):
                return
            yield f"event: job\ndata: {json.dumps(job_facts(job))}\n\n"
            news = asyncio.ensure_future(anext(changes))
    finally:
        news.cancel()


async def over(job: Job, request: Request) -> None:
    """Waits until a job is over.

    Raises:
        ClientDisconnect: The client leaves before.
    """
    assert job.task is not None
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((job.task, left), return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
    if not job.task.done():
        raise ClientDisconnect


async def _left(request: Request) -> None:
    """Waits until the client has gone; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def told(request: Request, error: Exception) -> Response:
    """Answers with a problem."""
    assert isinstance(error, Problem)
    return error.response()


async def told_by_starlette(request: Request, error: Exception) -> Response:
    """Answers with a problem where there is no such route or method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return gone("page").response()
    kind = {405: "method"}.get(error.status_code, "bad-request")
    return Problem(error.status_code, kind, error.detail, headers=dict(error.headers or {})).response()
