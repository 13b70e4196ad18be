"""Adds later turns of held-out conversations: which turn a prompt is, and the set that holds the turn before it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

PROMPT = ["run_id", "split", "item"]


def upgrade() -> None:
    op.add_column("heldout_prompts", sa.Column("turn", sa.SmallInteger, nullable=False, server_default=sa.text("1")))
    op.add_column("heldout_prompts", sa.Column("follows", sa.Text))
    op.create_check_constraint(
        op.f("heldout_prompts_turn_check"), "heldout_prompts", "(turn = 1) = (follows IS NULL) AND turn >= 1"
    )
    op.create_foreign_key(
        op.f("heldout_prompts_run_id_follows_item_fkey"),
        "heldout_prompts",
        "heldout_prompts",
        ["run_id", "follows", "item"],
        PROMPT,
        ondelete="RESTRICT",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("heldout_prompts_run_id_follows_item_fkey"), "heldout_prompts")
    op.drop_constraint(op.f("heldout_prompts_turn_check"), "heldout_prompts")
    op.drop_column("heldout_prompts", "follows")
    op.drop_column("heldout_prompts", "turn")
