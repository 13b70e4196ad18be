"""Starts drivers: submits queued runs as Ray jobs, and restarts runs whose jobs died or marks them failed.

A run is queued in the transaction that stores or resumes it. The launcher takes it from the queue in steps that can be
interrupted anywhere: it stores the name of the job before it submits the job, and submitting a name again is harmless.
The state of the run counts more than what Ray says about its job.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from sqlalchemy import Connection

from eva.errors import ConflictError, InfrastructureError, LeaseTakenError
from eva.runtime.failpoints import reach
from eva.runtime.logs import log_context
from orchestrator.hold.control import exclusive_transaction
from orchestrator.launch.resume import require_resumable
from store.rows import RunRow
from store.runs import events, launches, runs
from store.runs.launches import LaunchRow, SubmittedLaunch
from store.session import Store

JobState = Literal["pending", "running", "ended", "unknown"]

LONGEST_BACKOFF_S = 600.0
SILENT_S = 30.0
"""A driver whose lease ended this many seconds ago is dead, even if Ray says that its job is running."""
LOG_LINES = 20

log = logging.getLogger(__name__)


class Jobs(Protocol):
    """Ray jobs, by names that eva gives them. Every method raises InfrastructureError while Ray does not respond."""

    def submit(self, job: str, arguments: Sequence[str]) -> None:
        """Starts `eva ARGUMENTS` as this job; does nothing if a job of that name exists."""
        ...

    def state(self, job: str) -> JobState:
        """The state of the job, as far as Ray knows."""
        ...

    def stop(self, job: str) -> None:
        """Asks the job's process to end, as Ctrl-C does; does nothing if it has ended."""
        ...

    def last_lines(self, job: str, most: int) -> str:
        """The last lines that the job printed."""
        ...


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How many drivers that died are replaced, and after how many seconds: `backoff_s`, doubled each time."""

    times: int = 0
    backoff_s: float = 10.0


def queue_new(
    conn: Connection, run: RunRow, restart: RestartPolicy, *, key: str | None = None, body_hash: str | None = None
) -> None:
    """Queues a new run for a driver, in the transaction that stores it."""
    launches.enqueue(conn, run.id, restarts=restart.times, backoff_s=restart.backoff_s, key=key, body_hash=body_hash)
    runs.set_status(conn, run.id, "queued")
    events.append_event(conn, run.id, "queued")
    reach("launch.queue.before_commit")


def queue_again(store: Store, run: RunRow, restart: RestartPolicy | None = None) -> RunRow:
    """Queues a stopped run for a driver. Raises ConflictError when it is over, deleted or being played."""
    if run.status == "queued":
        return run
    with exclusive_transaction(store, run) as conn:
        row = runs.get_run(conn, run.id)
        require_resumable(row)
        if row.deleted_at is not None:
            raise ConflictError(
                f"run {row.name} is deleted",
                expected="a run that is not deleted",
                next_move=f"Restore it first: POST /v1/runs/{row.name}:restore",
            )
        launches.enqueue(conn, row.id, restarts=restart and restart.times, backoff_s=restart and restart.backoff_s)
        runs.set_desired(conn, row.id, "run")
        runs.set_status(conn, row.id, "queued")
        events.append_event(conn, row.id, "queued")
        return runs.get_run(conn, row.id)


class Launcher:
    """Takes runs from the queue, at most `most` at a time, and watches their jobs."""

    def __init__(self, store: Store, jobs: Jobs, most: int, silent_s: float = SILENT_S) -> None:
        self._store, self._jobs, self._most, self._silent_s = store, jobs, most, silent_s
        self._over_since: dict[int, float] = {}

    def tick(self) -> bool:
        """Does everything that can be done now. Returns whether a driver was started.

        Raises InfrastructureError while Ray does not respond.
        """
        with self._store.transaction() as conn:
            launches.end_unwanted(conn)
            unconfirmed, submitted = launches.list_taken(conn), launches.list_submitted(conn)
        for launch in unconfirmed:
            self._submit(launch)
        for played in submitted:
            self._watch(played)
        started = False
        while (launch := self._take()) is not None:
            self._submit(launch)
            started = True
        return started

    def start(self, run: RunRow) -> None:
        """Starts this run's driver if its turn has come. Any launcher can watch the job from then on."""
        if (launch := self._take(run.id)) is not None:
            self._submit(launch)

    def stop_all(self) -> dict[str, str]:
        """Asks every driver to end, because the cluster is ending. Returns the jobs by the names of their runs."""
        with self._store.transaction() as conn:
            submitted = launches.list_submitted(conn)
        for played in submitted:
            self._jobs.stop(played.launch.job or "")
        return {played.name: played.launch.job or "" for played in submitted}

    def keep_queued(self) -> None:
        """Queues runs again whose drivers were stopped before they played. Call it when all jobs have ended."""
        with self._store.transaction() as conn:
            for played in launches.list_submitted(conn):
                if played.status == "queued" and not played.held:
                    launches.enqueue_again(conn, played.launch, 0.0, counts=False)
                elif not played.held:
                    launches.set_ended(conn, played.launch.run_id)

    def _take(self, only: int | None = None) -> LaunchRow | None:
        with self._store.transaction() as conn:
            launch = launches.take_next(conn, self._most, only)
            if launch is None:
                return None
            reach("launch.take.before_commit")
        reach("launch.take.after_commit")
        return launch

    def _submit(self, launch: LaunchRow) -> None:
        job = launch.job or ""
        with self._store.transaction() as conn:
            run = runs.get_run(conn, launch.run_id)
        try:
            if run.status == "queued":
                self._jobs.submit(job, driver_arguments(run, launch))
            elif self._jobs.state(job) == "unknown":
                # it was paused, or is played elsewhere, since it was taken
                with self._store.transaction() as conn:
                    launches.set_ended(conn, run.id)
                return
        except InfrastructureError as error:
            with self._store.transaction() as conn:
                launches.set_message(conn, launch, str(error))
            raise
        reach("launch.submitted")
        with self._store.transaction() as conn:
            if launches.set_submitted(conn, launch):
                events.append_event(conn, run.id, "launched", {"job": launch.job, "attempt": launch.attempt})
            reach("launch.record.before_commit")
        reach("launch.record.after_commit")
        with log_context(run=run.name, attempt=launch.attempt):
            log.info("launched as job %s", job)

    def _watch(self, played: SubmittedLaunch) -> None:
        job = played.launch.job or ""
        state = self._jobs.state(job)
        if played.status not in ("queued", "running"):
            if state in ("ended", "unknown"):
                self._over_since.pop(played.launch.run_id, None)
                with self._store.transaction() as conn:
                    launches.set_ended(conn, played.launch.run_id)
            elif not played.held and self._lingers(played.launch.run_id):
                self._jobs.stop(job)
        elif state in ("ended", "unknown"):
            self._end_attempt(played, with_cluster=state == "unknown")
        elif played.status == "running" and played.silent_s is not None and played.silent_s > self._silent_s:
            self._jobs.stop(job)
            self._end_attempt(played)

    def _lingers(self, run_id: int) -> bool:
        """Whether a driver has not ended for `silent_s` after its run was over, as after a forced cancel."""
        since = self._over_since.setdefault(run_id, time.monotonic())
        return time.monotonic() - since >= self._silent_s

    def _end_attempt(self, played: SubmittedLaunch, *, with_cluster: bool = False) -> None:
        """Restarts a run whose driver is dead; else marks it failed or, if the driver died `with_cluster`, paused.

        Does nothing while a driver holds the run.
        """
        last_lines = ""
        with suppress(InfrastructureError):
            last_lines = self._jobs.last_lines(played.launch.job or "", LOG_LINES)
        with self._store.transaction() as conn:
            run = runs.get_run(conn, played.launch.run_id)
        with suppress(LeaseTakenError), exclusive_transaction(self._store, run) as conn:
            row, launch = runs.get_run(conn, run.id), launches.read_launch(conn, run.id)
            same = launch is not None and (launch.state, launch.attempt) == ("submitted", played.launch.attempt)
            if launch is not None and same and row.status in ("queued", "running"):
                _replace_driver(conn, row, launch, last_lines, with_cluster=with_cluster)
            reach("launch.bury.before_commit")
        reach("launch.bury.after_commit")


def driver_arguments(run: RunRow, launch: LaunchRow) -> list[str]:
    """The driver's command. It consists of names that the store has made; nothing comes from a client."""
    return ["drive", run.name, "--attempt", str(launch.attempt)]


def require_queued(store: Store, run: RunRow, attempt: int) -> None:
    """Raises ConflictError unless the run waits for this attempt.

    While the process was starting, the run may have been paused, or the launcher may have given up on this job.
    """
    with store.transaction() as conn:
        launch = launches.read_launch(conn, run.id)
    if run.status != "queued" or launch is None or launch.attempt != attempt or launch.state == "ended":
        raise ConflictError(
            f"run {run.name} is {run.status} and does not wait for attempt {attempt}",
            expected="a queued run",
            next_move=f"Look at it with `eva show {run.name}`",
        )


def _replace_driver(conn: Connection, run: RunRow, launch: LaunchRow, last_lines: str, *, with_cluster: bool) -> None:
    facts = {"job": launch.job, "attempt": launch.attempt, "log": last_lines}
    with log_context(run=run.name, attempt=launch.attempt):
        log.warning("the driver died (job %s)", launch.job)
    if run.desired != "run":
        # it died before it had obeyed
        reached = "paused" if run.desired == "pause" else "cancelled"
        runs.set_status(conn, run.id, reached)
        events.append_event(conn, run.id, reached, facts)
        launches.set_ended(conn, run.id)
    elif launch.restarted < launch.restarts:
        pause_s = min(launch.backoff_s * 2**launch.restarted, LONGEST_BACKOFF_S)
        runs.set_status(conn, run.id, "queued")
        events.append_event(conn, run.id, "driver_died", facts | {"restart_in_s": pause_s})
        launches.enqueue_again(conn, launch, pause_s)
    elif with_cluster:
        message = (
            f"the Ray cluster that played the run is gone, and its driver with it (job {launch.job}), because the "
            "service that kept the cluster was killed or its head was replaced. Nothing that was stored is lost: "
            "resume the run"
        )
        runs.set_status(conn, run.id, "paused", message)
        events.append_event(conn, run.id, "paused", facts | {"error": message, "kind": "infrastructure"})
        launches.set_ended(conn, run.id)
    else:
        times = f" {launch.restarted + 1} times" if launch.restarts else ""
        message = (
            f"the driver died{times} without reporting a failure (job {launch.job}). What was finished is stored: look "
            "at the job's last lines, then resume the run." + (f" Its last lines:\n{last_lines}" if last_lines else "")
        )
        runs.set_status(conn, run.id, "failed", message)
        events.append_event(conn, run.id, "failed", facts | {"error": message, "kind": "infrastructure"})
        launches.set_ended(conn, run.id)
