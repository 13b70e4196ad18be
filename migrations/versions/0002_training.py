"""Adds batches, pairs, checkpoints, stages, events, held-out responses and statistics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

TABLES = (
    "batches",
    "pairs",
    "checkpoints",
    "training_steps",
    "stages",
    "events",
    "heldout_prompts",
    "heldout_responses",
    "statistics",
)
"""In an order in which each finds what it refers to."""


def upgrade() -> None:
    _create_batches()
    _create_pairs()
    _create_checkpoints()
    _create_training_steps()
    _create_stages()
    _create_events()
    _create_heldout_prompts()
    _create_heldout_responses()
    _create_statistics()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("buffer", sa.Boolean, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("info", sa.Double),
        sa.Column("reason", sa.Text),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("batches_run_id_prompt_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "iteration", "prompt", name=op.f("batches_pkey")),
    )
    op.create_index(op.f("batches_run_id_prompt_idx"), "batches", ["run_id", "prompt"], unique=False)


def _create_pairs() -> None:
    op.create_table(
        "pairs",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("chosen", sa.SmallInteger, nullable=False),
        sa.Column("rejected", sa.SmallInteger, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("chosen_reward", sa.Double, nullable=False),
        sa.Column("rejected_reward", sa.Double, nullable=False),
        sa.Column("margin", sa.Double, nullable=False),
        sa.CheckConstraint("chosen <> rejected", name=op.f("pairs_two_responses_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt", "checkpoint", "chosen"],
            ["responses.run_id", "responses.prompt", "responses.checkpoint", "responses.sample"],
            name=op.f("pairs_run_id_prompt_checkpoint_chosen_fkey"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt", "checkpoint", "rejected"],
            ["responses.run_id", "responses.prompt", "responses.checkpoint", "responses.sample"],
            name=op.f("pairs_run_id_prompt_checkpoint_rejected_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "iteration", "prompt", "chosen", "rejected", name=op.f("pairs_pkey")),
    )


def _create_checkpoints() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("number", sa.SmallInteger, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("parent", sa.SmallInteger),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("dropped", JSONB, server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint("number >= 0 AND (parent IS NULL OR parent < number)", name=op.f("checkpoints_order_check")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("checkpoints_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("checkpoints_pkey")),
    )


def _create_training_steps() -> None:
    op.create_table(
        "training_steps",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("values", JSONB, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("training_steps_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", "checkpoint", "step", name=op.f("training_steps_pkey")),
    )


def _create_stages() -> None:
    op.create_table(
        "stages",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, server_default="running", nullable=False),
        sa.Column("attempts", sa.Integer, server_default=sa.text("1"), nullable=False),
        sa.Column("done", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("total", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("input_hash", sa.Text),
        sa.Column("counts", JSONB, server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("seconds", sa.Double, server_default=sa.text("0"), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name=op.f("stages_finished_check")),
        sa.CheckConstraint("status IN ('running', 'done', 'failed')", name=op.f("stages_status_check")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("stages_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", "iteration", "name", name=op.f("stages_pkey")),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("iteration", sa.SmallInteger),
        sa.Column("stage", sa.Text),
        sa.Column("data", JSONB, server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("events_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("events_pkey")),
    )


def _create_heldout_prompts() -> None:
    op.create_table(
        "heldout_prompts",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("item", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("heldout_prompts_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", "split", "item", name=op.f("heldout_prompts_pkey")),
    )


def _create_heldout_responses() -> None:
    op.create_table(
        "heldout_responses",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("item", sa.Integer, nullable=False),
        sa.Column("sample", sa.SmallInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("finish", sa.Text, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("reward", sa.Double),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint("mode IN ('greedy', 'sampled')", name=op.f("heldout_responses_mode_check")),
        sa.CheckConstraint(
            "(reward IS NULL) <> (reason IS NULL)", name=op.f("heldout_responses_reward_or_reason_check")
        ),
        sa.CheckConstraint("reward - reward = 0", name=op.f("heldout_responses_finite_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "split", "item"],
            ["heldout_prompts.run_id", "heldout_prompts.split", "heldout_prompts.item"],
            name=op.f("heldout_responses_run_id_split_item_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint(
            "run_id", "checkpoint", "split", "mode", "item", "sample", name=op.f("heldout_responses_pkey")
        ),
    )


def _create_statistics() -> None:
    op.create_table(
        "statistics",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("statistics_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", "iteration", "name", name=op.f("statistics_pkey")),
    )
