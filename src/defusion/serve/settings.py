"""The settings of a service, and the limits for its clients."""

from __future__ import annotations

from dataclasses import dataclass, field

from defusion.errors import DefusionError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Limits:
    """What one client, one job and the whole service may use. The defaults suit a machine with 4 GB.

    Raises:
        DefusionError: A limit is not above zero.
    """

    upload_bytes: int = 2**30
    """Size of one request."""
    picture_pixels: int = 120_000_000
    """Size of one picture by its header, which is checked before the picture is decoded."""
    frames: int = 100
    """Pictures in one job."""
    client_jobs: int = 8
    """Jobs of one client that wait or run."""
    queue: int = 16
    """Jobs that wait, of all clients."""
    job_seconds: float = 300.0
    """Time that a job may take."""
    memory_bytes: int = 2 * 2**30
    """Memory of one worker process."""
    stored_bytes: int = 4 * 2**30
    """Disk space of all uploads and results."""
    kept_seconds: float = 600.0
    """How long an upload or a result is kept after its last use."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise DefusionError(f"the limit {name} came as {value}; expected a number above zero")


@dataclass(frozen=True)
class ServiceSettings:
    """Where a service listens, who may use it, and how many workers it has."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 for a free port."""
    workers: int = 1
    """Processes that fuse, each with its own network."""
    token: str | None = None
    """Token that clients have to send; None lets in everybody who reaches the port."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may call the service."""
    hosts: tuple[str, ...] = ()
    """Further host names of the service, such as that of a proxy."""
    limits: Limits = field(default_factory=Limits)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in _LOOPBACK

    @property
    def known_hosts(self) -> frozenset[str] | None:
        """Host names that a request may use; None for any.

        A service on loopback checks them. Otherwise a web page could point a host name of its own to this machine,
        and then read from the service.
        """
        if not self.loopback and not self.hosts:
            return None
        return frozenset((*_LOOPBACK, self.host, *self.hosts))
