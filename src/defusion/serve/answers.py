"""What clients are told about pictures and jobs, and how the events of a job reach them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from defusion.serve.jobs import Job
from defusion.serve.problem import Problem
from defusion.serve.store import StoredPicture

#: Seconds after which a silent stream of events sends a comment, because proxies close streams that stay silent.
_BEAT_SECONDS = 10.0


def picture_facts(picture: StoredPicture) -> dict[str, Any]:
    """Returns what is known about a picture, and its links."""
    looked = picture.made.get("look")
    seen = looked.result() if looked is not None and looked.done() and not looked.exception() else {}
    link = f"/v1/pictures/{picture.id}"
    links = {name: f"{link}/{name}" for name in ("file", "thumbnail", "preview", "tiles")}
    return {"id": picture.id, "name": picture.file.name, **seen, "links": {"self": link, **links}}


def job_facts(job: Job) -> dict[str, Any]:
    """Returns the state and the result of a job."""
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
    """Yields the state of a job as server-sent events named `job`, from now until the job is over."""
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
        ClientDisconnect: The client disconnects before.
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
    """Waits until the client has disconnected. The body of its request has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def told(request: Request, error: Exception) -> Response:
    """Answers with a problem."""
    assert isinstance(error, Problem)
    return error.response()


async def told_by_starlette(request: Request, error: Exception) -> Response:
    """Answers with a problem if the route or the method does not exist."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return Problem(404, "not-found", "there is no such page; /openapi.json lists those there are").response()
    headers = dict(error.headers or {})
    if error.status_code == 405:
        detail = f"{request.method} came; expected {headers.get('Allow', 'another method')}"
        return Problem(405, "method", detail, headers=headers).response()
    return Problem(error.status_code, "bad-request", error.detail, headers=headers).response()
