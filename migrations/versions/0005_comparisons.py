"""Adds a baseline's responses to held-out prompts, and each checkpoint's comparison with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "heldout_baselines",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("item", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "split", "item"],
            ["heldout_prompts.run_id", "heldout_prompts.split", "heldout_prompts.item"],
            name=op.f("heldout_baselines_run_id_split_item_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "split", "item", name=op.f("heldout_baselines_pkey")),
    )
    op.create_table(
        "heldout_comparisons",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("item", sa.Integer, nullable=False),
        sa.Column("reward", sa.Double),
        sa.Column("baseline_reward", sa.Double),
        sa.Column("preference", sa.Double),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint(
            "(preference IS NULL) <> (reason IS NULL)",
            name=op.f("heldout_comparisons_preference_or_reason_check"),
        ),
        sa.CheckConstraint("preference >= 0 AND preference <= 1", name=op.f("heldout_comparisons_share_check")),
        sa.CheckConstraint(
            "reward - reward = 0 AND baseline_reward - baseline_reward = 0",
            name=op.f("heldout_comparisons_finite_check"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "split", "item"],
            ["heldout_prompts.run_id", "heldout_prompts.split", "heldout_prompts.item"],
            name=op.f("heldout_comparisons_run_id_split_item_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "checkpoint", "split", "item", name=op.f("heldout_comparisons_pkey")),
    )


def downgrade() -> None:
    for table in ("heldout_comparisons", "heldout_baselines"):
        op.drop_table(table)
