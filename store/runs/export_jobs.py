"""Queries about requested exports: which are waiting, being written, done or failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, text

from store.postgres.values import redacted_text
from store.schema.tables import exports

CLAIM_S = 60
"""An export whose writer has not renewed its claim for so many seconds is written again by the next writer."""
KEPT_DAYS = 7
"""How long a finished export's file is kept."""

UNFINISHED = ("waiting", "running")


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A requested export. Its file is deleted at `expires_at`."""

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


def request_export(conn: Connection, run_id: int, kind: str, form: str) -> ExportRow:
    """Requests an export. If the same one is waiting or being written already, returns that one."""
    same = (exports.c.run_id == run_id) & (exports.c.kind == kind) & (exports.c.format == form)
    row = conn.execute(select(*_FIELDS).where(same, exports.c.status.in_(UNFINISHED)).limit(1)).one_or_none()
    if row is None:
        row = conn.execute(insert(exports).values(run_id=run_id, kind=kind, format=form).returning(*_FIELDS)).one()
    return ExportRow(*row)


def count_unfinished(conn: Connection) -> int:
    """Counts the exports that are waiting or being written."""
    return conn.execute(select(func.count()).where(exports.c.status.in_(UNFINISHED))).scalar_one()


def list_exports(conn: Connection, run_id: int, limit: int) -> list[ExportRow]:
    """Returns the run's exports, newest first."""
    query = select(*_FIELDS).where(exports.c.run_id == run_id).order_by(exports.c.id.desc()).limit(limit)
    return [ExportRow(*row) for row in conn.execute(query)]


def read_export(conn: Connection, run_id: int, export: int) -> ExportRow | None:
    """Returns an export of the run, or None when it does not exist or has expired."""
    row = conn.execute(select(*_FIELDS).where(exports.c.run_id == run_id, exports.c.id == export)).one_or_none()
    return None if row is None else ExportRow(*row)


def claim_export(conn: Connection) -> ExportRow | None:
    """Claims the oldest export that nobody is writing, for CLAIM_S; None when there is none."""
    row = conn.execute(_CLAIM, {"seconds": CLAIM_S}).one_or_none()
    return None if row is None else ExportRow(*row)


def renew_claim(conn: Connection, export: int) -> None:
    """Renews the claim of an export's writer for CLAIM_S."""
    conn.execute(_RENEW, {"id": export, "seconds": CLAIM_S})


def release_claim(conn: Connection, export: int) -> None:
    """Gives up the claim of a writer that stops early. The next writer starts the export again."""
    conn.execute(_RELEASE, {"id": export})


def finish_export(
    conn: Connection, export: int, *, rows: int | None = None, size: int | None = None, error: str | None = None
) -> None:
    """Closes an export as done, with its rows and its size in bytes, or as failed with `error`."""
    conn.execute(
        _FINISH,
        {
            "id": export,
            "status": "done" if error is None else "failed",
            "rows": rows,
            "bytes": size,
            "error": None if error is None else redacted_text(error),
            "days": KEPT_DAYS,
        },
    )


def delete_expired(conn: Connection) -> list[ExportRow]:
    """Deletes expired exports and returns them, so that the caller can delete their files."""
    return [ExportRow(*row) for row in conn.execute(_EXPIRED)]
