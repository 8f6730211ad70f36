"""What a service is told when it starts, and the limits that it holds its clients to."""

from __future__ import annotations

from dataclasses import dataclass, field

from defusion.errors import DefusionError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Limits:
    """What one client, one job and the whole service may take; the defaults suit a machine of 4 GB.

    Raises:
        DefusionError: A limit that is zero or less.
    """

    upload_bytes: int = 2**30
    """Of one request."""
    picture_pixels: int = 120_000_000
    """Of one picture, as its header says it, so before it is decoded."""
    frames: int = 100
    """Pictures in one job."""
    client_jobs: int = 8
    """Jobs of one client that wait or run."""
    queue: int = 16
    """Jobs that wait, of all clients."""
    job_seconds: float = 300.0
    """Time that a job may run."""
    memory_bytes: int = 2 * 2**30
    """Memory of one worker process."""
    stored_bytes: int = 4 * 2**30
    """Disk space of all uploads and results."""
    kept_seconds: float = 600.0
    """Time that an upload or a result is kept after it was last asked for."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise DefusionError(f"the limit {name} came as {value}, expected a number above zero")


@dataclass(frozen=True)
class Settings:
    """Where a service listens, whom it lets in, and what it fuses with."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 for one that is free."""
    workers: int = 1
    """Processes that fuse, each with a network of its own."""
    token: str | None = None
    """What clients have to show; None lets everybody in who reaches the port."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may call the service."""
    hosts: tuple[str, ...] = ()
    """Names by which the service is called beside its own, as behind a proxy."""
    limits: Limits = field(default_factory=Limits)

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        return self.host in _LOOPBACK

    @property
    def known_hosts(self) -> frozenset[str] | None:
        """Names that a request may call the service by; None for any.

        A service on the loopback checks them: else a page of any site could lead its own name to this machine, and
        read what only this machine should.
        """
        if not self.loopback and not self.hosts:
            return None
        return frozenset((*_LOOPBACK, self.host, *self.hosts))
