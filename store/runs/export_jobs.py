"""Queries about exports that were asked for: who writes which, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, text

from store.postgres.values import told
from store.schema.tables import exports

CLAIM_S = 60
"""An export whose writer was not heard of for so long is written anew, by whoever comes."""
KEPT_DAYS = 7
UNFINISHED = ("waiting", "running")


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An export that was asked for; `expires_at` is when its file goes."""

    id: int
    run_id: int
    kind: str
    format: str
    status: str
    rows: int | None
    bytes: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None


_FIELDS = tuple(exports.c[name] for name in ExportRow.__dataclass_fields__)
_RETURNED = ", ".join(ExportRow.__dataclass_fields__)

_CLAIM = text(f"""
    UPDATE exports SET status = 'running', claimed_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = (
        SELECT id FROM exports
        WHERE status = 'waiting' OR (status = 'running' AND claimed_until < clock_timestamp())
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING {_RETURNED}
""")  # noqa: S608 - the names of the row's own fields

_RENEW = text("""
    UPDATE exports SET claimed_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = :id AND status = 'running'
""")

_FINISH = text("""
    UPDATE exports SET status = :status, rows = :rows, bytes = :bytes, error = :error, claimed_until = NULL,
        finished_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(days => :days)
    WHERE id = :id
""")

_RELEASE = text("UPDATE exports SET status = 'waiting', claimed_until = NULL WHERE id = :id AND status = 'running'")

_EXPIRED = text(f"DELETE FROM exports WHERE expires_at < clock_timestamp() RETURNING {_RETURNED}")  # noqa: S608 - the same


def ask_export(conn: Connection, run_id: int, kind: str, form: str) -> ExportRow:
    """Ask for an export; the one that waits or is written already, where it is the same."""
    same = (exports.c.run_id == run_id) & (exports.c.kind == kind) & (exports.c.format == form)
    found = conn.execute(select(*_FIELDS).where(same, exports.c.status.in_(UNFINISHED)).limit(1)).one_or_none()
    if found is not None:
        return ExportRow(*found)
    made = conn.execute(insert(exports).values(run_id=run_id, kind=kind, format=form).returning(*_FIELDS)).one()
    return ExportRow(*made)


def count_unfinished(conn: Connection) -> int:
    """How many wait or are written?"""
    return conn.execute(select(func.count()).where(exports.c.status.in_(UNFINISHED))).scalar_one()


def list_exports(conn: Connection, run_id: int, limit: int) -> list[ExportRow]:
    """Which exports of the run are there? Newest first."""
    query = select(*_FIELDS).where(exports.c.run_id == run_id).order_by(exports.c.id.desc()).limit(limit)
    return [ExportRow(*row) for row in conn.execute(query)]


def read_export(conn: Connection, run_id: int, export: int) -> ExportRow | None:
    """This export of the run; None where it has no such one, or one no longer."""
    found = conn.execute(select(*_FIELDS).where(exports.c.run_id == run_id, exports.c.id == export)).one_or_none()
    return None if found is None else ExportRow(*found)


def claim_export(conn: Connection) -> ExportRow | None:
    """The oldest that nobody writes, claimed for CLAIM_S; None where there is none."""
    found = conn.execute(_CLAIM, {"seconds": CLAIM_S}).one_or_none()
    return None if found is None else ExportRow(*found)


def renew_claim(conn: Connection, export: int) -> None:
    """Its writer is still at it."""
    conn.execute(_RENEW, {"id": export, "seconds": CLAIM_S})


def release_claim(conn: Connection, export: int) -> None:
    """Its writer stops in the middle: the next one begins anew."""
    conn.execute(_RELEASE, {"id": export})


def finish_export(
    conn: Connection, export: int, *, rows: int | None = None, size: int | None = None, error: str | None = None
) -> None:
    """It is written, with so many rows and bytes; or it failed, and why."""
    conn.execute(
        _FINISH,
        {
            "id": export,
            "status": "done" if error is None else "failed",
            "rows": rows,
            "bytes": size,
            "error": None if error is None else told(error),
            "days": KEPT_DAYS,
        },
    )


def drop_expired(conn: Connection) -> list[ExportRow]:
    """Forget those whose time is over; their files can go."""
    return [ExportRow(*row) for row in conn.execute(_EXPIRED)]
