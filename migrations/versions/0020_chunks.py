"""Adds the chunks of a batch, and which policy inside an iteration sampled a response."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    # a constant default: no row is rewritten
    op.add_column("responses", sa.Column("step", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.execute("ALTER TABLE responses ADD CONSTRAINT responses_step_check CHECK (step >= 0) NOT VALID")
    op.execute("ALTER TABLE responses VALIDATE CONSTRAINT responses_step_check")
    op.add_column("batches", sa.Column("chunk", sa.SmallInteger))
    op.create_table(
        "chunks",
        sa.Column("run_id", sa.Integer, autoincrement=False, primary_key=True),
        sa.Column("iteration", sa.SmallInteger, autoincrement=False, primary_key=True),
        sa.Column("chunk", sa.SmallInteger, autoincrement=False, primary_key=True),
        sa.Column("of", sa.SmallInteger, nullable=False),
        sa.Column("prompts", sa.Integer, nullable=False),
        sa.Column("pairs", sa.Integer, nullable=False),
        sa.Column("skipped", JSONB, nullable=False),
        sa.Column("reward", sa.Double),
        sa.CheckConstraint("chunk >= 0 AND chunk < of", name=op.f("chunks_place_check")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("chunks_run_id_fkey"), ondelete="RESTRICT"),
    )


def downgrade() -> None:
    op.drop_table("chunks")
    op.drop_column("batches", "chunk")
    op.drop_column("responses", "step")
