"""What all endpoints share: the store, the settings, the open streams."""

from __future__ import annotations

import os
import threading
from collections import Counter
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
from orchestrator.launch.check_process import FunctionCaller, call_here
from store.rows import RunRow
from store.session import Store, begin_snapshot

MOST_STREAMS, MOST_STREAMS_OF_KEY = 64, 16
LONGEST_S = 20.0


@dataclass(slots=True)
class Streams:
    """Limits the open event streams, so that they cannot use up the server's memory and connections."""

    most: int = MOST_STREAMS
    most_of_key: int = MOST_STREAMS_OF_KEY
    open: Counter[str | None] = field(default_factory=Counter)
    """How many are open, by the key that opened them; None where nobody needs a key."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def one_more(self, key: str | None = None) -> Generator[None]:
        """Counts one stream while it is open. Raises BusyError when too many are, in all or of this key."""
        with self._lock:
            for open_now, most, whose in (
                (self.open.total(), self.most, ""),
                (self.open[key], self.most if key is None else self.most_of_key, " of this key"),
            ):
                if open_now >= most:
                    raise BusyError(
                        f"{open_now} event streams{whose} are open",
                        expected=f"at most {most} at a time",
                        next_move="Close one, or read the events in pages",
                    )
            self.open[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self.open[key] -= 1
                if not self.open[key]:
                    del self.open[key]


@dataclass(frozen=True, slots=True)
class Service:
    """The service as its endpoints see it.

    `stopping` says that streams must end now. `longest_s` limits each query. `access` is None where nobody needs a key.
    `check` makes the checks of new runs.
    """

    store: Store
    settings: Settings
    stopping: Callable[[], bool] = lambda: False
    streams: Streams = field(default_factory=Streams)
    longest_s: float = LONGEST_S
    access: Access | None = None
    maps: MapCache = field(default_factory=MapCache)
    check: FunctionCaller = call_here

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
