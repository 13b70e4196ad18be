"""Adds the queue of studies that wait for a driver, and the drivers' jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "study_launches",
        sa.Column("study_id", sa.Integer, autoincrement=False, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("job", sa.Text),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.Column("message", sa.Text),
        sa.CheckConstraint(
            "state IN ('queued', 'taken', 'submitted', 'ended')", name=op.f("study_launches_state_check")
        ),
        sa.CheckConstraint("state = 'queued' OR job IS NOT NULL", name=op.f("study_launches_job_check")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("study_launches_study_id_fkey"), ondelete="RESTRICT"
        ),
    )


def downgrade() -> None:
    op.drop_table("study_launches")
