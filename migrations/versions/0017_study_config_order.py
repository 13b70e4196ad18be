"""Keeps the keys of a study's config in their order: the first arm is the one that the others are compared with."""

from __future__ import annotations

from alembic import op
from sqlalchemy.dialects.postgresql import JSON, JSONB

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.alter_column("studies", "config", type_=JSON, postgresql_using="config::json", existing_nullable=False)


def downgrade() -> None:
    op.alter_column("studies", "config", type_=JSONB, postgresql_using="config::jsonb", existing_nullable=False)
