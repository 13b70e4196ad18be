"""Queries about leases: which driver may write to a run, by the database's clock."""

from __future__ import annotations

from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from eva.errors import LeaseLostError
from store.postgres.values import json_text
from store.rows import Fence, JsonObject, LeaseRow

_WRITER_NAME = "eva run {0} fence {1}"
"""The application name of a connection that writes, by which others can find and end it. Renewals add ` lease`."""

_CLAIM_WAIT_S, _CLAIM_TRIES = 2.0, 15
"""How long a claim waits for the row's lock before it tries again, and how often it tries."""

_END_WRITES = text("""
    SELECT pg_terminate_backend(activity.pid)
    FROM leases JOIN pg_stat_activity activity
        ON replace(activity.application_name, ' lease', '') = 'eva run ' || leases.run_id || ' fence ' || leases.fence
    WHERE leases.run_id = :run_id
      AND (leases.expires_at <= clock_timestamp() OR leases.owner = CAST(:break_owner AS jsonb))
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

_SHORTEN = text("""
    UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => :ttl_s)
    WHERE run_id IN (
        SELECT run_id FROM leases
        WHERE expires_at > clock_timestamp() + 2 * make_interval(secs => :ttl_s)
          AND run_id = coalesce(:run_id, run_id)
        FOR UPDATE SKIP LOCKED
    )
""")

_EXPIRE = text("""
    UPDATE leases SET expires_at = clock_timestamp()
    WHERE run_id IN (
        SELECT run_id FROM leases
        WHERE run_id = :run_id AND fence = :fence AND expires_at > clock_timestamp()
        FOR UPDATE SKIP LOCKED
    )
""")

_HELD = text("""
    SELECT run_id, fence, owner, expires_at, false FROM leases
    WHERE owner IS NOT NULL AND expires_at > clock_timestamp()
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

_READ = text("""
    SELECT run_id, fence, owner, expires_at, expires_at IS NULL OR expires_at <= clock_timestamp()
    FROM leases WHERE run_id = :run_id
""")


def claim(
    conn: Connection,
    run_id: int,
    owner: JsonObject,
    ttl_s: float,
    *,
    break_owner: JsonObject | None = None,
    end_writes: bool = False,
) -> Fence | None:
    """Claims a run for `owner` for `ttl_s` seconds: returns a new fence, or None when someone else holds the run.

    Succeeds when nobody holds the run, its lease has expired, or `break_owner` is its current owner, which the
    caller has proven to be dead. Waits for writes that the old owner is committing. Ends writes that were left open
    under an expired lease, because their driver may be frozen in the middle of one; with `end_writes` also those of
    `break_owner`. Since the lease may expire at any moment, it tries again.
    """
    values = {
        "run_id": run_id,
        "owner": json_text(owner),
        "ttl_s": ttl_s,
        "break_owner": None if break_owner is None else json_text(break_owner),
    }
    tries_left = _CLAIM_TRIES
    while True:
        ended = {"run_id": run_id, "break_owner": values["break_owner"] if end_writes else None}
        conn.execute(_END_WRITES, ended)
        try:
            with conn.begin_nested():
                _name(conn, f"eva claims run {run_id}", _CLAIM_WAIT_S)
                number = conn.execute(_CLAIM, values).scalar()
        except DBAPIError as error:
            tries_left -= 1
            if not tries_left or not isinstance(error.orig, LockNotAvailable):
                raise
        else:
            return None if number is None else Fence(run_id, int(number))


def renew(conn: Connection, fence: Fence, ttl_s: float) -> bool:
    """Renews the lease for `ttl_s` seconds from now. False: the caller no longer holds the run.

    A lease that has expired still belongs to the caller until somebody else claims the run.
    """
    _name(conn, f"{_WRITER_NAME.format(fence.run_id, fence.fence)} lease")
    return conn.execute(_RENEW, _keys(fence) | {"ttl_s": ttl_s}).rowcount == 1


def release(conn: Connection, fence: Fence) -> None:
    """Releases the run. Does nothing when another driver holds it by now."""
    _name(conn, f"{_WRITER_NAME.format(fence.run_id, fence.fence)} lease")
    conn.execute(_RELEASE, _keys(fence))


def begin_write(conn: Connection, fence: Fence, number: int, ttl_s: float, *, wait_s: float = 10.0) -> bool:
    """Begins the caller's write `number` in this transaction. False: that write was committed already.

    A write whose reply was lost is tried again under its number; each new write takes a greater number. The lease
    is locked against claims until the transaction ends, and is renewed by it. Raises LeaseLostError when another
    driver has claimed the run, or the run was released.
    """
    _name(conn, _WRITER_NAME.format(fence.run_id, fence.fence), wait_s)
    if conn.execute(_WRITE, _keys(fence) | {"number": number, "ttl_s": ttl_s}).rowcount == 1:
        return True
    row = conn.execute(_WRITTEN, {"run_id": fence.run_id}).one_or_none()
    if row is None or row[0] != fence.fence or not row[1]:
        raise LeaseLostError(
            f"the lease on run {fence.run_id} (fence {fence.fence}) was claimed by another driver or released",
            expected="the lease that this driver claimed",
            next_move="Stop this driver: whoever holds the run now continues it",
        )
    return False


def end_own_writes(conn: Connection, fence: Fence) -> None:
    """Ends earlier writes of the caller that are still open on the server, over connections that it has lost."""
    conn.execute(_END_OWN, {"name": _WRITER_NAME.format(fence.run_id, fence.fence)})


def shorten(conn: Connection, ttl_s: float, run_id: int | None = None) -> None:
    """Lets leases end in `ttl_s` seconds that last more than twice as long: of all runs, or of one.

    Nobody claims a run for so long. The database's clock was set back, and a driver that lives renews its lease soon.
    """
    conn.execute(_SHORTEN, {"ttl_s": ttl_s, "run_id": run_id})


def read_held(conn: Connection) -> list[LeaseRow]:
    """Returns the leases that have not expired."""
    return [LeaseRow(*row) for row in conn.execute(_HELD)]


def expire(conn: Connection, fence: Fence) -> None:
    """Lets a lease end now whose owner the caller has proven to be dead."""
    conn.execute(_EXPIRE, _keys(fence))


def read_lease(conn: Connection, run_id: int) -> LeaseRow | None:
    """Returns the run's lease: who holds it and until when. None when there is no such run."""
    row = conn.execute(_READ, {"run_id": run_id}).one_or_none()
    return None if row is None else LeaseRow(*row)


def _name(conn: Connection, name: str, wait_s: float = 0.0) -> None:
    """Names the connection for this transaction, which waits for a lock at most `wait_s`; 0: for ever."""
    conn.execute(_NAME, {"name": name, "wait_ms": f"{wait_s * 1000:.0f}"})


def _keys(fence: Fence) -> dict[str, Any]:
    return {"run_id": fence.run_id, "fence": fence.fence}
