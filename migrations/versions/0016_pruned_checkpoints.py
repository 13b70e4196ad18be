"""Adds when a checkpoint's files were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("pruned_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("checkpoints", "pruned_at")
