"""Checks every request before its endpoint: host, origin, key, size of the body. Adds security headers for browsers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import RefusedError, problem
from api.security.access import KEYLESS_READS, Access, is_api, needed_scope
from eva.errors import EvaError
from eva.prompts.uploads import MOST_BYTES

MOST_BODY, DEEPEST, MOST_BRACKETS, SLOWEST_S = 2**20, 64, 20_000, 20.0
"""Limits of a body: its bytes, how deep its JSON's lists and objects are and how many, and its seconds on the way."""
MOST_KEYLESS_BODY = 4096
"""Limit of a body that needs no key: a login is small, and anybody may send one."""
_BODILESS = ("GET", "HEAD")
UPLOADS = "/v1/prompt-files"
"""Files are sent here, and read piece by piece by the endpoint, which has limits of its own."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_FOR_PROGRAMS = _HEADERS | {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
# with no-referrer, browsers send a page's form with the origin `null`
_FOR_PAGES = _HEADERS | {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OF_JSON = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


class Guards:
    """Refuses requests for other hosts, from other sites' pages, and with bodies that are too large.

    Any page that a browser shows can send requests to this machine, even by a name of its own that resolves to this
    address. But it cannot choose the Host header, and it cannot leave out Origin.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = LOOPBACK,
        most_body: int = MOST_BODY,
        access: Access | None = None,
        slowest_s: float = SLOWEST_S,
    ) -> None:
        """`access` is None where requests need no key."""
        self.app, self.hosts, self.most_body = app, hosts, most_body
        self.access, self.slowest_s = access, slowest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, path = str(scope["method"]), str(scope["path"])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (_FOR_PROGRAMS if is_api(path) else _FOR_PAGES).items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            most = self.most_body if needed_scope(method, path) else min(self.most_body, MOST_KEYLESS_BODY)
            most = MOST_BYTES if path == UPLOADS else most
            self._check(Headers(scope=scope), method, most)
            await self._admit(scope, method, path)
            streams = method in _BODILESS or path == UPLOADS
            received = receive if streams else await self._whole_body(receive, most)
        except EvaError as error:
            await problem(error)(scope, receive, sending)
        else:
            await self.app(scope, received, sending)

    async def _admit(self, scope: Scope, method: str, path: str) -> None:
        if self.access is not None and path not in KEYLESS_READS:
            address = (scope.get("client") or ("",))[0]
            caller = await run_in_threadpool(self.access.admit, method, path, Headers(scope=scope), address)
            scope["state"] = {**scope.get("state", {}), "caller": caller}

    def _check(self, headers: Headers, method: str, most: int) -> None:
        host = headers.get("host", "")
        if _hostname(f"//{host}") not in self.hosts:
            raise MisdirectedError(
                f"the request is for host {host[:100]!r}",
                expected="an address or name of this service",
                next_move="Use the address that `eva serve` printed, or allow this name with EVA_HOSTS",
            )
        origin = headers.get("origin")
        if origin is not None and method not in _BODILESS and _netloc(origin) != host:
            raise ForeignPageError(
                f"the request comes from a page at {origin[:100]}",
                expected="a program, or a page at this address",
                next_move="Send the request without an Origin header",
            )
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > most:
            raise _too_large(most)

    async def _whole_body(self, receive: Receive, most: int) -> Receive:
        """Reads the whole body, whose length may be unknown, and passes it on in one piece."""
        try:
            async with asyncio.timeout(self.slowest_s):
                body = await self._read(receive, most)
        except TimeoutError:
            raise SlowBodyError(
                f"the body had not arrived after {self.slowest_s:g} seconds",
                expected="the whole body within that time",
                next_move="Send the request again",
            ) from None
        _check_depth(body)
        pieces: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            return pieces.pop() if pieces else await receive()

        return received

    async def _read(self, receive: Receive, most: int) -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise TimeoutError
            body += message.get("body", b"")
            more = bool(message.get("more_body"))
            if len(body) > most:
                raise _too_large(most)
        return bytes(body)


def _check_depth(body: bytes) -> None:
    """Raises DeepBodyError for JSON that is nested too deeply or has too many parts, before a parser reads it."""
    brackets = body.count(b"[") + body.count(b"{")
    if brackets <= DEEPEST:
        return
    if brackets > MOST_BRACKETS:
        raise DeepBodyError(
            f"the body has {brackets:,} opening brackets",
            expected=f"at most {MOST_BRACKETS:,}",
            next_move="Send less; prompts go into a file that the config names",
        )
    depth, quoted = 0, False
    for match in _OF_JSON.finditer(body):
        sign = match[0]
        if sign == b'"':
            quoted = not quoted
        elif not quoted and len(sign) == 1:
            depth += 1 if sign in b"[{" else -1
        if depth > DEEPEST:
            raise DeepBodyError(
                f"the body is nested deeper than {DEEPEST} levels",
                expected=f"at most {DEEPEST}",
                next_move="See what each path allows at /v1/openapi.json",
            )


class MisdirectedError(RefusedError):
    """The request is for another host."""

    status = 421


class ForeignPageError(RefusedError):
    """A page of another site sent the request."""

    status = 403


class BodyTooLargeError(RefusedError):
    """The body is larger than any request of this API."""

    status = 413


class DeepBodyError(RefusedError):
    """The body is nested too deep, or has too many parts."""

    status = 422


class SlowBodyError(RefusedError):
    """The body comes too slowly."""

    status = 408


def _too_large(most: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body has more than {most:,} bytes",
        expected=f"at most {most:,}",
        next_move="Send less; prompts go into a file that the config names",
    )


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
