"""Reads a request, apart from the pictures in it."""

from __future__ import annotations

import json

from starlette.requests import Request

from defusion.serve.problem import Problem, bad_request, too_large

_MOST_JSON_BYTES = 2**16


def client_of(request: Request) -> str:
    """Returns the address of a client, by which clients are told apart."""
    return request.client.host if request.client is not None else ""


def query_of(request: Request) -> dict[str, str]:
    """Returns the parameters of a query.

    Raises:
        Problem: A parameter came twice.
    """
    parameters = request.query_params.multi_items()
    query = dict(parameters)
    if len(query) < len(parameters):
        raise bad_request("a parameter came twice; expected each once")
    return query


async def ids_of(request: Request) -> list[str]:
    """Returns the picture ids in a JSON body.

    Raises:
        Problem: The body is something else.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_JSON_BYTES:
            raise too_large(f"more than {_MOST_JSON_BYTES} bytes of JSON came; name fewer pictures")
    expected = 'expected JSON such as {"sources": ["ID", "ID"]}, with ids of pictures'
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "no-json", f"the body is not JSON; {expected}") from None
    ids = given.get("sources") if isinstance(given, dict) and given.keys() == {"sources"} else None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise bad_request(f"the body has another form; {expected}")
    return ids
