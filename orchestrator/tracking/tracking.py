"""Sends the figures of a run to tracking services while it plays.

Each service has its own thread, which reads what is stored and sends it. The run never waits for a service; what a
service missed is sent later, if necessary when the run is resumed.
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
from eva.runtime.tracker import Opening, Tracker, TrackerError, TrackingPoint
from eva.runtime.worker_reports import Incident, IncidentListener
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.tracking.points import points_after
from store.runs import events, runs

POLL_S = 5.0
MOST_POINTS = 500
"""At most so many points are sent at a time."""
TRIES, BACKOFF_S = 5, 10.0
FINISH_S = 20.0
"""How long a driver waits, when it ends, until all services together have received the rest."""

log = logging.getLogger(__name__)


class Follower:
    """The thread of one service. Its progress is stored under `name`, the name of the service."""

    def __init__(
        self, run: ClaimedRun, name: str, tracker: Tracker, opening: Opening, notice: IncidentListener
    ) -> None:
        self._run, self.name, self._tracker, self._opening, self._notice = run, name, tracker, opening, notice
        self._ending, self._cut = threading.Event(), threading.Event()
        self._opened, self._sent, self._failures = False, 0, 0
        self._thread = threading.Thread(target=self._follow, name=f"tracking {name}", daemon=True)

    def start(self) -> None:
        """Starts the thread, and returns at once."""
        self._thread.start()

    def leave(self) -> None:
        """Tells the thread to send what is left and then end; returns at once."""
        self._ending.set()

    def join(self, patience_s: float) -> None:
        """Waits until the thread has ended."""
        self._thread.join(max(0.0, patience_s))

    def cut(self) -> None:
        """Ends the thread by force, if it still runs."""
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

    def _unsent(self) -> list[TrackingPoint]:
        with self._run.store.transaction() as conn:
            return points_after(conn, self._run.id, self._sent, MOST_POINTS)

    def _status(self) -> str:
        with self._run.store.transaction() as conn:
            return runs.get_run(conn, self._run.id).status

    def _tell_of_failure(self, error: TrackerError, pause_s: float) -> None:
        if self._cut.is_set():
            self._tell(f"did not receive the end of the run within {FINISH_S:g} s: {error}")
        elif self._failures == TRIES:
            self._tell(f"failed {TRIES} times and is not tried again until the run is resumed: {error}")
        elif self._failures == 1:
            self._tell(f"failed and is tried again in {pause_s:g} s; the run continues: {error}")

    def _tell(self, reason: str) -> None:
        reason = redact(reason, known_secrets())
        self._notice(Incident("tracking_failed", f"{self.name} {reason}", {"tracker": self.name, "reason": reason}))


@contextmanager
def running_trackers(
    run: ClaimedRun, opening: Opening, trackers: Mapping[str, tuple[Tracker, str | None]], notice: IncidentListener
) -> Generator[Callable[[], None]]:
    """Yields a function that starts sending the run to all trackers; they are ended with the context.

    `trackers`: by the name of each service, its tracker, and the name that the run has there if it differs.
    """
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
