"""Adds the messages before a prompt's text, to seed prompts and to held-out prompts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("prompts", sa.Column("context", JSONB))
    op.create_check_constraint("root_context", "prompts", "context IS NULL OR parent IS NULL")
    op.add_column("heldout_prompts", sa.Column("context", JSONB))


def downgrade() -> None:
    op.drop_column("heldout_prompts", "context")
    op.drop_column("prompts", "context")
