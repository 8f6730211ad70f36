"""What every request passes first: access control, security headers, problems as JSON, counting."""

from __future__ import annotations

import hmac
import logging
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from defusion.serve.metrics import Metrics
from defusion.serve.problem import Problem
from defusion.serve.settings import ServiceSettings

_log = logging.getLogger("defusion.serve")

COOKIE = "defusion-session"

#: Paths that need no token: the page itself, and those that monitor the service.
_OPEN_PATHS = ("/", "/healthz", "/readyz", "/openapi.json", "/v1/session")
_OPEN_FOLDERS = ("/page/",)

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

#: Hash of the only style that OpenSeadragon adds by itself.
_OPENSEADRAGON_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"

#: The page loads everything from the service, and runs scripts from files only.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {_OPENSEADRAGON_STYLE}",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Keys:
    """The token of a service, and a session cookie that stands for it.

    The cookie is needed because browsers send no header of ours when they load pictures and events.

    Args:
        token: None if the service is open to all.
    """

    def __init__(self, token: str | None) -> None:
        self._token, self._session = token, secrets.token_urlsafe(32)

    def cookie(self, secure: bool) -> str:
        """Returns the value of the Set-Cookie header."""
        return f"{COOKIE}={self._session}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"

    def open(self, headers: Headers) -> bool:
        """Says whether a request has the token or the cookie. It compares in constant time."""
        if self._token is None:
            return True
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), self._token.encode())
        return bearer or hmac.compare_digest(_cookie(headers).encode(), self._session.encode())


def no_token() -> Problem:
    """Returns the problem of a request without the token."""
    return Problem(
        401,
        "no-token",
        "this service asks for its token: send it as Authorization: Bearer TOKEN",
        headers={"WWW-Authenticate": 'Bearer realm="defusion"'},
    )


class Guard:
    """Passes requests on to an application, or answers them itself.

    Args:
        app: The application.
        settings: Allowed origins and host names.
        keys: Token and cookie of the service.
        metrics: Counts requests.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, keys: Keys, metrics: Metrics) -> None:
        self._app, self._settings, self._keys, self._metrics = app, settings, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(MutableHeaders(scope=message), scope)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, sending)
        except Problem as problem:
            if not status:
                await problem.response()(scope, receive, sending)
        except ClientDisconnect:
            status = 499  # the status that nginx logs if a client disconnects
        except Exception:
            _log.exception("%s %s failed", scope["method"], _route(scope))
            if not status:
                detail = "this failed; the service's log says why"
                await Problem(500, "internal", detail).response()(scope, receive, sending)
        finally:
            self._metrics.request(_method(scope), _route(scope), status)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = _host(headers.get("host", ""))
        known = self._settings.known_hosts
        if known is not None and host not in known:
            raise Problem(
                421, "other-host", "the request names another host than this service; use one of its own names"
            )
        origin = headers.get("origin")
        trusted = origin in (None, *self._settings.cors) or scope["method"] in _SAFE_METHODS
        if not trusted and str(origin).partition("://")[2] != headers.get("host"):
            raise Problem(403, "other-origin", "a page of another site may not use this service")
        path = scope["path"]
        preflight = scope["method"] == "OPTIONS" and origin in self._settings.cors
        if not (path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS) or preflight or self._keys.open(headers)):
            raise no_token()

    def _complete(self, headers: MutableHeaders, scope: Scope) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cross-Origin-Resource-Policy", "cross-origin" if self._settings.cors else "same-origin")
        headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/v1/") else "no-cache")


def _host(header: str) -> str:
    """Returns the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _route(scope: Scope) -> str:
    """Returns the route's pattern, without ids, so that counters stay few. All unknown paths count as one."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "other"


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
