"""The table of launches: which runs a launcher starts, and the job of each one's driver."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Double, Index, Integer, Text, text

from store.schema import NOW, ZERO, Time, of_run, run_id, table

launches = table(
    "launches",
    run_id(),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=ZERO),  # drivers that were started, in all
    Column("job", Text),  # written before it is submitted: what may be submitted twice is one job
    Column("queued_at", Time, nullable=False, server_default=NOW),
    Column("not_before", Time, nullable=False, server_default=NOW),
    Column("restarts", Integer, nullable=False, server_default=ZERO),  # how often a dead driver is replaced
    Column("restarted", Integer, nullable=False, server_default=ZERO),
    Column("backoff_s", Double, nullable=False, server_default=text("10")),
    Column("message", Text),  # what it waits for
    Column("idempotency_key", Text, unique=True),
    Column("body_hash", Text),
    CheckConstraint("state IN ('queued', 'taken', 'submitted', 'ended')", "state"),
    CheckConstraint("(state = 'queued') OR (job IS NOT NULL) OR (state = 'ended')", "job"),
    of_run(),
)

Index("launches_open_idx", launches.c.queued_at, launches.c.run_id, postgresql_where=text("state <> 'ended'"))
