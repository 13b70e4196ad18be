"""Browser logins: an API key is exchanged for a cookie that no script can read."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field

from api.problems import RefusedError
from api.schema import Schema
from api.security.access import COOKIE, Access, Caller
from api.service import Here, Service
from eva.errors import ConflictError, NotFoundError
from eva.runtime.api_keys import Scope

router = APIRouter(tags=["session"])

API_DOCS = "/docs"
"""The page of the API's documentation, which leads visitors without a key to the login."""


class Login(Schema):
    """A login."""

    key: str = Field(max_length=200)
    """An API key."""


class Session(Schema):
    """Who sends the requests, and what they may do."""

    keys_required: bool
    """Whether this service requires keys. Where it does not, everybody may do everything."""
    scope: Scope
    """What the key allows: `read`; `write`, which includes `read`; `admin`, which includes both."""
    key: str | None
    """The beginning of the key; null where no keys are required."""
    until: datetime | None
    """When the session or the key ends; null: never."""


def _caller(request: Request) -> Caller | None:
    return getattr(request.state, "caller", None)


@router.get("/v1/session")
def get_session(here: Here, caller: Annotated[Caller | None, Depends(_caller)]) -> Session:
    """Who you are, and what you may do. 404 when you are not logged in and keys are required."""
    if here.access is None:
        return Session(keys_required=False, scope="admin", key=None, until=None)
    if caller is None:
        raise NotFoundError(
            "you are not logged in",
            expected="a cookie, or `Authorization: Bearer eva_…`",
            next_move="Send a key to POST /v1/session, or open /login",
        )
    return _session(caller, caller.until)


@router.post("/v1/session")
def create_session(here: Here, request: Request, response: Response, login: Login) -> Session:
    """Log in. The response sets a cookie that the browser sends from then on; scripts and other sites cannot use it."""
    caller, until = _log_in(_access(here), request, response, login.key)
    return _session(caller, until)


@router.delete("/v1/session", status_code=204)
def delete_session(here: Here, request: Request, response: Response) -> None:
    """Log out. The session ends on the server, too."""
    if here.access is not None:
        here.access.close_session(request.headers)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


@router.get("/login", include_in_schema=False)
def login_page(request: Request) -> HTMLResponse:
    """The login form, which needs no script."""
    return HTMLResponse(_page(then=_destination(request)))


@router.post("/login", include_in_schema=False)
async def log_in(here: Here, request: Request) -> Response:
    """Handles the login form."""
    key = parse_qs((await request.body()).decode("utf-8", "replace")).get("key", [""])[0]
    then = _destination(request)
    response = RedirectResponse(then, HTTPStatus.SEE_OTHER)
    try:
        await run_in_threadpool(_log_in, _access(here), request, response, key.strip())
    except RefusedError as error:
        return HTMLResponse(
            _page(
                "This key is not valid."
                if error.status == HTTPStatus.UNAUTHORIZED
                else "Too many invalid keys. Wait a while, then try again.",
                then,
            ),
            error.status,
            error.headers,
        )
    return response


def _access(here: Service) -> Access:
    if here.access is None:
        raise ConflictError(
            "this service requires no keys",
            expected="requests without a login",
            next_move="Send your request without a key; `eva serve --require-keys` would require one",
        )
    return here.access


def _log_in(access: Access, request: Request, response: Response, key: str) -> tuple[Caller, datetime]:
    caller = access.recognise(key, request.client.host if request.client else "")
    token, until = access.open_session(caller)
    # from the page's address: behind a proxy that ends TLS, the server cannot see the scheme otherwise
    secure = request.headers.get("origin", "").startswith("https://")
    response.set_cookie(
        COOKIE, token, expires=until.astimezone(UTC), path="/", httponly=True, samesite="strict", secure=secure
    )
    return caller, until


def _session(caller: Caller, until: datetime | None) -> Session:
    return Session(keys_required=True, scope=caller.scope, key=f"eva_{caller.prefix}", until=until)


def _destination(request: Request) -> str:
    """Where a login leads: to the dashboard, or to the page of the API's documentation if it sent the visitor here."""
    return API_DOCS if request.query_params.get("next") == API_DOCS else "/"


def _page(problem: str = "", then: str = "/") -> str:
    alert = f"<p class=mistake role=alert>{problem}</p>" if problem else ""
    return f"""<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">
<title>eva: log in</title><link rel=icon href=/static/icon.svg type=image/svg+xml>
<link rel=stylesheet href=/static/style/base.css><link rel=stylesheet href=/static/style/parts.css>
<link rel=stylesheet href=/static/style/forms.css>
<main class=entrance><form class="card form" method=post action="/login{"" if then == "/" else f"?next={then}"}">
<h1 class=brand><img src=/static/icon.svg width=26 height=26 alt="">eva</h1>{alert}
<div class=field><label for=key>API key</label>
<input id=key name=key type=password maxlength=200 required autofocus autocomplete=current-password></div>
<p class="soft small">Keys are made on the server: <code>eva keys create NAME --scope read</code></p>
<p class="buttons ends"><button class="button first">Log in</button></p></form></main></html>
"""
