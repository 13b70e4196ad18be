"""The API as commands use it: in this process over the local store, or over HTTP at a service's URL."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from shutil import copyfileobj
from typing import IO, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import click

from cli.store_access import existing_store
from eva.errors import ConflictError, EvaError, InfrastructureError, InputError, NotFoundError
from eva.settings import Settings, read_settings
from store.session import Store

TIMEOUT_S, LOCAL_S = 120, 600.0
LARGEST_PAGE = 200
_ERRORS: dict[int, type[EvaError]] = {404: NotFoundError, 409: ConflictError, 412: ConflictError}
_KEYLESS = (401, 403)


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --url to a command that shows runs."""
    return click.option(
        "--url",
        envvar="EVA_URL",
        metavar="URL",
        help="Address of the service that has the run (or EVA_URL). Its API key goes into EVA_KEY.",
    )(command)


def run_path(run: str) -> str:
    """The API's path of a run. Raises NotFoundError if this cannot be the name of a run."""
    if not run or "/" in run or ":" in run:
        raise NotFoundError(
            f"there is no run {run!r}",
            expected="a name, a unique prefix of one, or `last`",
            next_move="List the runs with `eva runs`",
        )
    return f"/v1/runs/{quote(run, safe='')}"


@contextmanager
def source_of(url: str | None) -> Generator[Local | Remote]:
    """The service at `url`; without a URL, the store of this machine, which must exist."""
    if url is None:
        with existing_store() as store:
            yield Local(store, read_settings())
        return
    remote = Remote(url)
    try:
        yield remote
    except KeyError as error:
        raise remote.other_version(f"sent a response without {error}") from error


class Source(ABC):
    """A source of API responses."""

    def get(self, path: str, **query: Any) -> Any:
        """GET a path. Raises the error that the problem document in the response describes."""
        parameters = {key: value for key, value in query.items() if value is not None}
        return self._send("GET", f"{path}?{urlencode(parameters, doseq=True)}" if parameters else path, None, {})

    def post(self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """POST to a path. Raises the error that the problem document in the response describes."""
        return self._send("POST", path, body, headers or {})

    def delete(self, path: str) -> None:
        """DELETE what is at a path. Raises the error that the problem document in the response describes."""
        self._send("DELETE", path, None, {})

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        all_headers = {"Accept": "application/json", **headers}
        if body is not None:
            all_headers["Content-Type"] = "application/json"
        return self._request(method, path, None if body is None else json.dumps(body).encode(), all_headers)

    @abstractmethod
    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        """The JSON of the response. Raises the error that it describes."""


class Local(Source):
    """The API over a store, called in this process without a server or a socket."""

    def __init__(self, store: Store, settings: Settings) -> None:
        from api.main import create_app
        from api.service import Service

        self.store = store
        self.service = Service(store, settings, longest_s=LOCAL_S)
        self._app = create_app(self.service)

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        status, content = asyncio.run(self._call(method, path, body or b"", headers))
        if status >= http.client.BAD_REQUEST:
            raise _error_of(status, content, path)
        return json.loads(content) if content else None

    async def _call(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        address, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": unquote(address),
            "raw_path": address.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()],
        }
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the API never sends one, and a key must not reach another address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


class Remote(Source):
    """The service at `url`, called with the key in EVA_KEY if that is set."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InputError(
                f"--url {url!r} is not an address",
                expected="http://HOST:PORT, as `eva serve` prints it",
                next_move="Correct it",
            )
        self.url = url.rstrip("/")

    def download(self, path: str, file: IO[bytes]) -> None:
        """Writes what is at a path to `file`. Raises the error that the problem document in the response describes."""
        self._open("GET", path, None, {}, lambda response: copyfileobj(response, file))

    def other_version(self, what: str) -> InfrastructureError:
        """The error for a response that this version of eva cannot use."""
        return InfrastructureError(
            f"the service at {self.url} {what}",
            expected="a service of the same version as this eva",
            next_move="Update the older one; `eva --version` prints this one's",
        )

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        return self._open(method, path, body, headers, _content)

    def _open(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], read: Callable[[Any], Any]
    ) -> Any:
        if key := os.environ.get("EVA_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310 - checked above
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S) as response:
                return read(response)
        except urllib.error.HTTPError as error:
            with error:
                described = _error_of(error.code, error.read(), self.url + path)
            if described.given.startswith("there is nothing at "):
                raise self.other_version(f"has nothing at {path}") from None
            raise described from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", error)
            raise InfrastructureError(
                f"no eva service responds at {self.url}: {why}",
                expected="a service started with `eva serve`",
                next_move="Compare --url with the address that `eva serve` printed",
            ) from error


def _content(response: IO[bytes]) -> Any:
    """The JSON of a response, None if it has no body."""
    content = response.read()
    return json.loads(content) if content else None


def _error_of(status: int, content: bytes, address: str) -> EvaError:
    """The error that a response with a problem document describes."""
    try:
        problem: dict[str, Any] = json.loads(content)
        given, expected, move = str(problem["given"]), problem.get("expected"), problem.get("next_move")
    except (ValueError, KeyError, TypeError):
        given, expected, move = f"{address} responded with status {status}", None, "Check --url"
    if status in _KEYLESS:
        expected, move = "a valid API key with the needed scope", f"Set EVA_KEY to one. {move or ''}".strip()
    fallback = InputError if status < http.client.INTERNAL_SERVER_ERROR else InfrastructureError
    return _ERRORS.get(status, fallback)(given, expected=str(expected or ""), next_move=str(move or ""))
