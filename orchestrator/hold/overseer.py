"""The overseer of a run: it records incidents, and notices when nothing advances any more.

A heartbeat shows that a process lives; only progress shows that it works. Every worker has time-outs of its own; the
overseer finds the waits that none of them covers.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection

from eva.config import Watchdog
from eva.errors import RayAwayError, StalledError
from eva.runtime.worker_reports import Incident, WorkerStatuses, no_workers
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.watch.listener import Listener
from store.runs import events, runs, stages

TICK_S = 1.0
LOST_S = 15.0
"""How long a cluster may not answer. Ray ends the process of a client whose head is gone for a minute."""

log = logging.getLogger(__name__)


def all_answer() -> str | None:
    """Stands for a cluster of which nothing is lost."""
    return None


class Overseer:
    """A listener between the loop and the terminal. `at_work` returns what each worker is doing."""

    def __init__(self, listener: Listener, config: Watchdog, tick_s: float = TICK_S) -> None:
        self._listener, self._config, self._tick_s = listener, config, tick_s
        self.at_work: WorkerStatuses = no_workers
        self.cluster_loss: Callable[[], str | None] = all_answer
        """Says what of the cluster does not answer, None if all of it does."""
        self._lost_since: float | None = None
        self._place: tuple[int, str] | None = None
        self._idle_s = 0.0
        self._reported = False
        self._stall: StalledError | RayAwayError | None = None
        self._run: ClaimedRun | None = None
        self._ended = threading.Event()

    # Calls of the loop.

    def on_stage_open(self, iteration: int, stage: str, done: int, total: int) -> None:
        self._place = (iteration, stage)
        self._advanced()
        self._listener.on_stage_open(iteration, stage, done, total)

    def on_progress(self, done: int, total: int, values: Mapping[str, float]) -> None:
        self._advanced()
        self._listener.on_progress(done, total, values)

    def on_stage_close(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        self._advanced()
        self._listener.on_stage_close(iteration, stage, counts)

    def on_message(self, text: str) -> None:
        self._listener.on_message(text)

    # Calls of the workers.

    def notice(self, incident: Incident) -> None:
        """Shows the incident and stores it as an event of the current stage. Safe on any thread."""
        log.warning("%s", incident.text, extra={"data": {"kind": incident.kind, **incident.data}})
        self._listener.on_message(incident.text)
        self._store(
            lambda conn, run, place: events.append_event(
                conn, run.id, incident.kind, dict(incident.data), iteration=place[0], stage=place[1]
            )
        )

    # The watchdog.

    @contextmanager
    def watching(self, run: ClaimedRun) -> Generator[None]:
        """Watches the run's progress. Raises StalledError when nothing has advanced for too long."""
        self._run = run
        main = threading.current_thread() is threading.main_thread()
        thread = threading.Thread(target=self._watch, args=(main,), name="overseer", daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if self._stall is not None:
                raise self._stall from None
            raise
        finally:
            self._ended.set()
            thread.join(timeout=10 * self._tick_s + 1)

    def _watch(self, main: bool) -> None:
        before = time.monotonic()
        while not self._ended.wait(self._tick_s):
            now = time.monotonic()
            # A long tick means that this driver was frozen: nothing could advance, so the time does not count.
            self._idle_s += min(now - before, 2 * self._tick_s)
            before = now
            if self._idle_s >= self._config.tell_s and not self._reported:
                self._reported = True
                self.notice(Incident("stalled", f"{self._stall_text()}: {self._workers()}", self._facts()))
            if self._idle_s >= self._config.end_s and main:
                self._end()
                return
            if (why := self._lost_cluster()) is not None and main:
                self._end_without_cluster(why)
                return

    def _end(self) -> None:
        self._stall = StalledError(
            f"{self._stall_text()}, and the watchdog ended it: {self._workers()}",
            expected=f"progress within {self._config.end_s:g} s (watchdog.end_s)",
            next_move="Read the workers' logs, then resume the run: all finished results are stored",
        )
        facts, message = self._facts(), str(self._stall)

        def fail(conn: Connection, run: ClaimedRun, place: tuple[int, str]) -> None:
            stages.fail_stage(conn, run.id, *place, message)
            events.append_event(conn, run.id, "stage_failed", facts, iteration=place[0], stage=place[1])

        # A signal reaches the main thread in the middle of a wait; `_thread.interrupt_main` waits for its end.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        self._store(fail)

    def _lost_cluster(self) -> str | None:
        """What of the cluster has not answered for too long."""
        why = self.cluster_loss()
        if why is None:
            self._lost_since = None
            return None
        now = time.monotonic()
        self._lost_since = now if self._lost_since is None else self._lost_since
        return why if now - self._lost_since >= LOST_S else None

    def _end_without_cluster(self, why: str) -> None:
        """Says so and stores it first: calls of Ray may block now, or end the process."""
        self._stall = RayAwayError(
            f"the Ray cluster is lost: {why}",
            expected="the cluster that the run was started on",
            next_move="Nothing that was stored is lost: resume the run, on a new cluster if this one was not eva's own",
        )
        message = str(self._stall)
        self._listener.on_message(message)
        log.error("%s", message)
        self._store(lambda conn, run, _place: runs.set_status(conn, run.id, "paused", message))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _advanced(self) -> None:
        self._idle_s, self._reported = 0.0, False

    def _stall_text(self) -> str:
        iteration, stage = self._place or (0, "start")
        return f"nothing has advanced in stage {stage} of iteration {iteration} for {self._idle_s:.0f} s"

    def _workers(self) -> str:
        return "; ".join(map(str, self.at_work())) or "no worker is doing anything"

    def _facts(self) -> dict[str, object]:
        return {"seconds": round(self._idle_s, 1), "workers": [str(work) for work in self.at_work()]}

    def _store(self, write: Callable[[Connection, ClaimedRun, tuple[int, str]], object]) -> None:
        if (run := self._run) is not None:
            place = self._place or (0, "start")

            def change(conn: Connection) -> None:
                write(conn, run, place)

            run.keep(change)
