"""Problem details as in RFC 9457: what clients are told when something is wrong."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

PROBLEM_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 (named as the RFC has it)
    """Ends a request with a status and one sentence.

    Args:
        status: HTTP status, 4xx or 5xx.
        kind: Short name of the problem, for programs.
        detail: One sentence for people: what came, what was expected, what to do.
        retry_after: Seconds after which to try the same request again.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    def facts(self) -> dict[str, Any]:
        """Returns the members of the problem document."""
        return {
            "type": f"urn:defusion:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }

    def response(self) -> JSONResponse:
        """Returns the answer."""
        return JSONResponse(self.facts(), self.status, self.headers, PROBLEM_TYPE)


def bad_request(detail: str) -> Problem:
    """Returns the problem of a request that is not understood."""
    return Problem(422, "bad-request", detail)


def too_large(detail: str) -> Problem:
    """Returns the problem of a request that exceeds a limit."""
    return Problem(413, "too-large", detail)


def busy(detail: str, retry_after: int) -> Problem:
    """Returns the problem of a request that may succeed later."""
    return Problem(429, "busy", detail, retry_after=retry_after)


def gone(what: str) -> Problem:
    """Returns the problem of something that does not exist, or no longer."""
    return Problem(404, "not-found", f"there is no such {what}, or it was deleted; send the pictures again")
