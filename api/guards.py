"""What stands before the endpoints: the host allowlist, the limit of bodies, headers against misuse by browsers."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from eva.errors import EvaError

MOST_BODY = 2**20
_BODILESS = ("GET", "HEAD")
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Guards:
    """Requests for other hosts, from other sites' pages and with too large bodies go no further.

    A page that a browser shows may send requests to this machine, under a name of its own choice that it lets point
    here. It cannot choose the Host header, and it cannot leave Origin out.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = LOOPBACK, most_body: int = MOST_BODY) -> None:
        self.app, self.hosts, self.most_body = app, hosts, most_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        method = str(scope["method"])
        try:
            self._check(Headers(scope=scope), method)
            received = receive if method in _BODILESS else await self._whole_body(receive)
        except RequestRefusedError as error:
            await problem(error)(scope, receive, sending)
        else:
            await self.app(scope, received, sending)

    def _check(self, headers: Headers, method: str) -> None:
        host = headers.get("host", "")
        if _hostname(f"//{host}") not in self.hosts:
            raise MisdirectedError(f"the request is for host {host[:100]!r}",
                                    expected=f"one of {', '.join(sorted(self.hosts))}",
                                    next_move="Use the address that `eva serve` printed")
        origin = headers.get("origin")
        if origin is not None and method not in _BODILESS and _netloc(origin) != host:
            raise ForeignPageError(f"the request comes from a page of {origin[:100]}",
                                    expected="a program, or a page of this address",
                                    next_move="Send it without an Origin header")
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > self.most_body:
            raise _too_large(self.most_body)

    async def _whole_body(self, receive: Receive) -> Receive:
        """Reads the body, which may not say its length before, and hands it on in one piece."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), bool(message.get("more_body"))
            if len(body) > self.most_body:
                raise _too_large(self.most_body)
        pieces: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            return pieces.pop() if pieces else await receive()

        return received


class RequestRefusedError(EvaError):
    """The request goes no further than the guards."""


class MisdirectedError(RequestRefusedError):
    """The request names a host that this service is not."""

    status = 421


class ForeignPageError(RequestRefusedError):
    """A page of another site sent the request."""

    status = 403


class BodyTooLargeError(RequestRefusedError):
    """The body is larger than any request of this API."""

    status = 413


def _too_large(most: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body has more than {most:,} bytes", expected=f"at most {most:,}",
                             next_move="Send less; prompts go into a file that the config names")


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
