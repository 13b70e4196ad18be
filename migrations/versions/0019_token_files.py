"""Adds the manifest of the files that hold a run's token records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "token_files",
        sa.Column("run_id", sa.Integer, autoincrement=False, primary_key=True),
        sa.Column("fence", sa.BigInteger, autoincrement=False, primary_key=True),
        sa.Column("serial", sa.Integer, autoincrement=False, primary_key=True),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("iteration >= 0 AND records > 0 AND size > 0", name=op.f("token_files_counters_check")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("token_files_run_id_fkey"), ondelete="RESTRICT"),
    )


def downgrade() -> None:
    op.drop_table("token_files")
