"""Pausing and cancelling: a request in the run's row, which its driver obeys. With no driver it acts at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Literal

from sqlalchemy import Connection

from eva.errors import ConflictError, LeaseTakenError
from eva.runtime.processes import end_process, is_alive, is_dead
from orchestrator.hold.lease import claim
from orchestrator.hold.orphans import end_orphans
from store.rows import JsonObject, LeaseRow, RunRow
from store.runs import events, leases, runs
from store.session import Store

StopRequest = Literal["pause", "cancel"]

REACHED = {"pause": "paused", "cancel": "cancelled"}
_OVER = ("finished", "cancelled")
_POLL_S = 0.2
OBEY_S, _DEATH_S, _WRITE_S = 30.0, 5.0, 10.0
"""Seconds that a driver has to obey before it is ended, that a killed process has to be gone, and that a request waits
for a write of the driver to end."""


class StuckWriteError(ConflictError):
    """The run's driver is in the middle of a write that does not end, so nobody can ask it anything."""


def request_stop(store: Store, run: RunRow, request: StopRequest, write_s: float | None = None) -> RunRow:
    """Requests that a run pauses or is cancelled, and returns its row after that.

    Its driver stops at the next batch boundary. If it has no driver, the run is paused or cancelled at once.
    Raises ConflictError when the run's state does not allow the request, StuckWriteError when the driver's write does
    not end within `write_s` (10 s by default).
    """
    write_s = _WRITE_S if write_s is None else write_s
    with store.transaction() as conn:
        if not runs.lock_run(conn, run.id, write_s):
            raise StuckWriteError(
                f"{player(store, run)} has been in the middle of a write of run {run.name} for over {write_s:g} s, "
                "so the run cannot be asked",
                next_move=f"Try again, or end the run with `eva cancel {run.name} --force`",
            )
        # a paused run may be asked to play again: its driver is about to start
        run = runs.get_run(conn, run.id)
        if (run.status, run.desired) == (REACHED[request], request):
            return run
        _require_possible(run, request)
        runs.set_desired(conn, run.id, request)
        events.append_event(conn, run.id, "asked", {"desired": request})
    _settle(store, run, request)
    return _row(store, run)


def wait_for_stop(
    store: Store,
    run: RunRow,
    request: StopRequest,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> RunRow:
    """Waits until the run is paused or cancelled. Raises ConflictError if it ends another way, or after `timeout_s`."""
    until = clock() + timeout_s
    while (row := _row(store, run)).status != REACHED[request]:
        if row.status in (*_OVER, "failed"):
            raise ConflictError(
                f"run {run.name} {row.status} before it could {request}"
                if row.status != "cancelled"
                else f"run {run.name} was cancelled in the meantime",
                next_move=f"Look at it with `eva show {run.name}`",
            )
        if row.desired != request:
            raise ConflictError(
                f"the request to {request} run {run.name} was replaced by a request to {row.desired}",
                next_move=f"Look at it with `eva show {run.name}`; ask again if you still want it to {request}",
            )
        if clock() >= until:
            raise ConflictError(
                f"run {run.name} did not {request} within {timeout_s:g} s; {player(store, run)} is playing it",
                expected="its next batch boundary within that time",
                next_move=f"The request stands, and takes effect then; check with `eva show {run.name}`",
            )
        sleep(_POLL_S)
        _settle(store, run, request)  # if the driver died in the meantime, the request takes effect here
    return row


def force_cancel(store: Store, run: RunRow, obey_s: float = OBEY_S) -> RunRow:
    """Cancels a run, also if its driver does not obey within `obey_s`, whatever it waits for.

    The run is then taken from the driver, which can write nothing more, and the driver's process is killed if it is
    certainly one of this machine, with what it has left behind. Elsewhere it ends when it notices the loss, or its
    launcher stops its job. Raises ConflictError when the run is over, or was taken over in the meantime.
    """
    before = _holder(store, run)
    try:
        request_stop(store, run, "cancel", obey_s)
        return wait_for_stop(store, run, "cancel", obey_s)
    except StuckWriteError:
        pass
    except ConflictError:
        row = _row(store, run)
        if row.status in (*_OVER, "failed") or row.desired != "cancel":
            raise
    holder = _holder(store, run)
    if before is None or before.owner is None or holder is None or holder.owner != before.owner:
        raise ConflictError(
            f"run {run.name} was taken over in the meantime: {player(store, run)} is playing it",
            next_move=f"Look at it with `eva show {run.name}`; force it again if you still want to",
        )
    with suppress(PermissionError):  # of another user: it ends itself when it notices the loss
        end_process(before.owner)
    _take_and_cancel(store, run, before.owner)
    until = time.monotonic() + _DEATH_S
    while is_alive(before.owner) and time.monotonic() < until:
        time.sleep(_POLL_S / 10)
    end_orphans()
    return _row(store, run)


def _take_and_cancel(store: Store, run: RunRow, owner: JsonObject) -> None:
    facts = {"forced": True, "host": owner.get("host"), "pid": owner.get("pid")}
    with exclusive_transaction(store, run, take_from=owner) as conn:
        if runs.get_run(conn, run.id).status not in _OVER:
            runs.set_desired(conn, run.id, "cancel")
            runs.set_status(conn, run.id, "cancelled")
            events.append_event(conn, run.id, "cancelled", facts)


def player(store: Store, run: RunRow) -> str:
    """Names the process that plays the run, for a message; `nobody` if none does."""
    holder = _holder(store, run)
    if holder is None or holder.owner is None:
        return "nobody"
    return f"process {holder.owner.get('pid')} on {holder.owner.get('host')}"


def _holder(store: Store, run: RunRow) -> LeaseRow | None:
    """The lease of the driver that plays the run, None if none does."""
    with store.transaction() as conn:
        lease = leases.read_lease(conn, run.id)
    return None if lease is None or lease.owner is None or lease.expired else lease


@contextmanager
def exclusive_transaction(store: Store, run: RunRow, *, take_from: JsonObject | None = None) -> Generator[Connection]:
    """One transaction during which nobody else can play the run. Raises LeaseTakenError if somebody does already, other
    than `take_from`."""
    with claim(store, run, take_from=take_from) as lease, lease.write_number() as number, store.transaction() as conn:
        leases.begin_write(conn, lease.fence, number, lease.ttl_s)
        yield conn


@contextmanager
def stopped_run(store: Store, run: RunRow, action: str) -> Generator[Connection]:
    """A transaction on a run that no driver plays and that waits for none. Raises ConflictError.

    `action` says what is to be done with the run: deleted, renamed.
    """
    with exclusive_transaction(store, run) as conn:
        if runs.get_run(conn, run.id).status == "queued":
            raise ConflictError(
                f"run {run.name} waits for a driver and cannot be {action}",
                expected="a run that is stopped",
                next_move=f"Pause it first: `eva pause {run.name}`, or POST /v1/runs/{run.name}:pause",
            )
        yield conn


def hide(conn: Connection, run: RunRow, *, hidden: bool) -> None:
    """Hides a run from lists, or shows it again. Nothing is removed."""
    if (run.deleted_at is not None) != hidden:
        runs.set_deleted(conn, run.id, hidden)
        events.append_event(conn, run.id, "deleted" if hidden else "restored")


def _settle(store: Store, run: RunRow, request: StopRequest) -> None:
    """Puts the run into the requested state, unless somebody is playing it."""
    holder = _holder(store, run)
    if holder is not None and holder.owner is not None and not is_dead(holder.owner):
        return  # a claim would wait for what the driver is writing
    with suppress(LeaseTakenError), exclusive_transaction(store, run) as conn:
        row = runs.get_run(conn, run.id)
        if row.status in (*_OVER, REACHED[request]) or (row.status == "failed" and request == "pause"):
            return
        runs.set_status(conn, run.id, REACHED[request])
        events.append_event(conn, run.id, REACHED[request])


def _require_possible(run: RunRow, request: StopRequest) -> None:
    look = f"Look at it with `eva show {run.name}`"
    if run.status in _OVER:
        raise ConflictError(f"run {run.name} is {run.status}", expected="a run that has not ended", next_move=look)
    if run.status == "failed" and request == "pause":
        raise ConflictError(
            f"run {run.name} has failed, so there is nothing to pause",
            expected="a run that is playing",
            next_move=f"{look}; resume it with `eva resume {run.name}`",
        )


def _row(store: Store, run: RunRow) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)
