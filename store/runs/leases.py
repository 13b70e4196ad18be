"""Leases: at most one driver writes to a run, by the database's clock."""

from __future__ import annotations

from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from eva.errors import LeaseLostError
from store.postgres.values import json_text
from store.rows import Fence, JsonObject, LeaseRow

_NAMED = "eva run {0} fence {1}"
"""What a writing connection calls itself, for operators and for those who have to end it. Renewing adds ` lease`."""

_CLAIM_WAIT_S, _CLAIM_LOOKS = 2.0, 15
"""How long a claim waits for the row before it looks again who keeps it, and how often."""

_END_EXPIRED = text("""
    SELECT pg_terminate_backend(activity.pid)
    FROM leases JOIN pg_stat_activity activity
        ON replace(activity.application_name, ' lease', '') = 'eva run ' || leases.run_id || ' fence ' || leases.fence
    WHERE leases.run_id = :run_id AND leases.expires_at <= clock_timestamp()
      AND activity.datname = current_database() AND activity.usename = current_user
""")

_END_OWN = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = :name AND pid <> pg_backend_pid()
      AND datname = current_database() AND usename = current_user
""")

_CLAIM = text("""
    UPDATE leases
    SET fence = fence + 1, owner = CAST(:owner AS jsonb), writes = 0,
        expires_at = clock_timestamp() + make_interval(secs => :ttl_s)
    WHERE run_id = :run_id
      AND (owner IS NULL OR expires_at <= clock_timestamp() OR owner = CAST(:break_owner AS jsonb))
    RETURNING fence
""")

_RENEW = text("""
    UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => :ttl_s)
    WHERE run_id = :run_id AND fence = :fence AND owner IS NOT NULL
""")

_RELEASE = text("UPDATE leases SET owner = NULL, expires_at = NULL WHERE run_id = :run_id AND fence = :fence")

_NAME = text("""
    SELECT set_config('application_name', :name, true), set_config('lock_timeout', :wait_ms, true)
""")

_WRITE = text("""
    UPDATE leases
    SET writes = :number, expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => :ttl_s))
    WHERE run_id = :run_id AND fence = :fence AND owner IS NOT NULL AND writes < :number
""")

_WRITTEN = text("SELECT fence, owner IS NOT NULL, writes FROM leases WHERE run_id = :run_id")

_HOLDER = text("""
    SELECT run_id, fence, owner, expires_at, expires_at IS NULL OR expires_at <= clock_timestamp()
    FROM leases WHERE run_id = :run_id
""")


def claim(
    conn: Connection, run_id: int, owner: JsonObject, ttl_s: float, *, break_owner: JsonObject | None = None
) -> Fence | None:
    """Who writes from now on? The caller, with a new fence, or None: someone else holds the run.

    Succeeds when nobody holds it, its lease has expired, or `break_owner` is its present owner, of whom
    the caller has proven that it is dead. Waits for writes of the old owner that are being committed, and
    ends those that an expired lease left open: their driver may be frozen in the middle of one. The lease may expire
    at any moment of that, so it looks again.
    """
    asked = {
        "run_id": run_id,
        "owner": json_text(owner),
        "ttl_s": ttl_s,
        "break_owner": None if break_owner is None else json_text(break_owner),
    }
    looks_left = _CLAIM_LOOKS
    while True:
        conn.execute(_END_EXPIRED, {"run_id": run_id})
        try:
            with conn.begin_nested():
                _name(conn, f"eva claims run {run_id}", _CLAIM_WAIT_S)
                found = conn.execute(_CLAIM, asked).scalar()
        except DBAPIError as error:
            looks_left -= 1
            if not looks_left or not isinstance(error.orig, LockNotAvailable):
                raise
        else:
            return None if found is None else Fence(run_id, int(found))


def renew(conn: Connection, fence: Fence, ttl_s: float) -> bool:
    """Does the caller still hold the run? Then for `ttl_s` more seconds from now.

    A lease that expired but that nobody else has claimed is still the caller's.
    """
    _name(conn, f"{_NAMED.format(fence.run_id, fence.fence)} lease")
    return conn.execute(_RENEW, _named(fence) | {"ttl_s": ttl_s}).rowcount == 1


def release(conn: Connection, fence: Fence) -> None:
    """Give the run back; without effect when another driver has it by now."""
    _name(conn, f"{_NAMED.format(fence.run_id, fence.fence)} lease")
    conn.execute(_RELEASE, _named(fence))


def begin_write(conn: Connection, fence: Fence, number: int, ttl_s: float, *, wait_s: float = 10.0) -> bool:
    """May the caller make its write `number` in this transaction? False: it is committed already.

    A write whose answer was lost is asked for again under its number; each new one takes a greater. The
    lease stays locked against claims until the transaction ends, and is renewed by it. Raises LeaseLostError when
    another driver has claimed the run, or it was released.
    """
    _name(conn, _NAMED.format(fence.run_id, fence.fence), wait_s)
    if conn.execute(_WRITE, _named(fence) | {"number": number, "ttl_s": ttl_s}).rowcount == 1:
        return True
    row = conn.execute(_WRITTEN, {"run_id": fence.run_id}).one_or_none()
    if row is None or row[0] != fence.fence or not row[1]:
        raise LeaseLostError(
            f"the lease on run {fence.run_id} (fence {fence.fence}) was claimed by another driver or released",
            expected="the lease that this driver was given",
            next_move="Leave: whoever holds the run now continues it",
        )
    return False


def end_own_writes(conn: Connection, fence: Fence) -> None:
    """End what is left of the caller's earlier writes on the server: connections that it has lost may not know it."""
    conn.execute(_END_OWN, {"name": _NAMED.format(fence.run_id, fence.fence)})


def holder(conn: Connection, run_id: int) -> LeaseRow | None:
    """Who holds the run, and until when? None when there is no such run."""
    row = conn.execute(_HOLDER, {"run_id": run_id}).one_or_none()
    return None if row is None else LeaseRow(*row)


def _name(conn: Connection, name: str, wait_s: float = 0.0) -> None:
    """For this transaction. A lock is waited for so long; 0: for ever."""
    conn.execute(_NAME, {"name": name, "wait_ms": f"{wait_s * 1000:.0f}"})


def _named(fence: Fence) -> dict[str, Any]:
    return {"run_id": fence.run_id, "fence": fence.fence}
