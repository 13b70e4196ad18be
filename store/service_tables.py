"""Tables beside the runs: who may ask the service, what was asked to be written, who else is told of a run."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
)

from store.schema import NOW, ZERO, Time, key, of_run, run_id, table

api_keys = table(
    "api_keys",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("prefix", Text, nullable=False),  # the part of a key that one may show
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # eva.keys.key_digest
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time),
    Column("last_used_at", Time),  # the beginning of the hour
    Column("revoked_at", Time),
    UniqueConstraint("prefix"),
    CheckConstraint("scope IN ('read', 'write', 'admin')", "scope"),
)

exports = table(
    "exports",
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("run_id", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="waiting"),
    Column("claimed_until", Time),  # whoever writes it renews this; a server that died does not
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("error", Text),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("finished_at", Time),
    Column("expires_at", Time),
    CheckConstraint("status IN ('waiting', 'running', 'done', 'failed')", "status"),
    ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="RESTRICT"),
    Index(None, "run_id"),
)

trackings = table(
    "trackings",
    run_id(),
    key("tracker", Text),
    # of those that orchestrator.points makes of the run, so many are there
    Column("points", Integer, nullable=False),
    Column("changed_at", Time, nullable=False, server_default=NOW),
    of_run(),
)

# what closed stages of all runs add up to, a row per name of a stage
stage_totals = table(
    "stage_totals",
    Column("stage", Text, primary_key=True),
    *(
        Column(name, Double, nullable=False, server_default=ZERO)
        for name in (
            "closed",
            "seconds",
            "retries",
            "done",
            "responses",
            "tokens",
            "cost_usd",
            "quarantined",
            "accepted",
            "engine_ms",
            "engine_busy_ms",
            "engine_filled_ms",
        )
    ),
)
