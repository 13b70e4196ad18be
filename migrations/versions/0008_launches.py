"""Adds launches, i.e. the queue of runs and their jobs, and runs that were renamed or deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

STATUSES = "'created', 'queued', 'running', 'paused', 'finished', 'failed', 'cancelled'"
BEFORE = "'created', 'running', 'paused', 'finished', 'failed', 'cancelled'"


def upgrade() -> None:
    time, now = sa.DateTime(timezone=True), sa.text("clock_timestamp()")
    op.add_column("runs", sa.Column("deleted_at", time))
    op.add_column("runs", sa.Column("folder", sa.Text))
    _statuses(STATUSES)
    op.create_table(
        "launches",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("job", sa.Text),
        sa.Column("queued_at", time, nullable=False, server_default=now),
        sa.Column("not_before", time, nullable=False, server_default=now),
        sa.Column("restarts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("restarted", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("backoff_s", sa.Double, nullable=False, server_default=sa.text("10")),
        sa.Column("message", sa.Text),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("body_hash", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name=op.f("launches_pkey")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("launches_run_id_fkey"), ondelete="RESTRICT"),
        sa.UniqueConstraint("idempotency_key", name=op.f("launches_idempotency_key_key")),
        sa.CheckConstraint("state IN ('queued', 'taken', 'submitted', 'ended')", name=op.f("launches_state_check")),
        sa.CheckConstraint(
            "(state = 'queued') OR (job IS NOT NULL) OR (state = 'ended')", name=op.f("launches_job_check")
        ),
    )
    op.create_index(
        op.f("launches_open_idx"), "launches", ["queued_at", "run_id"], postgresql_where=sa.text("state <> 'ended'")
    )


def downgrade() -> None:
    op.drop_table("launches")
    op.execute("UPDATE runs SET status = 'created' WHERE status = 'queued'")
    _statuses(BEFORE)
    op.drop_column("runs", "folder")
    op.drop_column("runs", "deleted_at")


def _statuses(allowed: str) -> None:
    op.drop_constraint(op.f("runs_status_check"), "runs")
    op.create_check_constraint(op.f("runs_status_check"), "runs", f"status IN ({allowed})")
