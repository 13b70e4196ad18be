"""Adds the advantages of responses, for losses that train on every response in place of pairs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "advantages",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("sample", sa.SmallInteger, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("reward", sa.Double),
        sa.Column("advantage", sa.Double),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint(
            "(advantage IS NULL) <> (reason IS NULL)", name=op.f("advantages_advantage_or_reason_check")
        ),
        sa.CheckConstraint("advantage - advantage = 0 AND reward - reward = 0", name=op.f("advantages_finite_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt", "checkpoint", "sample"],
            ["responses.run_id", "responses.prompt", "responses.checkpoint", "responses.sample"],
            name=op.f("advantages_run_id_prompt_checkpoint_sample_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "iteration", "prompt", "sample", name=op.f("advantages_pkey")),
    )


def downgrade() -> None:
    op.drop_table("advantages")
