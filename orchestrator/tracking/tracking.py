"""Tracking services hear of a run while it plays. Each has a thread of its own, which reads what is stored and hands it
on: the run waits for none, and what one missed it is told later, by a resume if need be.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from eva.errors import DiskFullError, StoreError
from eva.runtime.redaction import known_secrets, redact
from eva.runtime.tracker import Opening, Point, Tracker, TrackerError
from eva.runtime.worker_reports import Incident, IncidentListener
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.tracking.points import points_after
from store.runs import events, runs

POLL_S = 5.0
MOST_POINTS = 500
"""Handed over at a time."""
TRIES, BACKOFF_S = 5, 10.0
FINISH_S = 20.0
"""How long the end of a driver waits for all services together to take the rest."""

log = logging.getLogger(__name__)


class Follower:
    """The thread of one service. `name` says which, and is what its progress is stored under."""

    def __init__(
        self, run: ClaimedRun, name: str, tracker: Tracker, opening: Opening, notice: IncidentListener
    ) -> None:
        self._run, self.name, self._tracker, self._opening, self._notice = run, name, tracker, opening, notice
        self._ending, self._cut = threading.Event(), threading.Event()
        self._opened, self._sent, self._failures = False, 0, 0
        self._thread = threading.Thread(target=self._follow, name=f"tracking {name}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def leave(self) -> None:
        """Hand over what is left, and end; returns at once."""
        self._ending.set()

    def join(self, patience_s: float) -> None:
        """Wait for the end."""
        self._thread.join(max(0.0, patience_s))

    def cut(self) -> None:
        """Bring about the end where it has not come."""
        if self._thread.is_alive():
            self._cut.set()
            self._tracker.kill()
            self._thread.join(FINISH_S)

    def _follow(self) -> None:
        try:
            self._catch_up_until_the_end()
        finally:
            self._tracker.drop()

    def _catch_up_until_the_end(self) -> None:
        pause_s = 0.0
        while self._failures < TRIES:
            last = self._ending.is_set() or self._ending.wait(pause_s)
            pause_s = POLL_S
            try:
                self._catch_up()
                if last:
                    self._tracker.close(self._status())
                    return
            except TrackerError as error:
                self._opened, self._failures = False, self._failures + 1
                pause_s = BACKOFF_S * 2 ** (self._failures - 1)
                self._tell_of_failure(error, pause_s)
            except (StoreError, DiskFullError) as error:
                log.info("tracking waits: %s", error)
            if self._cut.wait(pause_s if last else 0):
                return

    def _catch_up(self) -> None:
        if not self._opened:
            url = self._tracker.open(self._opening)
            self._opened = True
            with self._run.store.transaction() as conn:
                self._sent = events.points_sent(conn, self._run.id, self.name)
            self._notice(Incident("tracked", f"{self.name}: {url}", {"tracker": self.name, "url": url}))
        while points := self._unsent():
            self._tracker.send(points)
            sent = self._sent = points[-1].number
            self._run.keep(lambda conn, sent=sent: events.set_points_sent(conn, self._run.id, self.name, sent))
            self._failures = 0

    def _unsent(self) -> list[Point]:
        with self._run.store.transaction() as conn:
            return points_after(conn, self._run.id, self._sent, MOST_POINTS)

    def _status(self) -> str:
        with self._run.store.transaction() as conn:
            return runs.get_run(conn, self._run.id).status

    def _tell_of_failure(self, error: TrackerError, pause_s: float) -> None:
        if self._cut.is_set():
            self._tell(f"did not take the end of the run within {FINISH_S:g} s: {error}")
        elif self._failures == TRIES:
            self._tell(f"failed {TRIES} times and is left alone; a resume of the run tries again: {error}")
        elif self._failures == 1:
            self._tell(f"failed and is asked again in {pause_s:g} s; the run goes on meanwhile: {error}")

    def _tell(self, what: str) -> None:
        what = redact(what, known_secrets())
        self._notice(Incident("tracking_failed", f"{self.name} {what}", {"tracker": self.name, "reason": what}))


@contextmanager
def tracked(
    run: ClaimedRun, opening: Opening, trackers: Mapping[str, tuple[Tracker, str | None]], notice: IncidentListener
) -> Generator[Callable[[], None]]:
    """Follow the run from the call of what is yielded to the end, whatever that is. By name, trackers and the name that
    the run has there, if another."""
    followers = [
        Follower(run, name, tracker, replace(opening, name=run_name or opening.name), notice)
        for name, (tracker, run_name) in trackers.items()
    ]
    begun: list[Follower] = []

    def begin() -> None:
        for follower in followers:
            follower.start()
            begun.append(follower)

    try:
        yield begin
    finally:
        _end(begun)


def _end(followers: Sequence[Follower]) -> None:
    until = time.monotonic() + FINISH_S
    for follower in followers:
        follower.leave()
    try:
        for follower in followers:
            follower.join(until - time.monotonic())
    finally:
        for follower in followers:
            follower.cut()
