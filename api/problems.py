"""Errors as RFC 9457 problem documents: what was given, what is allowed, the next move."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from eva.errors import EvaError, InputError
from eva.runtime.redaction import known_secrets, redact_json

MEDIA_TYPE = "application/problem+json"
_SHOWN = 200
_ACTION = re.compile(r"(/v1/runs/[^/]+)/(pause|resume|cancel|fork|restore)/?")

log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """One part of a request that is not valid."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    where: str
    """The place, such as `query.limit` or `body.config`; in a config the key, such as `config.training.beta`."""
    expected: str
    """What is allowed there."""
    given: str
    """What was given there, shortened."""


class Problem(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """The name of this kind of problem. It never changes."""
    title: str
    """The status in words."""
    status: int
    """The status code."""
    detail: str
    """`given`, `expected` and `next_move` as one text for people."""
    given: str
    """What was given, or what happened."""
    expected: str | None = None
    """What is allowed."""
    next_move: str | None = None
    """What to do next."""
    errors: list[FieldProblem] | None = None
    """Each part of the request that is not valid."""


class RefusedError(EvaError):
    """The request is refused before its endpoint does anything. `headers` are sent with the response."""

    def __init__(
        self, given: str, *, expected: str = "", next_move: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(given, expected=expected, next_move=next_move)
        self.headers = headers or {}


def problem(
    error: EvaError,
    *,
    kind: str | None = None,
    errors: list[FieldProblem] | None = None,
    headers: dict[str, str] | None = None,
    status: int | None = None,
) -> JSONResponse:
    """The response for an error. `kind` names the problem where the error's class does not."""
    code = status or error.status
    if isinstance(error, RefusedError):
        headers = error.headers | (headers or {})
    document = Problem(
        type=f"urn:eva:problem:{kind or _kind(error)}",
        title=HTTPStatus(code).phrase,
        status=code,
        detail=str(error),
        given=error.given,
        expected=error.expected or None,
        next_move=error.next_move or None,
        errors=errors,
    )
    shown = redact_json(document.model_dump(exclude_none=True), known_secrets())
    return JSONResponse(shown, code, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI, missing_page: Callable[[Request], Response | None]) -> None:
    """Turns every error that the application raises into a problem document.

    `missing_page` shows that there is nothing at an address to a person; it returns None for a program.
    """

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        shown = missing_page(request) if error.status_code == HTTPStatus.NOT_FOUND else None
        return shown or _http_error(request, error)

    app.add_exception_handler(EvaError, _eva_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


def _kind(error: EvaError) -> str:
    words = re.sub(r"Error$", "", type(error).__name__)
    return re.sub(r"(?<!^)(?=[A-Z])", "-", words).lower()


def _eva_error(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, EvaError)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s", error)
    headers = {"Retry-After": "5"} if error.status in (429, 503) and not isinstance(error, RefusedError) else None
    places = (
        [
            FieldProblem(where=f"config.{place.key}".rstrip("."), expected=place.expected, given=place.given)
            for place in error.places
        ]
        if isinstance(error, InputError)
        else []
    )
    return problem(error, headers=headers, errors=places or None)


def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    path = request.url.path[:_SHOWN]
    if error.status_code == HTTPStatus.NOT_FOUND:
        action = _ACTION.fullmatch(path)
        advice = f"Actions follow a colon: POST {action[1]}:{action[2]}" if action else "See them at /v1/openapi.json"
        failure = EvaError(
            f"there is nothing at {path}",
            expected="a path of the API",
            next_move=advice,
        )
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        failure = EvaError(
            f"{request.method} is not allowed at {path}",
            expected=(allowed := _allowed(request)),
            next_move="See what each path allows at /v1/openapi.json",
        )
        error.headers = {**(error.headers or {}), "Allow": allowed}
    else:
        failure = EvaError(str(error.detail), next_move="Correct the request; /v1/openapi.json describes each")
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return problem(failure, kind=kind, status=error.status_code, headers=dict(error.headers or {}))


def _allowed(request: Request) -> str:
    """The methods that a path allows. The framework names only those of the first matching route."""
    methods = {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE
        for method in route.methods or ()
    }
    return ", ".join(sorted(methods))


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [_field(cast("dict[str, Any]", detail)) for detail in error.errors()]
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if any(field.where == "body" for field in fields) and media_type != "application/json":
        failure = EvaError(
            f"the request has Content-Type {media_type[:_SHOWN]}" if media_type else "the request has no Content-Type",
            expected="a body of JSON with the header `Content-Type: application/json`",
            next_move="Add that header: curl -H 'Content-Type: application/json' -d '{…}' URL",
        )
        return problem(failure, kind="request", errors=fields, status=422)
    failure = EvaError(
        "the request is not valid: " + "; ".join(f"{field.where}: {field.expected}" for field in fields[:5]),
        next_move="Correct these parts; /v1/openapi.json describes each",
    )
    return problem(failure, kind="request", errors=fields, status=422)


def _field(detail: dict[str, Any]) -> FieldProblem:
    where = ".".join(str(part) for part in detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ")
    return FieldProblem(where=where, expected=message, given=repr(detail.get("input"))[:_SHOWN])


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    failure = EvaError(
        "the service failed to handle this request because of an internal error",
        next_move="Look at the service's log, and report the error together with the request",
    )
    return problem(failure, kind="fault")
