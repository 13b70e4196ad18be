"""Pause and cancel: a wish in the run's row that its driver obeys, or the state itself where nobody plays it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Literal

from sqlalchemy import Connection

from eva.errors import ConflictError, LeaseTakenError
from orchestrator.hold.lease import claim
from store.rows import RunRow
from store.runs import events, leases, runs
from store.session import Store

Wish = Literal["pause", "cancel"]

REACHED = {"pause": "paused", "cancel": "cancelled"}
_OVER = ("finished", "cancelled")
_POLL_S = 0.2


def ask(store: Store, run: RunRow, wish: Wish) -> RunRow:
    """Wish that a run pauses or is cancelled; the row as it is then.

    Whoever plays it leaves at its next batch boundary. Where nobody does, the run is paused or cancelled at once.
    Raises ConflictError when the run's state does not allow it.
    """
    with store.transaction() as conn:
        # a paused run may be wished to play: a driver of it is on its way
        run = runs.get_run(conn, run.id)
        if (run.status, run.desired) == (REACHED[wish], wish):
            return run
        _require_possible(run, wish)
        runs.set_desired(conn, run.id, wish)
        events.append_event(conn, run.id, "asked", {"desired": wish})
    _settle(store, run, wish)
    return _row(store, run)


def wait_until_obeyed(
    store: Store,
    run: RunRow,
    wish: Wish,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> RunRow:
    """Wait until a driver has obeyed. Raises ConflictError when it ended otherwise, or not within `timeout_s`."""
    until = clock() + timeout_s
    while (row := _row(store, run)).status != REACHED[wish]:
        if row.status in (*_OVER, "failed"):
            raise ConflictError(
                f"run {run.name} {row.status} before it could {wish}"
                if row.status != "cancelled"
                else f"run {run.name} was cancelled meanwhile",
                next_move=f"Look at it with `eva show {run.name}`",
            )
        if row.desired != wish:
            raise ConflictError(
                f"run {run.name} was asked to {row.desired} before it had obeyed to {wish}",
                next_move=f"Look at it with `eva show {run.name}`; ask again if that still holds",
            )
        if clock() >= until:
            raise ConflictError(
                f"run {run.name} has not obeyed within {timeout_s:g} s; it is played by {player(store, run)}",
                expected="a batch boundary by then",
                next_move=f"The wish stands and is obeyed at the next one; see where it is with `eva show {run.name}`",
            )
        sleep(_POLL_S)
        _settle(store, run, wish)  # a driver that died leaves the run to whoever asks
    return row


def player(store: Store, run: RunRow) -> str:
    """Who plays the run, in words."""
    with store.transaction() as conn:
        holder = leases.read_lease(conn, run.id)
    if holder is None or holder.owner is None or holder.expired:
        return "nobody"
    return f"process {holder.owner.get('pid')} on {holder.owner.get('host')}"


@contextmanager
def held(store: Store, run: RunRow) -> Generator[Connection]:
    """One transaction on a run that nobody else plays until it ends. Raises LeaseTakenError."""
    with claim(store, run) as lease, lease.numbered() as number, store.transaction() as conn:
        leases.begin_write(conn, lease.fence, number, lease.ttl_s)
        yield conn


def _settle(store: Store, run: RunRow, wish: Wish) -> None:
    """Take the run and put it into the state that is wished; without effect while somebody plays it."""
    with suppress(LeaseTakenError), held(store, run) as conn:
        row = runs.get_run(conn, run.id)
        if row.status in (*_OVER, REACHED[wish]) or (row.status == "failed" and wish == "pause"):
            return
        runs.set_status(conn, run.id, REACHED[wish])
        events.append_event(conn, run.id, REACHED[wish])


def _require_possible(run: RunRow, wish: Wish) -> None:
    look = f"Look at it with `eva show {run.name}`"
    if run.status in _OVER:
        raise ConflictError(f"run {run.name} is {run.status}", expected="a run that is not over", next_move=look)
    if run.status == "failed" and wish == "pause":
        raise ConflictError(
            f"run {run.name} has failed, so nobody plays it",
            expected="a run that is being played",
            next_move=f"{look}; go on with `eva resume {run.name}`",
        )


def _row(store: Store, run: RunRow) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)
