"""Runs the service until it is told to end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn

from defusion.errors import DefusionError
from defusion.options import Options
from defusion.serve.app import Service
from defusion.serve.settings import Settings

#: Time that open answers, such as streams of events, get to end in.
_FAREWELL_SECONDS = 2


def serve(settings: Settings, options: Options, say: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM comes.

    Args:
        settings: Where to listen, whom to let in, limits.
        options: How to fuse, unless a request says otherwise.
        say: Is told where the page is.

    Raises:
        DefusionError: The address cannot be listened at.
    """
    listening = _listening(settings)
    config = uvicorn.Config(
        Service(settings, options).app,
        log_level="warning",
        access_log=False,  # ids in paths open what they name
        server_header=False,
        date_header=True,
        lifespan="on",
        proxy_headers=bool(settings.hosts),
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
    )
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    say(f"defusion is at http://{name}:{port}" + (f"/#token={settings.token}" if settings.token else ""))
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended in good order
        signal.signal(number, lambda *_: None)
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _listening(settings: Settings) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        where = f"{settings.host}:{settings.port}"
        raise DefusionError(f"{where} cannot be listened at ({error}); choose another --host or --port") from error
