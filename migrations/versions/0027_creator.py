"""Adds a creator with weights of its own: whose each checkpoint is, and what the creator's replies are worth."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"

_KEYS = {"checkpoints": ["run_id", "number"], "training_steps": ["run_id", "checkpoint", "step"]}


def upgrade() -> None:
    for table in ("token_files", *_KEYS):
        op.add_column(table, sa.Column("player", sa.Text, nullable=False, server_default="solver"))
        op.create_check_constraint(op.f(f"{table}_player_check"), table, "player IN ('solver', 'creator')")
    for table, key in _KEYS.items():
        op.drop_constraint(op.f(f"{table}_pkey"), table)
        op.create_primary_key(op.f(f"{table}_pkey"), table, [*key, "player"])
    key = ["run_id", "iteration", "source", "slot", "attempt"]
    op.create_table(
        "creator_rewards",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("source", sa.Integer, nullable=False),
        sa.Column("slot", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.SmallInteger, nullable=False),
        sa.Column("regret", sa.Double),
        sa.Column("likeness", sa.Double),
        sa.Column("reward", sa.Double),
        sa.Column("advantage", sa.Double),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint(
            "(advantage IS NULL) <> (reason IS NULL)", name=op.f("creator_rewards_advantage_or_reason_check")
        ),
        sa.CheckConstraint(
            "advantage - advantage = 0 AND reward - reward = 0 AND regret - regret = 0",
            name=op.f("creator_rewards_finite_check"),
        ),
        sa.CheckConstraint("likeness BETWEEN 0 AND 1", name=op.f("creator_rewards_likeness_check")),
        sa.ForeignKeyConstraint(
            key,
            [f"evolutions.{column}" for column in key],
            name=op.f("creator_rewards_run_id_iteration_source_slot_attempt_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint(*key, name=op.f("creator_rewards_pkey")),
    )


def downgrade() -> None:
    op.drop_table("creator_rewards")
    for table, key in _KEYS.items():
        op.execute(sa.text(f"DELETE FROM {table} WHERE player <> 'solver'"))  # noqa: S608 - a constant
        op.drop_constraint(op.f(f"{table}_pkey"), table)
        op.create_primary_key(op.f(f"{table}_pkey"), table, key)
    for table in ("token_files", *_KEYS):
        op.drop_constraint(op.f(f"{table}_player_check"), table)
        op.drop_column(table, "player")
