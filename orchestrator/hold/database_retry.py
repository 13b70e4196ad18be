"""Retries of database transactions: while the database is away or a disk is full, a run waits instead of failing.

Restarts, failovers, full disks and conflicts pass. Errors that do not pass are raised at once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from eva.errors import DiskFullError, StoreAwayError, StoreError
from orchestrator.watch.listener import Listener
from store.session import Store

T = TypeVar("T")

RETRY_S = 600.0
"""How long a run waits for its database: longer than a restart or a failover takes, shorter than a night."""
LAST_WRITE_S = 5.0
"""How long a driver that stops tries to store its last results."""

_TELL_AFTER_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DatabaseRetry:
    """Repeats a transaction until the store answers. `run` is for messages; tests replace `sleep` and `clock`.

    From when `hurry` is set, it tries for `LAST_WRITE_S` at most.
    """

    store: Store
    run: str
    listener: Listener
    total_s: float = RETRY_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    hurry: threading.Event | None = None

    def call(self, transaction: Callable[[], T], *, total_s: float | None = None) -> T:
        """Returns the transaction's result. Raises StoreAwayError or DiskFullError after `total_s`, others at once."""
        outage: _Outage | None = None
        while True:
            try:
                result = transaction()
            except (StoreAwayError, DiskFullError) as error:
                outage = outage or _Outage(self, self.total_s if total_s is None else total_s)
                outage.wait(error)
            else:
                if outage is not None:
                    outage.end()
                return result


@dataclass(slots=True)
class _Outage:
    """The time from the first failed attempt to success. Reported once after a second, and again when it ends."""

    retry: DatabaseRetry
    total_s: float
    since: float = field(init=False)
    tries: int = 0
    reported: bool = False
    hurried: bool = False

    def __post_init__(self) -> None:
        self.since = self.retry.clock()

    def wait(self, error: StoreAwayError | DiskFullError) -> None:
        """Pauses before the next try, longer each time. Raises when the time for retries is over."""
        lasted = self.retry.clock() - self.since
        log.info("the database did not answer, try %d, %.1f s: %s", self.tries + 1, lasted, error)
        if not self.hurried and self.retry.hurry is not None and self.retry.hurry.is_set():
            self.hurried = True
            self.total_s = min(self.total_s, lasted + LAST_WRITE_S)
        pause = min(_FIRST_PAUSE_S * 2**self.tries, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
        if lasted + pause > self.total_s:
            raise self._final_error(error, lasted) from error
        if lasted > _TELL_AFTER_S and not self.reported:
            self.reported = True
            cause = "the disk has been full" if isinstance(error, DiskFullError) else "the database has been away"
            self._report(
                f"{cause} for {lasted:.0f} s ({error.given}); trying again for up to {self.total_s:.0f} s, "
                "nothing is lost meanwhile"
            )
        self.tries += 1
        self.retry.sleep(pause)
        self._revive()

    def end(self) -> None:
        lasted = self.retry.clock() - self.since
        if self.reported:
            self._report(f"the database accepts writes again after {lasted:.0f} s; the run goes on")
        elif lasted > _TELL_AFTER_S:
            self._report(f"the database did not answer for {lasted:.0f} s; the run goes on")

    def _revive(self) -> None:
        try:
            self.retry.store.revive()
        except (StoreError, DiskFullError) as error:
            log.info("the embedded database does not start: %s", error)

    def _report(self, text: str) -> None:
        log.warning("%s", text)
        self.retry.listener.on_message(text)

    def _final_error(self, error: StoreAwayError | DiskFullError, lasted: float) -> StoreAwayError | DiskFullError:
        return type(error)(
            f"{error.given}; tried again {self.tries} times in {lasted:.0f} s",
            expected=error.expected,
            next_move=f"Nothing that was stored is lost: fix the cause, "
            f"then continue with `eva run --resume {self.retry.run}`",
        )
