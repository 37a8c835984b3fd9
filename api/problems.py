"""Every error as an RFC 9457 problem document, made in one place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.schemas import ProblemOut
from api.service import (
    NotReadyError,
    OrderImpossibleError,
    UnknownAlertError,
    UnknownPlaceError,
    UnknownPlanError,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "tag:traffic-response,2025:"
MAX_ECHO_CHARS = 200  # of what a client sent, in an answer


class UnauthorizedError(PermissionError):
    """An order without a valid token."""


class TooManyReadersError(RuntimeError):
    """No place is left for another reader of events."""


@dataclass(frozen=True)
class Kind:
    """How one kind of domain error is told to a client."""

    status: HTTPStatus
    slug: str
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)


KINDS: Mapping[type[Exception], Kind] = {
    UnauthorizedError: Kind(
        HTTPStatus.UNAUTHORIZED,
        "token-needed",
        "A valid token is needed",
        {"WWW-Authenticate": 'Bearer realm="traffic"'},
    ),
    UnknownAlertError: Kind(HTTPStatus.NOT_FOUND, "unknown-alert", "No such open alert"),
    UnknownPlaceError: Kind(HTTPStatus.NOT_FOUND, "unknown-place", "No such place"),
    UnknownPlanError: Kind(HTTPStatus.NOT_FOUND, "unknown-plan", "No such response plan"),
    OrderImpossibleError: Kind(
        HTTPStatus.CONFLICT, "order-impossible", "The order cannot take effect"
    ),
    NotReadyError: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "Nothing to show yet", {"Retry-After": "1"}
    ),
    TooManyReadersError: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too-many-readers",
        "Too many readers of events",
        {"Retry-After": "60"},
    ),
}


def build_problem(
    status: int,
    *,
    type_: str = "about:blank",
    title: str | None = None,
    detail: str | None = None,
    instance: str | None = None,
    headers: Mapping[str, str] | None = None,
    **extension: Any,
) -> Response:
    """Return the problem as a response; `extension` adds members of its own."""
    document = {
        "type": type_,
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        **extension,
    }
    known = {name: value for name, value in document.items() if value is not None}
    # A client may have sent lone surrogates, which UTF-8 cannot carry back.
    body = json.dumps(known, ensure_ascii=False).encode("utf-8", "replace")
    return Response(
        body,
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def _build_invalid(error: RequestValidationError, instance: str) -> Response:
    """What a client sent is echoed by place, never by value."""
    errors = [
        {
            "pointer": "/" + "/".join(str(part) for part in problem["loc"])[:MAX_ECHO_CHARS],
            "detail": str(problem["msg"])[:MAX_ECHO_CHARS],
        }
        for problem in error.errors()[:20]
    ]
    return build_problem(
        422,
        type_=TYPE_PREFIX + "invalid-request",
        title="The request is not valid",
        detail="; ".join(f"{e['pointer']}: {e['detail']}" for e in errors),
        instance=instance,
        errors=errors,
    )


async def answer_problem(request: Request, error: Exception) -> Response:
    """The one handler: any error that leaves a route becomes a problem document."""
    instance = quote(str(request.scope["path"])[:MAX_ECHO_CHARS], errors="replace")
    kind = KINDS.get(type(error))
    if kind is not None:
        return build_problem(
            kind.status,
            type_=TYPE_PREFIX + kind.slug,
            title=kind.title,
            detail=str(error),
            instance=instance,
            headers=kind.headers,
        )
    if isinstance(error, RequestValidationError):
        return _build_invalid(error, instance)
    if isinstance(error, HTTPException):
        detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else None
        return build_problem(
            error.status_code, detail=detail, instance=instance, headers=error.headers
        )
    return build_problem(
        500, detail="A fault of the service; its log says more.", instance=instance
    )


def add_problems(app: FastAPI) -> None:
    for error in (HTTPException, RequestValidationError, *KINDS, Exception):
        app.add_exception_handler(error, answer_problem)


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` of a route that may answer with these problems."""

    def describe(status: int) -> dict[str, Any]:
        titles = [kind.title for kind in KINDS.values() if kind.status == status]
        title = " or ".join(titles) or HTTPStatus(status).phrase
        example = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
        schema = {"$ref": "#/components/schemas/ProblemOut"}
        return {
            "description": title,
            "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
        }

    found: dict[int | str, dict[str, Any]] = {status: describe(status) for status in statuses}
    found["default"] = {**describe(500), "description": "Any other error"}
    return found


def add_problem_schema(document: dict[str, Any]) -> dict[str, Any]:
    """Put the schemas that `describe_problems` refers to into an OpenAPI document."""
    schema = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs", {}))
    schemas["ProblemOut"] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document
