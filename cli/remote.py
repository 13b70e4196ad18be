"""What the API answers, asked here over the store or elsewhere by HTTP: commands look at runs in no other way."""

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

from cli.store_access import opened_existing
from eva.errors import ConflictError, EvaError, InfrastructureError, InputError, NotFoundError
from eva.settings import Settings, read_settings
from store.session import Store

TIMEOUT_S, LOCAL_S = 120, 600.0
LARGEST_PAGE = 200
_ERRORS: dict[int, type[EvaError]] = {404: NotFoundError, 409: ConflictError, 412: ConflictError}
_KEYLESS = (401, 403)


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--url, for commands that look at runs."""
    return click.option(
        "--url", envvar="EVA_URL", metavar="URL", help="A service that knows the run, or EVA_URL; its key: EVA_KEY."
    )(command)


def run_path(run: str) -> str:
    """Where the API shows a run. Raises NotFoundError for what is the name of none."""
    if not run or "/" in run or ":" in run:
        raise NotFoundError(
            f"there is no run {run!r}",
            expected="a name, the unique beginning of one, or `last`",
            next_move="List the runs with `eva runs`",
        )
    return f"/v1/runs/{quote(run, safe='')}"


@contextmanager
def source_of(url: str | None) -> Generator[Local | Remote]:
    """The service at `url`; without one, the store of this machine, which must exist."""
    if url is None:
        with opened_existing() as store:
            yield Local(store, read_settings())
        return
    remote = Remote(url)
    try:
        yield remote
    except KeyError as error:
        raise remote.other_version(f"answers without {error}") from error


class Source(ABC):
    """Something that answers the API's requests."""

    def get(self, path: str, **query: Any) -> Any:
        """What a path answers. Raises the error that its problem document describes."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._answer("GET", f"{path}?{urlencode(given, doseq=True)}" if given else path, None, {})

    def post(self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send a change. Raises the error that its problem document describes."""
        return self._answer("POST", path, body, headers or {})

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        return self._ask(method, path, None if body is None else json.dumps(body).encode(), sent)

    @abstractmethod
    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        """The answer's JSON, or the error that it describes."""


class Local(Source):
    """The API over a store, in this process: no server, no socket."""

    def __init__(self, store: Store, settings: Settings) -> None:
        from api.main import create_app
        from api.service import Service

        self.store = store
        self.service = Service(store, settings, longest_s=LOCAL_S)
        self._app = create_app(self.service)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        status, answer = asyncio.run(self._call(method, path, body or b"", headers))
        if status >= http.client.BAD_REQUEST:
            raise _told(status, answer, path)
        return json.loads(answer)

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
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The API sends nobody elsewhere, and a key is for the address that it was given for."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


class Remote(Source):
    """The service at `url`, with the key of EVA_KEY where that is set."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InputError(
                f"--url {url!r} is no address",
                expected="http://HOST:PORT, as `eva serve` prints it",
                next_move="Correct it",
            )
        self.url = url.rstrip("/")

    def download(self, path: str, file: IO[bytes]) -> None:
        """Write what a path answers, whatever it is. Raises the error that its problem document describes."""
        self._open("GET", path, None, {}, lambda answer: copyfileobj(answer, file))

    def other_version(self, what: str) -> InfrastructureError:
        """Why what it answers is of no use here."""
        return InfrastructureError(
            f"the service at {self.url} {what}",
            expected="one of the version of this eva",
            next_move="Bring both to the same version; `eva --version` says this one's",
        )

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        return self._open(method, path, body, headers, json.load)

    def _open(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], read: Callable[[Any], Any]
    ) -> Any:
        if key := os.environ.get("EVA_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310 - checked above
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
                return read(answer)
        except urllib.error.HTTPError as error:
            with error:
                told = _told(error.code, error.read(), self.url + path)
            if told.given.startswith("there is nothing at "):
                raise self.other_version(f"has nothing at {path}") from None
            raise told from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", error)
            raise InfrastructureError(
                f"nothing that eva knows answers at {self.url}: {why}",
                expected="a service, started with `eva serve`",
                next_move="Check --url; look at what `eva serve` printed",
            ) from error


def _told(status: int, answer: bytes, place: str) -> EvaError:
    try:
        problem: dict[str, Any] = json.loads(answer)
        given, expected, move = str(problem["given"]), problem.get("expected"), problem.get("next_move")
    except (ValueError, KeyError, TypeError):
        given, expected, move = f"{place} answered {status}", None, "Check --url"
    if status in _KEYLESS:
        expected, move = "a key of that service that is valid for this", f"Give one in EVA_KEY. {move or ''}".strip()
    fallback = InputError if status < http.client.INTERNAL_SERVER_ERROR else InfrastructureError
    return _ERRORS.get(status, fallback)(given, expected=str(expected or ""), next_move=str(move or ""))
