"""The command that serves the page and the REST interface."""

from __future__ import annotations

from typing import Annotated

import typer

from defusion.api.options import Options
from defusion.cli.app import app
from defusion.cli.options import takes
from defusion.cli.output import need, say

_LIMITS = "Limits"


@app.command(rich_help_panel="Pictures")
@takes("weights", "engine", "device", "precision")
def serve(
    options: Options,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="DEFUSION_TOKEN", help="Bearer token that clients have to send."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option("--cors", metavar="ORIGIN", help="Allow pages of this origin to use the service."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Host name by which a proxy reaches the service."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Number of processes that fuse.")] = 1,
    max_upload_mb: Annotated[
        int, typer.Option("--max-upload-mb", min=1, help="Largest request.", rich_help_panel=_LIMITS)
    ] = 1024,
    max_megapixels: Annotated[
        int, typer.Option("--max-megapixels", min=1, help="Largest picture.", rich_help_panel=_LIMITS)
    ] = 120,
    max_frames: Annotated[
        int, typer.Option("--max-frames", min=2, help="Most pictures in one job.", rich_help_panel=_LIMITS)
    ] = 100,
    max_client_jobs: Annotated[
        int,
        typer.Option("--max-client-jobs", min=1, help="Most jobs of one client at once.", rich_help_panel=_LIMITS),
    ] = 8,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=1, help="Most waiting jobs of all clients.", rich_help_panel=_LIMITS)
    ] = 16,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=1, help="Longest time of a job.", rich_help_panel=_LIMITS)
    ] = 300,
    max_memory_mb: Annotated[
        int, typer.Option("--max-memory-mb", min=256, help="Most memory of each worker.", rich_help_panel=_LIMITS)
    ] = 2048,
    max_stored_mb: Annotated[
        int,
        typer.Option(
            "--max-stored-mb", min=1, help="Most space for all uploads and results.", rich_help_panel=_LIMITS
        ),
    ] = 4096,
    keep_seconds: Annotated[
        float,
        typer.Option("--keep-seconds", min=1, help="How long uploads and results are kept.", rich_help_panel=_LIMITS),
    ] = 600,
) -> None:
    """Serve a page and a REST interface. Only this machine can reach them unless --host says otherwise."""
    need("starlette", "uvicorn", "python_multipart", extra="serve")
    from defusion.serve.run import serve as run
    from defusion.serve.settings import Limits, ServiceSettings

    limits = Limits(
        upload_bytes=max_upload_mb * 2**20,
        picture_pixels=max_megapixels * 10**6,
        frames=max_frames,
        client_jobs=max_client_jobs,
        queue=max_queue,
        job_seconds=max_seconds,
        memory_bytes=max_memory_mb * 2**20,
        stored_bytes=max_stored_mb * 2**20,
        kept_seconds=keep_seconds,
    )
    settings = ServiceSettings(host, port, workers, token, tuple(cors or ()), tuple(allow_host or ()), limits)
    if not settings.loopback and token is None:
        say("note: whoever reaches this machine can use the service; --token asks for a token")
    run(settings, options, say)
