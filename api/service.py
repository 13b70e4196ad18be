"""What all endpoints share: the store, the settings, the open streams."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy import Connection

from api.map_cache import MapCache
from api.security.access import Access
from eva.errors import BusyError
from eva.runtime.redaction import secrets_of
from eva.settings import Settings
from store.rows import RunRow
from store.session import Store, begin_snapshot

MOST_STREAMS = 64
LONGEST_S = 20.0


@dataclass(slots=True)
class Streams:
    """Limits the open event streams, so that they cannot use up the server's memory and connections."""

    most: int = MOST_STREAMS
    open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def one_more(self) -> Generator[None]:
        """Counts one stream while it is open. Raises BusyError when too many are."""
        with self._lock:
            if self.open >= self.most:
                raise BusyError(
                    f"{self.open} event streams are open",
                    expected=f"at most {self.most} at a time",
                    next_move="Close one, or read the events in pages",
                )
            self.open += 1
        try:
            yield
        finally:
            with self._lock:
                self.open -= 1


@dataclass(frozen=True, slots=True)
class Service:
    """The service as its endpoints see it.

    `stopping` says that streams must end now. `longest_s` limits each query. `access` is None where nobody needs a key.
    """

    store: Store
    settings: Settings
    stopping: Callable[[], bool] = lambda: False
    streams: Streams = field(default_factory=Streams)
    longest_s: float = LONGEST_S
    access: Access | None = None
    maps: MapCache = field(default_factory=MapCache)

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A read-only transaction. Raises StoreError when one of its queries takes longer than `longest_s`."""
        with self.store.transaction() as conn:
            begin_snapshot(conn, self.longest_s)
            yield conn


def secrets_in(run: RunRow) -> frozenset[str]:
    """The secrets of this run, which must not be shown."""
    return secrets_of(run.config, os.environ)


def service_of(request: Request) -> Service:
    """The service that received a request."""
    return cast("Service", request.app.state.service)


Here = Annotated[Service, Depends(service_of)]
