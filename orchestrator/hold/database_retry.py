"""Patience with the database and with full disks: what cannot be done now is tried again, for a while.

Restarts, failovers, full disks and conflicts pass; a run that ended at each would end often. Errors that do not
pass are not asked again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from eva.errors import DiskFullError, StoreAwayError, StoreError
from orchestrator.watch.listener import Listener
from store.session import Store

T = TypeVar("T")

PATIENCE_S = 600.0
"""How long a run waits for its database: longer than a restart or a failover takes, shorter than a night."""
PARTING_S = 5.0
"""How long a driver that leaves tries to say so."""

_TELL_AFTER_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """Asks a store until it answers. `run` is for messages; `sleep` and `clock` are what tests replace."""

    store: Store
    run: str
    listener: Listener
    total_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def ask(self, question: Callable[[], T], *, total_s: float | None = None) -> T:
        """The answer. Raises StoreAwayError or DiskFullError when patience ends, at once what does not pass."""
        outage: _Outage | None = None
        while True:
            try:
                answer = question()
            except (StoreAwayError, DiskFullError) as error:
                outage = outage or _Outage(self, self.total_s if total_s is None else total_s)
                outage.bear(error)
            else:
                if outage is not None:
                    outage.end()
                return answer


@dataclass(slots=True)
class _Outage:
    """The time between a question that was not answered and its answer. Told once, and once more when it ends."""

    patience: Patience
    total_s: float
    since: float = field(init=False)
    tries: int = 0
    told: bool = False

    def __post_init__(self) -> None:
        self.since = self.patience.clock()

    def bear(self, error: StoreAwayError | DiskFullError) -> None:
        """Pause before the next try, longer each time; raise when there is to be none."""
        lasted = self.patience.clock() - self.since
        log.info("the database did not answer, try %d, %.1f s: %s", self.tries + 1, lasted, error)
        pause = min(_FIRST_PAUSE_S * 2**self.tries, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
        if lasted + pause > self.total_s:
            raise self._given_up(error, lasted) from error
        if lasted > _TELL_AFTER_S and not self.told:
            self.told = True
            lacks = "there has been no space" if isinstance(error, DiskFullError) else "the database has been away"
            self._tell(
                f"{lacks} for {lasted:.0f} s ({error.given}); trying again for up to {self.total_s:.0f} s, "
                "nothing is lost meanwhile"
            )
        self.tries += 1
        self.patience.sleep(pause)
        self._revive()

    def end(self) -> None:
        lasted = self.patience.clock() - self.since
        if self.told:
            self._tell(f"all is stored again after {lasted:.0f} s; the run goes on")
        elif lasted > _TELL_AFTER_S:
            self._tell(f"the database did not answer for {lasted:.0f} s; the run goes on")

    def _revive(self) -> None:
        try:
            self.patience.store.revive()
        except (StoreError, DiskFullError) as error:
            log.info("the embedded database does not start: %s", error)

    def _tell(self, text: str) -> None:
        log.warning("%s", text)
        self.patience.listener.noted(text)

    def _given_up(self, error: StoreAwayError | DiskFullError, lasted: float) -> StoreAwayError | DiskFullError:
        return type(error)(
            f"{error.given}; asked again {self.tries} times in {lasted:.0f} s",
            expected=error.expected,
            next_move=f"Nothing that was stored is lost: when the cause is mended, "
            f"`eva run --resume {self.patience.run}` goes on from there",
        )
