"""Adds exports that the service writes, and an index over the words of prompts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="waiting"),
        sa.Column("claimed_until", _TIME),
        sa.Column("rows", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.Column("finished_at", _TIME),
        sa.Column("expires_at", _TIME),
        sa.CheckConstraint("status IN ('waiting', 'running', 'done', 'failed')", name=op.f("exports_status_check")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("exports_run_id_fkey"), ondelete="RESTRICT"),
    )
    op.create_index(op.f("exports_run_id_idx"), "exports", ["run_id"])
    words = sa.text("to_tsvector('simple'::regconfig, left(text, 50000))")
    op.create_index("prompts_words_idx", "prompts", [words], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("prompts_words_idx", "prompts")
    op.drop_table("exports")
