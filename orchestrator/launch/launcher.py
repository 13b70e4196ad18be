"""Starts drivers: a queued run becomes a Ray job; a job that died is noticed, its run restarted or marked failed.

Whoever wants a run played puts it into the queue, in one transaction with what else that takes. A launcher takes it
from there in steps that may be interrupted anywhere: the name of the job is stored before the job is submitted, and
submitting a name again is harmless. What the run itself says counts more than what Ray says of its job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from sqlalchemy import Connection

from eva.errors import ConflictError, InfrastructureError, LeaseTakenError
from eva.runtime.failpoints import reach
from eva.runtime.logs import log_context
from orchestrator.hold.control import held
from orchestrator.launch.resume import require_resumable
from store.rows import RunRow
from store.runs import events, launches, runs
from store.runs.launches import LaunchRow, SubmittedLaunch
from store.session import Store

JobState = Literal["pending", "running", "ended", "unknown"]

LONGEST_BACKOFF_S = 600.0
SILENT_S = 30.0
"""A driver whose lease ended so long ago is dead, though Ray may say that its job runs."""
LOG_LINES = 20

log = logging.getLogger(__name__)


class Jobs(Protocol):
    """Ray's jobs, by names that we give. Each raises InfrastructureError while Ray does not answer."""

    def submit(self, job: str, arguments: Sequence[str]) -> None:
        """Start `eva ARGUMENTS` as this job; harmless where there is one of that name."""
        ...

    def state(self, job: str) -> JobState:
        """What becomes of the job, as far as Ray knows."""
        ...

    def stop(self, job: str) -> None:
        """Ask the job's process to end, as Ctrl-C does; harmless where it has."""
        ...

    def last_lines(self, job: str, most: int) -> str:
        """The end of what it printed."""
        ...


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How many drivers that died are replaced, and after how many seconds: `backoff_s`, doubled each time."""

    times: int = 0
    backoff_s: float = 10.0


def queue_new(
    conn: Connection, run: RunRow, restart: RestartPolicy, *, key: str | None = None, body_hash: str | None = None
) -> None:
    """A run that has just been stored waits for a driver; in the transaction that stores it."""
    launches.enqueue(conn, run.id, restarts=restart.times, backoff_s=restart.backoff_s, key=key, body_hash=body_hash)
    runs.set_status(conn, run.id, "queued")
    events.append_event(conn, run.id, "queued")
    reach("launch.queue.before_commit")


def queue_again(store: Store, run: RunRow, restart: RestartPolicy | None = None) -> RunRow:
    """A run that stands still waits for a driver. Raises ConflictError when it is over, or is being played."""
    if run.status == "queued":
        return run
    with held(store, run) as conn:
        row = runs.get_run(conn, run.id)
        require_resumable(row)
        if row.deleted_at is not None:
            raise ConflictError(
                f"run {row.name} is deleted",
                expected="a run that is not",
                next_move=f"Restore it first: POST /v1/runs/{row.name}:restore",
            )
        launches.enqueue(conn, row.id, restarts=restart and restart.times, backoff_s=restart and restart.backoff_s)
        runs.set_desired(conn, row.id, "run")
        runs.set_status(conn, row.id, "queued")
        events.append_event(conn, row.id, "queued")
        return runs.get_run(conn, row.id)


class Launcher:
    """Takes runs from the queue, at most `most` at a time, and looks after their jobs."""

    def __init__(self, store: Store, jobs: Jobs, most: int, silent_s: float = SILENT_S) -> None:
        self._store, self._jobs, self._most, self._silent_s = store, jobs, most, silent_s

    def tick(self) -> bool:
        """Do what can be done now; whether a driver was started. Raises InfrastructureError while Ray is away."""
        with self._store.transaction() as conn:
            launches.end_unwanted(conn)
            unsure, at_work = launches.list_taken(conn), launches.list_submitted(conn)
        for launch in unsure:
            self._submit(launch)
        for played in at_work:
            self._look_after(played)
        started = False
        while (launch := self._take()) is not None:
            self._submit(launch)
            started = True
        return started

    def start(self, run: RunRow) -> None:
        """Start this run's driver, if its turn has come: whoever looks after the queue later finds it started."""
        if (launch := self._take(run.id)) is not None:
            self._submit(launch)

    def stop_all(self) -> dict[str, str]:
        """Ask every driver to end, for the cluster ends; the jobs by the names of their runs."""
        with self._store.transaction() as conn:
            at_work = launches.list_submitted(conn)
        for played in at_work:
            self._jobs.stop(played.launch.job or "")
        return {played.name: played.launch.job or "" for played in at_work}

    def keep_queued(self) -> None:
        """Runs whose drivers were stopped before they began wait for the next launcher. Call it when all have ended."""
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
                # somebody has paused it, or plays it elsewhere, before it was submitted
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

    def _look_after(self, played: SubmittedLaunch) -> None:
        job = played.launch.job or ""
        state = self._jobs.state(job)
        if played.status not in ("queued", "running"):
            if state in ("ended", "unknown"):
                with self._store.transaction() as conn:
                    launches.set_ended(conn, played.launch.run_id)
        elif state in ("ended", "unknown"):
            self._bury(played)
        elif played.status == "running" and played.silent_s is not None and played.silent_s > self._silent_s:
            self._jobs.stop(job)
            self._bury(played)

    def _bury(self, played: SubmittedLaunch) -> None:
        """Its driver is dead, unless somebody still holds the run: restart it, or say that it has failed."""
        told = ""
        with suppress(InfrastructureError):
            told = self._jobs.last_lines(played.launch.job or "", LOG_LINES)
        with self._store.transaction() as conn:
            run = runs.get_run(conn, played.launch.run_id)
        with suppress(LeaseTakenError), held(self._store, run) as conn:
            row, launch = runs.get_run(conn, run.id), launches.read_launch(conn, run.id)
            same = launch is not None and (launch.state, launch.attempt) == ("submitted", played.launch.attempt)
            if launch is not None and same and row.status in ("queued", "running"):
                _replace_driver(conn, row, launch, told)
            reach("launch.bury.before_commit")
        reach("launch.bury.after_commit")


def driver_arguments(run: RunRow, launch: LaunchRow) -> list[str]:
    """The driver's command, from names that the store gave: nothing of it comes from a client."""
    return ["drive", run.name, "--attempt", str(launch.attempt)]


def require_wanted(store: Store, run: RunRow, attempt: int) -> None:
    """Raise ConflictError unless this attempt is the one that the run waits for: it may have been paused, or the
    launcher may have given up on this job, while the process started."""
    with store.transaction() as conn:
        launch = launches.read_launch(conn, run.id)
    if run.status != "queued" or launch is None or launch.attempt != attempt or launch.state == "ended":
        raise ConflictError(
            f"run {run.name} is {run.status} and does not wait for attempt {attempt}",
            expected="a queued run",
            next_move=f"Look at it with `eva show {run.name}`",
        )


def _replace_driver(conn: Connection, run: RunRow, launch: LaunchRow, told: str) -> None:
    facts = {"job": launch.job, "attempt": launch.attempt, "log": told}
    with log_context(run=run.name, attempt=launch.attempt):
        log.warning("the driver died (job %s)", launch.job)
    if run.desired != "run":
        # it died on the way to what was asked of it
        reached = "paused" if run.desired == "pause" else "cancelled"
        runs.set_status(conn, run.id, reached)
        events.append_event(conn, run.id, reached, facts)
        launches.set_ended(conn, run.id)
    elif launch.restarted < launch.restarts:
        pause_s = min(launch.backoff_s * 2**launch.restarted, LONGEST_BACKOFF_S)
        runs.set_status(conn, run.id, "queued")
        events.append_event(conn, run.id, "driver_died", facts | {"restart_in_s": pause_s})
        launches.enqueue_again(conn, launch, pause_s)
    else:
        before = f" for the {launch.restarted + 1}. time" if launch.restarts else ""
        message = (
            f"the driver died{before} without a word (job {launch.job}). What was finished is stored: look at "
            "the job's last lines, then resume the run." + (f" It printed at last:\n{told}" if told else "")
        )
        runs.set_status(conn, run.id, "failed", message)
        events.append_event(conn, run.id, "failed", facts | {"error": message, "kind": "infrastructure"})
        launches.set_ended(conn, run.id)
