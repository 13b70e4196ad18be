"""Adds where a run was forked, and which code played it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("runs", sa.Column("forked_from", sa.Integer))
    op.add_column("runs", sa.Column("forked_at", sa.SmallInteger))
    op.add_column("runs", sa.Column("code", JSONB))
    op.create_check_constraint(op.f("runs_fork_check"), "runs", "(forked_from IS NULL) = (forked_at IS NULL)")
    op.create_foreign_key(op.f("runs_forked_from_fkey"), "runs", "runs", ["forked_from"], ["id"], ondelete="RESTRICT")


def downgrade() -> None:
    op.drop_constraint(op.f("runs_forked_from_fkey"), "runs")
    op.drop_constraint(op.f("runs_fork_check"), "runs")
    for column in ("code", "forked_at", "forked_from"):
        op.drop_column("runs", column)
