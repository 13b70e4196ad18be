"""A service elsewhere, asked by HTTP."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from eva.errors import ConflictError, EvaError, InfrastructureError, InputError, NotFoundError

TIMEOUT_S = 120
_ERRORS: dict[int, type[EvaError]] = {404: NotFoundError, 409: ConflictError, 412: ConflictError}


class Remote:
    """The service at `url`, with the key of EVA_KEY where that is set."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InputError(f"--url {url!r} is no address", expected="http://HOST:PORT, as `eva serve` prints it",
                             next_move="Correct it")
        self.url = url.rstrip("/")

    def get(self, path: str) -> Any:
        """What a path answers. Raises the error that its problem document describes."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send a change. Raises the error that its problem document describes."""
        return self._ask("POST", path, body, headers or {})

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if key := os.environ.get("EVA_KEY"):
            sent["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked
            self.url + path, None if body is None else json.dumps(body).encode(), sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise _told(error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise InfrastructureError(f"nothing that eva knows answers at {self.url}: {error}",
                                      expected="a service, started with `eva serve`",
                                      next_move="Check --url; look at what `eva serve` printed") from error


def _told(error: urllib.error.HTTPError) -> EvaError:
    try:
        problem: dict[str, Any] = json.load(error)
        given, expected, move = str(problem["given"]), problem.get("expected"), problem.get("next_move")
    except (ValueError, KeyError, TypeError):
        given, expected, move = f"{error.url} answered {error.code}", None, "Check --url"
    fallback = InputError if error.code < 500 else InfrastructureError
    return _ERRORS.get(error.code, fallback)(given, expected=str(expected or ""), next_move=str(move or ""))
