"""Adds studies, and the runs that they consist of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("config_hash", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.UniqueConstraint("name", name=op.f("studies_name_key")),
    )
    op.create_table(
        "study_runs",
        sa.Column("study_id", sa.Integer, autoincrement=False, primary_key=True),
        sa.Column("seed", sa.BigInteger, autoincrement=False, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("arm", sa.Text, primary_key=True),
        sa.Column("shared", sa.Boolean, autoincrement=False, primary_key=True),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("study_runs_study_id_fkey"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("study_runs_run_id_fkey"), ondelete="RESTRICT"),
    )
    op.create_index(op.f("study_runs_run_id_idx"), "study_runs", ["run_id"])


def downgrade() -> None:
    op.drop_table("study_runs")
    op.drop_table("studies")
