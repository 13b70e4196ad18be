"""Adds how many of a run's points each tracking service has received."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "trackings",
        sa.Column("run_id", sa.Integer, autoincrement=False, primary_key=True),
        sa.Column("tracker", sa.Text, primary_key=True),
        sa.Column("points", sa.Integer, nullable=False),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("trackings_run_id_fkey"), ondelete="RESTRICT"),
    )


def downgrade() -> None:
    op.drop_table("trackings")
