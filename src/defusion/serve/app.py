"""The service as an application: its routes and the objects behind them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from defusion import __version__
from defusion.api.options import DEFAULTS, Options
from defusion.serve import metrics as prometheus
from defusion.serve import options, uploads
from defusion.serve.answers import events, job_facts, over, picture_facts, told, told_by_starlette
from defusion.serve.asked import client_of, ids_of, query_of
from defusion.serve.guard import Guard, Keys, no_token
from defusion.serve.jobs import Jobs, Work
from defusion.serve.metrics import Metrics
from defusion.serve.openapi import description
from defusion.serve.options import MEDIA_TYPES, wanted
from defusion.serve.problem import Problem, busy, gone
from defusion.serve.settings import ServiceSettings
from defusion.serve.store import PictureStore, StoredPicture
from defusion.serve.workers import Pool

PAGE = Path(__file__).parent / "page"

#: Pairs that the package makes, for trying the page.
EXAMPLES = ("exposure", "focus", "infrared")

#: Seconds between searches for pictures and jobs that have expired.
_SWEEP_SECONDS = 15.0


class Service:
    """A service and its routes.

    Args:
        settings: Address, access and limits.
        options: How to fuse; a request may override them.
    """

    def __init__(self, settings: ServiceSettings, options: Options = DEFAULTS) -> None:
        self.settings, self._arguments = settings, options.given()
        self.metrics = Metrics()
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Prefer"],
            expose_headers=["Defusion-Result", "Location", "Retry-After"],
        )
        self._keys = Keys(settings.token)
        guard = Middleware(Guard, settings=settings, keys=self._keys, metrics=self.metrics)
        self.app = Starlette(
            routes=self._routes(),
            middleware=[cors, guard] if settings.cors else [guard],
            exception_handlers={Problem: told, HTTPException: told_by_starlette},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        settings = self.settings
        self.store = PictureStore(settings.limits)
        folder, limits = self.store.folder, settings.limits
        self.fusers = Pool(settings.workers, fuses=True, folder=folder, limits=limits, arguments=self._arguments)
        self.viewers = Pool(1, fuses=False, folder=folder, limits=limits, arguments={})
        self.jobs = Jobs(self.store, self.fusers, self.metrics)
        self._spreading: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.fusers.open()
        self.viewers.open()
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            await self.jobs.close()
            await self.fusers.close()
            await self.viewers.close()
            self.store.close()

    def _routes(self) -> list[Route | Mount]:
        get, post, either = ["GET"], ["POST"], ["GET", "DELETE"]
        picture, job = "/v1/pictures/{id}", "/v1/jobs/{id}"
        return [
            Route("/", self.page, methods=get),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/healthz", self.healthz, methods=get),
            Route("/readyz", self.readyz, methods=get),
            Route("/metrics", self.metrics_text, methods=get),
            Route("/openapi.json", self.openapi, methods=get),
            Route("/v1/about", self.about, methods=get),
            Route("/v1/session", self.session, methods=post),
            Route("/v1/fuse", self.fuse, methods=post),
            Route("/v1/decompose", self.decompose, methods=post),
            Route("/v1/align", self.align, methods=post),
            Route("/v1/pictures", self.add_pictures, methods=post),
            Route("/v1/examples/{name}", self.add_example, methods=post),
            Route(picture, self.one_picture, methods=either),
            Route(f"{picture}/file", self.file, methods=get),
            Route(f"{picture}/thumbnail", self.thumbnail, methods=get),
            Route(f"{picture}/preview", self.preview, methods=get),
            Route(f"{picture}/tiles", self.tiles, methods=get),
            Route(f"{picture}/tiles/{{level:int}}/{{column:int}}/{{row:int}}", self.tile, methods=get),
            Route(job, self.one_job, methods=either),
            Route(f"{job}/events", self.events, methods=get),
        ]

    # The page, and routes that monitor the service

    async def page(self, request: Request) -> Response:
        """Returns the page."""
        return FileResponse(PAGE / "index.html")

    async def healthz(self, request: Request) -> Response:
        """Answers if the service runs."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """Says whether a network is loaded."""
        if not self.fusers.ready:
            raise Problem(503, "not-ready", "the network is being loaded; try again soon", retry_after=2)
        return PlainTextResponse("ready\n")

    async def metrics_text(self, request: Request) -> Response:
        """Returns figures for Prometheus."""
        pids = [None, *self.fusers.pids(), *self.viewers.pids()]
        gauges = {
            "jobs_waiting": ("Jobs that wait for a worker.", float(self.jobs.waiting)),
            "jobs_running": ("Jobs that a worker runs.", float(self.jobs.running)),
            "stored_bytes": ("Disk space of uploads and results.", float(self.store.bytes())),
            "resident_bytes": ("Memory of the service and its workers.", float(sum(map(_resident, pids)))),
        }
        text = self.metrics.text(gauges, self.fusers.restarts + self.viewers.restarts)
        return Response(text, media_type=prometheus.PROMETHEUS_TYPE)

    async def openapi(self, request: Request) -> Response:
        """Returns the OpenAPI description."""
        return JSONResponse(description(self.settings))

    async def about(self, request: Request) -> Response:
        """Returns what the page needs to know about the service."""
        limits = self.settings.limits
        return JSONResponse(
            {
                "version": __version__,
                "limits": {
                    "upload_bytes": limits.upload_bytes,
                    "picture_pixels": limits.picture_pixels,
                    "frames": limits.frames,
                    "kept_seconds": limits.kept_seconds,
                },
                "formats": list(options.FORMATS),
                "options": options.facts(),
                "examples": list(EXAMPLES) if find_spec("skimage") else [],
            }
        )

    async def session(self, request: Request) -> Response:
        """Returns a cookie if the request has the token."""
        if not self._keys.open(request.headers):
            raise no_token()
        cookie = self._keys.cookie(secure=request.url.scheme == "https")
        return Response(status_code=204, headers={"Set-Cookie": cookie})

    # Fusing, decomposing, aligning

    async def fuse(self, request: Request) -> Response:
        """Fuses the pictures in the request, or pictures sent earlier."""
        return await self._work("fuse", request)

    async def decompose(self, request: Request) -> Response:
        """Decomposes two pictures."""
        return await self._work("decompose", request)

    async def align(self, request: Request) -> Response:
        """Aligns pictures."""
        return await self._work("align", request)

    async def _work(self, work: Work, request: Request) -> Response:
        asked = wanted(query_of(request), work)
        later = "respond-async" in request.headers.get("prefer", "")
        as_json = work != "fuse" or "application/json" in request.headers.get("accept", "")
        sources, sent = await self._sources(request)
        try:
            job = self.jobs.begin(work, client_of(request), sources, asked)
        except BaseException:
            self._delete(sources if sent else [])
            raise
        if later:
            return JSONResponse(job_facts(job), 202, {"Location": f"/v1/jobs/{job.id}"})
        try:
            await over(job, request)
        except BaseException:
            await self.jobs.remove(job)
            self._delete(sources if sent else [])
            raise
        if job.problem is not None:
            await self.jobs.remove(job)
            self._delete(sources if sent else [])
            raise job.problem
        if as_json:
            return JSONResponse(job_facts(job))
        self._delete(sources if sent else [])
        return FileResponse(
            job.results["fused"].file,
            media_type=MEDIA_TYPES[job.results["fused"].file.suffix],
            filename=job.results["fused"].file.name,
            headers={"Defusion-Result": json.dumps(job.facts)},
            background=BackgroundTask(self.jobs.remove, job),
        )

    async def _sources(self, request: Request) -> tuple[list[StoredPicture], bool]:
        """Returns the pictures of a request, and whether the request itself held them."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            self.jobs.check_room(client_of(request))  # refuse before a client sends a gigabyte for nothing
            return await uploads.receive(request, self.store), True
        ids = await ids_of(request)
        return [self.store.picture(id) for id in ids], False

    async def one_job(self, request: Request) -> Response:
        """Returns the state and the result of a job; or ends the job and deletes its results."""
        job = self.jobs.job(request.path_params["id"])
        if request.method == "DELETE":
            await self.jobs.remove(job)
            return Response(status_code=204)
        return JSONResponse(job_facts(job))

    async def events(self, request: Request) -> Response:
        """Streams the state of a job until it is over."""
        job = self.jobs.job(request.path_params["id"])
        return StreamingResponse(events(job), media_type="text/event-stream")

    # Pictures

    async def add_pictures(self, request: Request) -> Response:
        """Stores pictures to look at, and to fuse later."""
        pictures = await uploads.receive(request, self.store)
        return await self._looked_at(pictures)

    async def add_example(self, request: Request) -> Response:
        """Makes an example pair."""
        name = request.path_params["name"]
        if name not in EXAMPLES or not find_spec("skimage"):
            raise gone("example")
        files = [self.store.new_folder() / f"{name}_{which}.png" for which in "ab"]
        await self.viewers.run({"work": "example", "name": name, "outputs": list(map(str, files))})
        return await self._looked_at([self.store.add(file) for file in files])

    async def one_picture(self, request: Request) -> Response:
        """Returns facts about a picture, or deletes it."""
        picture = self._picture(request)
        if request.method == "DELETE":
            self._delete([picture])
            return Response(status_code=204)
        await self._look(picture)
        return JSONResponse(picture_facts(picture))

    async def file(self, request: Request) -> Response:
        """Returns a picture file unchanged."""
        picture = self._picture(request)
        kind = MEDIA_TYPES.get(picture.file.suffix, "application/octet-stream")
        return FileResponse(picture.file, media_type=kind, filename=picture.file.name)

    async def thumbnail(self, request: Request) -> Response:
        """Returns a small copy of a picture."""
        picture = self._picture(request)
        await self._look(picture)
        return FileResponse(picture.thumbnail, media_type="image/jpeg")

    async def preview(self, request: Request) -> Response:
        """Returns a copy of a picture that fills a screen."""
        picture = self._picture(request)
        await self._look(picture)
        return FileResponse(picture.preview, media_type="image/jpeg")

    async def tiles(self, request: Request) -> Response:
        """Prepares the tiles of a picture, and returns how it is cut."""
        picture = self._picture(request)
        task = {"work": "spread", "source": str(picture.file), "levels": str(picture.levels)}
        return JSONResponse(await self._once(picture, "tiles", task))

    async def tile(self, request: Request) -> Response:
        """Returns a tile."""
        from defusion.serve.look import tile

        picture = self._picture(request)
        place = (request.path_params[name] for name in ("level", "column", "row"))
        encoded = await asyncio.to_thread(tile, picture.levels, *place)
        if encoded is None:
            raise gone("tile")
        return Response(encoded, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    def _picture(self, request: Request) -> StoredPicture:
        return self.store.picture(request.path_params["id"])

    def _delete(self, pictures: list[StoredPicture]) -> None:
        for picture in pictures:
            self.store.remove(picture)

    async def _looked_at(self, pictures: list[StoredPicture]) -> Response:
        try:
            await asyncio.gather(*map(self._look, pictures))
        except BaseException:
            self._delete(pictures)
            raise
        return JSONResponse({"pictures": [picture_facts(picture) for picture in pictures]}, 201)

    async def _look(self, picture: StoredPicture) -> None:
        task = {
            "work": "look",
            "source": str(picture.file),
            "thumbnail": str(picture.thumbnail),
            "preview": str(picture.preview),
        }
        await self._once(picture, "look", task)

    async def _once(self, picture: StoredPicture, name: str, task: dict[str, Any]) -> dict[str, Any]:
        """Has a viewer do a task about a picture once, even if several requests ask for it."""
        if name not in picture.made:
            self.store.check_room()
            if self.viewers.waiting >= self.settings.limits.frames:
                raise busy("many pictures wait to be looked at; try again soon", 5)
            picture.made[name] = asyncio.ensure_future(self._seen(picture, task))
        try:
            return await asyncio.shield(picture.made[name])
        except Problem:
            picture.made.pop(name, None)
            raise

    async def _seen(self, picture: StoredPicture, task: dict[str, Any]) -> dict[str, Any]:
        picture.held += 1
        try:
            return await self.viewers.run(task)
        finally:
            picture.held -= 1

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self.settings.limits.kept_seconds))
            await self.jobs.expire()
            self.store.expire()


def _resident(pid: int | None) -> int:
    """Returns the memory of a process in bytes; 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
