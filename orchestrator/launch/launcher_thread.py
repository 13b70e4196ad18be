"""The thread of a service that launches queued runs."""

from __future__ import annotations

import logging
import threading
import time

from eva.errors import EvaError
from orchestrator.hold.lease import end_dead_leases
from orchestrator.launch.launcher import Jobs, Launcher
from orchestrator.launch.study_launcher import StudyLauncher
from store.runs.leader_lock import leader_lock
from store.session import Store

TICK_S, AWAY_S = 1.0, 10.0
_POLL_S = 0.2

log = logging.getLogger(__name__)


class LaunchLoop:
    """Launches runs while this service is the leader. Of several services on one database, one is."""

    def __init__(self, store: Store, jobs: Jobs, most: int, tick_s: float = TICK_S, away_s: float = AWAY_S) -> None:
        self._store, self._jobs, self._launcher, self._tick_s = store, jobs, Launcher(store, jobs, most), tick_s
        self._studies = StudyLauncher(store, jobs)
        self._away_s = away_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._launch, name="launcher", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def leave(self) -> None:
        """Stops taking runs from the queue. Returns at once."""
        self._ended.set()

    def end(self, patience_s: float) -> None:
        """Leaves, and waits for the thread to finish what it is doing."""
        self.leave()
        self._thread.join(patience_s)

    def stop_runs(self, patience_s: float) -> list[str]:
        """Asks all drivers to end, and waits for them. Returns the names of their runs. Raises InfrastructureError."""
        stopped = self._launcher.stop_all()
        jobs = [*stopped.values(), *self._studies.stop_all()]
        until = time.monotonic() + patience_s
        while any(self._jobs.state(job) in ("pending", "running") for job in jobs):
            if time.monotonic() > until:
                break
            time.sleep(_POLL_S)
        self._launcher.keep_queued()
        return [*stopped]

    def _launch(self) -> None:
        with leader_lock(self._store) as leads:
            pause_s = 0.0
            while not self._ended.wait(pause_s):
                pause_s = self._tick_s
                try:
                    if leads():
                        end_dead_leases(self._store)
                        self._launcher.tick()
                        self._studies.tick()
                except EvaError as error:
                    # the row of a waiting run says what it waits for; a lost database comes back
                    log.warning("launching waits: %s", error)
                    pause_s = self._away_s
                except Exception:  # if the launcher ended silently, every run would stay in the queue
                    log.exception("the launcher failed unexpectedly and will try again")
                    pause_s = self._away_s
