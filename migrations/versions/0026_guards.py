"""Adds how much prompts repeat others, and the guide's scores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

COLUMNS = (("prompts", "likeness"), ("prompts", "guide"), ("evolutions", "guide"))


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, sa.Column(column, sa.Double))


def downgrade() -> None:
    for table, column in COLUMNS:
        op.drop_column(table, column)
