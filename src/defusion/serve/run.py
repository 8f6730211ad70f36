"""Runs the service until a signal ends it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn

from defusion.api.options import Options
from defusion.errors import DefusionError
from defusion.serve.app import Service
from defusion.serve.settings import ServiceSettings

#: Seconds that open answers, such as streams of events, get to finish.
_FAREWELL_SECONDS = 2


def serve(settings: ServiceSettings, options: Options, say: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM comes.

    Args:
        settings: Address, access and limits.
        options: How to fuse; a request may override them.
        say: Called with a line that says where the page is.

    Raises:
        DefusionError: The address cannot be used.
    """
    listening = _listening(settings)
    config = uvicorn.Config(
        Service(settings, options).app,
        log_level="warning",
        access_log=False,  # the log would hold ids, and an id gives access to its picture
        server_header=False,
        date_header=True,
        lifespan="on",
        proxy_headers=bool(settings.hosts),
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
    )
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    say(f"defusion is at http://{name}:{port}" + (f"/#token={settings.token}" if settings.token else ""))
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal again after it has shut down
        signal.signal(number, lambda *_: None)
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _listening(settings: ServiceSettings) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        where = f"{settings.host}:{settings.port}"
        raise DefusionError(f"cannot listen on {where} ({error}); choose another --host or --port") from error
