"""The launcher at work beside a service, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time

from eva.errors import EvaError
from orchestrator.launch.launcher import Jobs, Launcher
from store.runs.leader_lock import leader_lock
from store.session import Store

TICK_S, AWAY_S = 1.0, 10.0
_POLL_S = 0.2

log = logging.getLogger(__name__)


class LaunchLoop:
    """Launches while it leads: of several services on one database, one does."""

    def __init__(self, store: Store, jobs: Jobs, most: int, tick_s: float = TICK_S, away_s: float = AWAY_S) -> None:
        self._store, self._jobs, self._launcher, self._tick_s = store, jobs, Launcher(store, jobs, most), tick_s
        self._away_s = away_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._launch, name="launcher", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def leave(self) -> None:
        """Take nothing more from the queue; returns at once."""
        self._ended.set()

    def end(self, patience_s: float) -> None:
        """Leave, and wait for what is being done."""
        self.leave()
        self._thread.join(patience_s)

    def stop_runs(self, patience_s: float) -> list[str]:
        """Ask all drivers to end and wait for it; the names of their runs. Raises InfrastructureError."""
        stopped = self._launcher.stop_all()
        until = time.monotonic() + patience_s
        while any(self._jobs.state(job) in ("pending", "running") for job in stopped.values()):
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
                        self._launcher.tick()
                except EvaError as error:
                    # what waits says for what in its row; a database that is away comes back
                    log.warning("launching waits: %s", error)
                    pause_s = self._away_s
                except Exception:  # a launcher that ended silently would leave every run in the queue
                    log.exception("the launcher failed at something unforeseen, and tries again")
                    pause_s = self._away_s
