"""Adds the categories that a zero-shot classifier gives to prompts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "prompt_categories",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("score", sa.Double),
        sa.CheckConstraint("score - score = 0", name=op.f("prompt_categories_finite_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("prompt_categories_run_id_prompt_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt", name=op.f("prompt_categories_pkey")),
    )


def downgrade() -> None:
    op.drop_table("prompt_categories")
