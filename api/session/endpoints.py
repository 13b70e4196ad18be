"""A browser trades an API key for a cookie that no script can read."""

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


class Login(Schema):
    """A login."""

    key: str = Field(max_length=200)
    """An API key."""


class Session(Schema):
    """Who asks, and what for."""

    keys_required: bool
    """Whether this service asks for keys; where it does not, everybody may do everything."""
    scope: Scope
    """What may be done: `read`, `write` includes it, `admin` both."""
    key: str | None
    """The beginning of the key; null without keys."""
    until: datetime | None
    """When the session or the key ends; null: never."""


def _caller(request: Request) -> Caller | None:
    return getattr(request.state, "caller", None)


@router.get("/v1/session")
def get_session(here: Here, caller: Annotated[Caller | None, Depends(_caller)]) -> Session:
    """Who am I, and what may I do? 404 where nobody is logged in, but keys are asked for."""
    if here.access is None:
        return Session(keys_required=False, scope="admin", key=None, until=None)
    if caller is None:
        raise NotFoundError(
            "nobody is logged in",
            expected="a cookie, or `Authorization: Bearer eva_…`",
            next_move="Send a key to POST /v1/session, or open /login",
        )
    return _session(caller, caller.until)


@router.post("/v1/session")
def create_session(here: Here, request: Request, response: Response, login: Login) -> Session:
    """Log in: the answer sets a cookie that browsers send by themselves; no script and no other site can use it."""
    caller, until = _log_in(_access(here), request, response, login.key)
    return _session(caller, until)


@router.delete("/v1/session", status_code=204)
def delete_session(here: Here, request: Request, response: Response) -> None:
    """Log out: the session ends on the server too."""
    if here.access is not None:
        here.access.close_session(request.headers)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


@router.get("/login", include_in_schema=False)
def login_page() -> HTMLResponse:
    """A form for people; it needs no script."""
    return HTMLResponse(_page())


@router.post("/login", include_in_schema=False)
async def log_in(here: Here, request: Request) -> Response:
    """What the form sends."""
    given = parse_qs((await request.body()).decode("utf-8", "replace")).get("key", [""])[0]
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    try:
        await run_in_threadpool(_log_in, _access(here), request, answer, given.strip())
    except RefusedError as error:
        return HTMLResponse(
            _page(
                "That key is none that is valid here."
                if error.status == HTTPStatus.UNAUTHORIZED
                else "Too many tries: wait a while."
            ),
            error.status,
            error.headers,
        )
    return answer


def _access(here: Service) -> Access:
    if here.access is None:
        raise ConflictError(
            "this service asks for no keys",
            expected="requests without a login",
            next_move="Just ask; `eva serve --require-keys` would make it ask for keys",
        )
    return here.access


def _log_in(access: Access, request: Request, response: Response, key: str) -> tuple[Caller, datetime]:
    caller = access.recognise(key, request.client.host if request.client else "")
    token, until = access.open_session(caller)
    # the page's own scheme: behind a proxy that ends TLS, this server does not see it otherwise
    secure = request.headers.get("origin", "").startswith("https://")
    response.set_cookie(
        COOKIE, token, expires=until.astimezone(UTC), path="/", httponly=True, samesite="strict", secure=secure
    )
    return caller, until


def _session(caller: Caller, until: datetime | None) -> Session:
    return Session(keys_required=True, scope=caller.scope, key=f"eva_{caller.prefix}", until=until)


def _page(problem: str = "") -> str:
    told = f"<p class=mistake role=alert>{problem}</p>" if problem else ""
    return f"""<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">
<title>eva: log in</title><link rel=icon href=/static/icon.svg type=image/svg+xml>
<link rel=stylesheet href=/static/style/base.css><link rel=stylesheet href=/static/style/parts.css>
<link rel=stylesheet href=/static/style/forms.css>
<main class=entrance><form class="card form" method=post action=/login>
<h1 class=brand><img src=/static/icon.svg width=26 height=26 alt="">eva</h1>{told}
<div class=field><label for=key>API key</label>
<input id=key name=key type=password maxlength=200 required autofocus autocomplete=current-password></div>
<p class="soft small">Keys are made on the server: <code>eva keys create NAME --scope read</code></p>
<p class="buttons ends"><button class="button first">Log in</button></p></form></main></html>
"""
