"""Who may ask for what: API keys, sessions of browsers, and the one list of what needs which scope."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

from api.problems import RefusedError
from api.security.attempts import Tries
from eva.runtime.api_keys import Scope, includes, key_digest, prefix_of
from store.runs.api_keys import LiveKey, live_keys, record_use
from store.session import Store

COOKIE = "eva_session"
SESSION = timedelta(hours=12)
MOST_SESSIONS = 1000
FRESH_S = 2.0
"""So long after its revocation a key may still be taken."""

_LOOKING = ("GET", "HEAD", "OPTIONS")
_OPEN = ("/healthz", "/readyz", "/v1/session")
_RULES: tuple[tuple[str, Scope], ...] = (("/v1/keys", "admin"),)
"""Paths, with what lies below, that always need this scope."""


def needed_scope(method: str, path: str) -> Scope | None:
    """What does a request need? Looking needs `read`, everything else `write`; pages show nothing by themselves."""
    for prefix, scope in _RULES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return scope
    if path in _OPEN or path == "/login":
        return None
    if method not in _LOOKING:
        return "write"
    return "read" if is_api(path) else None


def is_api(path: str) -> bool:
    """Is this an answer for programs, rather than a page or a part of one?"""
    return path.startswith("/v1/") or path in ("/v1", "/healthz", "/readyz", "/metrics")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the prefix and scope of the key, and when that or the session ends."""

    prefix: str
    scope: Scope
    until: datetime | None


class Access:
    """Keys of the store, sessions of this process, and a limit of failed tries per address."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._keys: dict[str, LiveKey] = {}
        self._read_at = -FRESH_S
        self._sessions: OrderedDict[bytes, tuple[str, datetime]] = OrderedDict()
        self._noted: dict[str, int] = {}
        self._tries = Tries(clock)

    def admit(self, method: str, path: str, headers: Headers, address: str) -> Caller | None:
        """Who asks, None where nobody needs to say. Raises RefusedError, and StoreError when keys cannot be read."""
        needed = needed_scope(method, path)
        caller = self.caller(headers, address) if needed or path == "/v1/session" else None
        if needed is None:
            return caller
        if caller is None:
            raise _unauthorized("the request has no API key")
        if not includes(caller.scope, needed):
            raise ScopeError(
                f"the key eva_{caller.prefix} has scope {caller.scope}",
                expected=f"{needed} for {method} {path[:100]}",
                next_move=f"Use one made with `eva keys create NAME --scope {needed}`",
                headers={"WWW-Authenticate": f'Bearer realm="eva", error="insufficient_scope", scope="{needed}"'},
            )
        return caller

    def caller(self, headers: Headers, address: str) -> Caller | None:
        """Whose key or session is it? None without either. Raises UnauthorizedError, TooManyTriesError."""
        given = headers.get("authorization")
        if given is not None:
            scheme, _, key = given.partition(" ")
            if scheme.lower() != "bearer":
                raise _unauthorized(f"Authorization is of scheme {scheme[:20]!r}")
            return self.recognise(key.strip(), address)
        token = _cookie(headers)
        if token is None:
            return None
        with self._lock:
            found = self._sessions.get(_hashed(token))
        key = found and self._live().get(found[0])
        if found is None or key is None or found[1] < datetime.now(UTC):
            return None
        return Caller(key.prefix, key.scope, found[1])

    def recognise(self, key: str, address: str) -> Caller:
        """Whose key is it? Raises UnauthorizedError, or TooManyTriesError where too many from there were none."""
        seen = _hashed(key)
        self._tries.check(address, seen)
        prefix = prefix_of(key)
        # a key that was made just now is taken at once; how often who guesses makes us look is bounded by the tries
        found = self._live().get(prefix or "") or (self._live(anew=True).get(prefix) if prefix else None)
        # who guesses learns nothing from the time that a prefix takes
        digest = key_digest(key, found.salt if found else b"")
        if found is None or not hmac.compare_digest(digest, found.digest):
            self._tries.failed(address)
            raise _unauthorized("the API key is none that is valid here", ', error="invalid_token"')
        self._tries.succeeded(seen)
        self._note(found.prefix)
        return Caller(found.prefix, found.scope, found.expires_at)

    def open_session(self, caller: Caller) -> tuple[str, datetime]:
        """A session of a key: its token and its end. The oldest makes room where there are too many."""
        token, end = secrets.token_urlsafe(32), datetime.now(UTC) + SESSION
        end = min(end, caller.until or end)
        with self._lock:
            self._sessions[_hashed(token)] = (caller.prefix, end)
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return token, end

    def close_session(self, headers: Headers) -> None:
        """The session of this request ends."""
        token = _cookie(headers)
        if token is not None:
            with self._lock:
                self._sessions.pop(_hashed(token), None)

    def _live(self, *, anew: bool = False) -> dict[str, LiveKey]:
        with self._lock:
            if not anew and self._clock() - self._read_at < FRESH_S:
                return self._valid()
        with self._store.transaction() as conn:
            found = {key.prefix: key for key in live_keys(conn)}
        with self._lock:
            self._keys, self._read_at = found, self._clock()
            return self._valid()

    def _valid(self) -> dict[str, LiveKey]:
        now = datetime.now(UTC)
        return {prefix: key for prefix, key in self._keys.items() if key.expires_at is None or key.expires_at > now}

    def _note(self, prefix: str) -> None:
        hour = int(time.time() // 3600)
        if self._noted.get(prefix) != hour:
            with self._store.transaction() as conn:
                record_use(conn, prefix)
            self._noted[prefix] = hour


class UnauthorizedError(RefusedError):
    """It is not known who asks."""

    status = 401


class ScopeError(RefusedError):
    """The key may not do this."""

    status = 403


def _unauthorized(given: str, why: str = "") -> UnauthorizedError:
    return UnauthorizedError(
        given,
        expected="`Authorization: Bearer eva_…`, or the cookie of a login",
        next_move="Make a key on the server with `eva keys create NAME --scope read`",
        headers={"WWW-Authenticate": f'Bearer realm="eva"{why}'},
    )


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value
