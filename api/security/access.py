"""Who may send which request: API keys, browser sessions, and the one list of the scopes that requests need."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

from api.problems import RefusedError
from api.security.attempts import FailedAttempts
from eva.runtime.api_keys import Scope, includes, key_digest, prefix_of
from store.runs.api_keys import LiveKey, live_keys, record_use
from store.session import Store

COOKIE = "eva_session"
SESSION = timedelta(hours=12)
MOST_SESSIONS = 1000
FRESH_S = 2.0
"""Seconds for which a revoked key may still be accepted."""

_LOOKING = ("GET", "HEAD", "OPTIONS")
KEYLESS_READS = ("/healthz", "/readyz")
"""Paths that nobody needs a key for, so that no key is looked up: they answer while every thread is busy."""
_OPEN = (*KEYLESS_READS, "/v1/session")
_RULES: tuple[tuple[str, Scope], ...] = (("/v1/keys", "admin"), ("/v1/webhooks", "admin"))
"""Paths that always need this scope, with everything below them."""


def needed_scope(method: str, path: str) -> Scope | None:
    """The scope that a request needs: `read` for reading, else `write`. Pages need none, for they hold no data."""
    for prefix, scope in _RULES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return scope
    if path in _OPEN or path == "/login":
        return None
    if method not in _LOOKING:
        return "write"
    return "read" if is_api(path) else None


def is_api(path: str) -> bool:
    """Whether a path answers programs, rather than being a page or a part of one."""
    return path.startswith("/v1/") or path in ("/v1", "/healthz", "/readyz", "/metrics")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the prefix and scope of the key, and when the key or the session ends."""

    prefix: str
    scope: Scope
    until: datetime | None


class Access:
    """The keys of the store, the sessions of this process, and a limit of failed attempts per address."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._keys: dict[str, LiveKey] = {}
        self._read_at = -FRESH_S
        self._sessions: OrderedDict[bytes, tuple[str, datetime]] = OrderedDict()
        self._recorded: dict[str, int] = {}
        self._attempts = FailedAttempts(clock)

    def admit(self, method: str, path: str, headers: Headers, address: str) -> Caller | None:
        """The caller of a request, or None where the path needs no key.

        Raises RefusedError, and StoreError when the keys cannot be read.
        """
        needed = needed_scope(method, path)
        caller = self.caller(headers, address) if needed or path == "/v1/session" else None
        if needed is None:
            return caller
        if caller is None:
            raise _unauthorized("the request has no API key")
        if not includes(caller.scope, needed):
            raise ScopeError(
                f"the key eva_{caller.prefix} has scope {caller.scope}",
                expected=f"scope {needed} for {method} {path[:100]}",
                next_move=f"Use a key made with `eva keys create NAME --scope {needed}`",
                headers={"WWW-Authenticate": f'Bearer realm="eva", error="insufficient_scope", scope="{needed}"'},
            )
        return caller

    def caller(self, headers: Headers, address: str) -> Caller | None:
        """The caller that the key or session of a request belongs to, or None if it has neither.

        Raises UnauthorizedError, TooManyTriesError.
        """
        header = headers.get("authorization")
        if header is not None:
            scheme, _, key = header.partition(" ")
            if scheme.lower() != "bearer":
                raise _unauthorized(f"the Authorization header has the scheme {scheme[:20]!r}")
            return self.recognise(key.strip(), address)
        token = _cookie(headers)
        if token is None:
            return None
        with self._lock:
            session = self._sessions.get(_hashed(token))
        if session is None:
            return None
        prefix, end = session
        key = self._live().get(prefix)
        return None if key is None or end < datetime.now(UTC) else Caller(key.prefix, key.scope, end)

    def recognise(self, key: str, address: str) -> Caller:
        """The caller that a key belongs to. Raises UnauthorizedError when it is invalid, TooManyTriesError when it is
        invalid and the address has sent too many invalid keys."""
        live = _matching(key, self._live())
        if live is None:
            self._attempts.check(address)
            # accepts a key that was made just now; the limit of attempts bounds how often a guess causes a query
            live = _matching(key, self._live(anew=True)) if prefix_of(key) else None
        if live is None:
            self._attempts.record_failure(address)
            raise _unauthorized("this API key is not valid", ', error="invalid_token"')
        self._record_use(live.prefix)
        return Caller(live.prefix, live.scope, live.expires_at)

    def open_session(self, caller: Caller) -> tuple[str, datetime]:
        """Opens a session for a key and returns its token and its end. Closes the oldest where there are too many."""
        token, end = secrets.token_urlsafe(32), datetime.now(UTC) + SESSION
        end = min(end, caller.until or end)
        with self._lock:
            self._sessions[_hashed(token)] = (caller.prefix, end)
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return token, end

    def close_session(self, headers: Headers) -> None:
        """Closes the session of a request."""
        token = _cookie(headers)
        if token is not None:
            with self._lock:
                self._sessions.pop(_hashed(token), None)

    def _live(self, *, anew: bool = False) -> dict[str, LiveKey]:
        with self._lock:
            if not anew and self._clock() - self._read_at < FRESH_S:
                return self._valid()
        with self._store.transaction() as conn:
            keys = {key.prefix: key for key in live_keys(conn)}
        with self._lock:
            self._keys, self._read_at = keys, self._clock()
            return self._valid()

    def _valid(self) -> dict[str, LiveKey]:
        now = datetime.now(UTC)
        return {prefix: key for prefix, key in self._keys.items() if key.expires_at is None or key.expires_at > now}

    def _record_use(self, prefix: str) -> None:
        hour = int(time.time() // 3600)
        if self._recorded.get(prefix) != hour:
            with self._store.transaction() as conn:
                record_use(conn, prefix)
            self._recorded[prefix] = hour


class UnauthorizedError(RefusedError):
    """The request has no valid key and no session."""

    status = 401


class ScopeError(RefusedError):
    """The scope of the key does not allow this request."""

    status = 403


def _unauthorized(given: str, parameters: str = "") -> UnauthorizedError:
    return UnauthorizedError(
        given,
        expected="the header `Authorization: Bearer eva_…`, or the cookie of a login",
        next_move="Make a key on the server with `eva keys create NAME --scope read`",
        headers={"WWW-Authenticate": f'Bearer realm="eva"{parameters}'},
    )


def _matching(key: str, keys: Mapping[str, LiveKey]) -> LiveKey | None:
    """The stored key that this one is, or None. Hashes in any case: the time must not tell whether a prefix exists."""
    live = keys.get(prefix_of(key) or "")
    digest = key_digest(key, live.salt if live else b"")
    return live if live is not None and hmac.compare_digest(digest, live.digest) else None


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _cookie(headers: Headers) -> str | None:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if cookie is None else cookie.value
