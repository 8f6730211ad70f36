"""The OpenAPI 3.1 description of the service, made from its own options and limits."""

from __future__ import annotations

from typing import Any

from defusion import __version__
from defusion.serve.options import DEVICE, FORMATS, names, options
from defusion.serve.problem import PROBLEM_TYPE
from defusion.serve.settings import ServiceSettings

_ID = r"^[A-Za-z0-9_-]{22}$"


def description(settings: ServiceSettings) -> dict[str, Any]:
    """Returns the description as data for JSON."""
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "defusion",
            "version": __version__,
            "summary": "Fuses several pictures of one scene into one.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(),
        "components": {"schemas": _schemas(), "responses": _problems(), "parameters": _parameters()},
    }
    if settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _paths() -> dict[str, Any]:
    by_id = [_ref("parameters", "id")]
    job, picture, pictures = (_json(_ref("schemas", name)) for name in ("Job", "Picture", "Pictures"))
    jpeg = {"description": "A JPEG.", "content": {"image/jpeg": {}}}
    text = {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    fused = {
        "description": "The fused picture; or, if Accept asks for JSON, the job with links to the picture.",
        "headers": {
            "Defusion-Result": {
                "description": "Facts about the result as JSON, including notes.",
                "schema": {"type": "string"},
            }
        },
        "content": {
            **{kind: {} for kind in ("image/png", "image/tiff", "image/jpeg")},
            "application/json": {"schema": _ref("schemas", "Job")},
        },
    }
    parts = {**job, "description": "The job, with links to common, unique_a, unique_b and fused."}
    aligned = {**job, "description": "The job: how each frame was moved, with links to frame_1, frame_2 and so on."}
    return {
        "/v1/fuse": {"post": _work("fuse", "Fuse pictures of one scene into one", fused)},
        "/v1/decompose": {"post": _work("decompose", "Decompose two pictures", parts, most=2)},
        "/v1/align": {"post": _work("align", "Align pictures of one scene", aligned)},
        "/v1/pictures": {
            "post": {
                "summary": "Send pictures to look at, and to fuse later by their ids",
                "requestBody": {"required": True, "content": {"multipart/form-data": _multipart(1)}},
                "responses": {"201": pictures, **_refused(413, 415, 422, 429, 507)},
            }
        },
        "/v1/pictures/{id}": {
            "parameters": by_id,
            "get": _get("Facts about a picture", picture, 422, 429),
            "delete": {"summary": "Delete a picture", "responses": {"204": _NOTHING, **_refused(404)}},
        },
        "/v1/pictures/{id}/file": {
            "parameters": by_id,
            "get": _get("A picture file, unchanged", {"description": "The file.", "content": {"*/*": {}}}),
        },
        "/v1/pictures/{id}/thumbnail": {
            "parameters": by_id,
            "get": _get("A copy with sides of at most 320 pixels", jpeg, 422, 429),
        },
        "/v1/pictures/{id}/preview": {
            "parameters": by_id,
            "get": _get("A copy with sides of at most 1600 pixels", jpeg, 422, 429),
        },
        "/v1/pictures/{id}/tiles": {
            "parameters": by_id,
            "get": _get("Prepare tiles, and say how they are cut", _json(_ref("schemas", "Tiles")), 422, 429),
        },
        "/v1/pictures/{id}/tiles/{level}/{column}/{row}": {
            "parameters": by_id
            + [
                {"name": name, "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
                for name in ("level", "column", "row")
            ],
            "get": _get("A tile; the last level has full size", jpeg),
        },
        "/v1/jobs/{id}": {
            "parameters": by_id,
            "get": _get("State and result of a job", job),
            "delete": {"summary": "End a job, delete its results", "responses": {"204": _NOTHING, **_refused(404)}},
        },
        "/v1/jobs/{id}/events": {
            "parameters": by_id,
            "get": _get(
                "State of a job, as server-sent events named job",
                {"description": "Events.", "content": {"text/event-stream": {}}},
            ),
        },
        "/healthz": {"get": {**_get("The service answers", text, found=True), "security": []}},
        "/readyz": {"get": {**_get("A network is loaded", text, 503, found=True), "security": []}},
        "/metrics": {"get": _get("Figures for Prometheus", text, found=True)},
    }


_NOTHING = {"description": "Done."}


def _work(work: str, summary: str, done: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    ids = {"type": "array", "items": {"type": "string", "pattern": _ID}}
    return {
        "summary": summary,
        "parameters": [_ref("parameters", name) for name in (*names(work), "prefer")],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": _multipart(most or 1, most),
                "application/json": _sources(ids, most or 1, most),
            },
        },
        "responses": {
            "200": done,
            "202": {
                **_json(_ref("schemas", "Job")),
                "description": "The job has been taken, as Prefer: respond-async asks for.",
                "headers": {"Location": {"schema": {"type": "string"}}},
            },
            **_refused(400, 404, 413, 415, 422, 429, 507),
        },
    }


def _get(summary: str, answer: dict[str, Any], *refused: int, found: bool = False) -> dict[str, Any]:
    """Describes a request that reads; `found` if what it reads always exists."""
    return {"summary": summary, "responses": {"200": answer, **_refused(*(() if found else (404,)), *refused)}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "JSON.", "content": {"application/json": {"schema": schema}}}


def _multipart(least: int, most: int | None = None) -> dict[str, Any]:
    picture = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    return _sources({"type": "array", "items": picture}, least, most)


def _sources(pictures: dict[str, Any], least: int, most: int | None) -> dict[str, Any]:
    """Describes a body that holds pictures and nothing else."""
    pictures = {**pictures, "minItems": least, **({"maxItems": most} if most is not None else {})}
    schema = {"type": "object", "properties": {"sources": pictures}, "required": ["sources"]}
    return {"schema": {**schema, "additionalProperties": False}}


def _ref(kind: str, name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{kind}/{name}"}


_REFUSALS = {
    400: "The body is not JSON.",
    401: "The token is missing.",
    404: "It does not exist, or was deleted.",
    413: "More bytes, pixels, frames or memory than allowed.",
    415: "The body is neither multipart nor JSON.",
    422: "A parameter, a picture or a body that cannot be used.",
    429: "Too many jobs; Retry-After says when to try again.",
    503: "Not ready yet; Retry-After says when to try again.",
    507: "The disk is full.",
}


def _refused(*statuses: int) -> dict[str, Any]:
    return {str(status): _ref("responses", str(status)) for status in (401, *statuses)}


def _problems() -> dict[str, Any]:
    return {
        str(status): {"description": says, "content": {PROBLEM_TYPE: {"schema": _ref("schemas", "Problem")}}}
        for status, says in _REFUSALS.items()
    }


def _parameters() -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": _ID}},
        "format": _query("format", "File format of the result. Default: that of the first source.", FORMATS),
        "maps": {
            "name": "maps",
            "in": "query",
            "description": "Also make source_map, and depth_map, ghost_mask and residual_map where they apply.",
            "schema": {"type": "boolean"},
        },
        "prefer": {
            "name": "Prefer",
            "in": "header",
            "description": "respond-async: answer at once, with a job.",
            "schema": {"type": "string"},
        },
    }
    for name, option in options().items():
        parameters[name] = _query(name, option.says, option.values)
    return parameters


def _query(name: str, says: str, values: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    schema |= {"enum": list(values)} if values else {"pattern": f"^{DEVICE}$"}
    return {"name": name, "in": "query", "description": says, "schema": schema}


def _schemas() -> dict[str, Any]:
    text, number, whole = {"type": "string"}, {"type": "number"}, {"type": "integer"}
    return {
        "Problem": _object({"type": text, "title": text, "status": whole, "detail": text}),
        "Links": {"type": "object", "additionalProperties": text},
        "Picture": _object(
            {"id": text, "name": text, "links": _ref("schemas", "Links")},
            width=whole,
            height=whole,
            depth={"type": "string", "enum": ["uint8", "uint16", "float32"]},
            grey={"type": "boolean"},
            light={**number, "description": "Mean luminance in [0, 1]."},
            exposure={"type": ["number", "null"], "description": "Stops of light above 1 s at f/1 and ISO 100."},
        ),
        "Pictures": _object({"pictures": {"type": "array", "items": _ref("schemas", "Picture")}}),
        "Tiles": _object({"width": whole, "height": whole, "tile": whole, "levels": whole}),
        "Job": _object(
            {
                "id": text,
                "work": {"type": "string", "enum": ["fuse", "decompose", "align"]},
                "state": {"type": "string", "enum": ["waiting", "running", "done", "failed"]},
                "progress": number,
                "links": _ref("schemas", "Links"),
            },
            seconds=number,
            seconds_left=number,
            facts={"type": "object", "description": "What fuse --json prints, and `sentence`."},
            results={"type": "object", "additionalProperties": _ref("schemas", "Picture")},
            problem=_ref("schemas", "Problem"),
        ),
    }


def _object(required: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **others}, "required": list(required)}
