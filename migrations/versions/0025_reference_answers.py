"""Adds reference answers to prompts, to held-out prompts and to what the creator wrote, and answers to rewards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

TABLES = ("prompts", "evolutions", "heldout_prompts")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("reference", sa.Text))
    op.add_column("rewards", sa.Column("answer", sa.Text))


def downgrade() -> None:
    op.drop_column("rewards", "answer")
    for table in TABLES:
        op.drop_column(table, "reference")
