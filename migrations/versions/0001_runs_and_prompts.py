"""Adds runs and their leases, prompts, responses, rewards, and the creator's decisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None

TABLES = ("runs", "leases", "prompts", "responses", "rewards", "quarantines", "estimates", "evolutions")
"""In an order in which each finds what it refers to."""


def upgrade() -> None:
    _create_runs()
    _create_leases()
    _create_prompts()
    _create_responses()
    _create_rewards()
    _create_quarantines()
    _create_estimates()
    _create_evolutions()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, server_default="created", nullable=False),
        sa.Column("desired", sa.Text, server_default="run", nullable=False),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("config_hash", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("iteration", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("prompt_count", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("event_seq", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("note", sa.Text, server_default="", nullable=False),
        sa.Column("tags", ARRAY(sa.Text), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("desired IN ('run', 'pause', 'cancel')", name=op.f("runs_desired_check")),
        sa.CheckConstraint(
            "status IN ('created', 'running', 'paused', 'finished', 'failed', 'cancelled')",
            name=op.f("runs_status_check"),
        ),
        sa.CheckConstraint("iteration >= 0 AND prompt_count >= 0 AND event_seq >= 0", name=op.f("runs_counters_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("runs_pkey")),
        sa.UniqueConstraint("name", name=op.f("runs_name_key")),
    )


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("owner", JSONB),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("(owner IS NULL) = (expires_at IS NULL)", name=op.f("leases_held_check")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("leases_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", name=op.f("leases_pkey")),
    )


def _create_prompts() -> None:
    op.create_table(
        "prompts",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_key", sa.BigInteger, nullable=False),
        sa.Column("parent", sa.Integer),
        sa.Column("root", sa.Integer, nullable=False),
        sa.Column("operator", sa.Text),
        sa.Column("depth", sa.SmallInteger, nullable=False),
        sa.Column("born", sa.SmallInteger, nullable=False),
        sa.Column("topic", sa.Text),
        sa.CheckConstraint(
            "(parent IS NULL) = (depth = 0) AND (parent IS NULL) = (operator IS NULL)",
            name=op.f("prompts_seed_check"),
        ),
        sa.CheckConstraint("depth >= 0 AND born >= -1", name=op.f("prompts_counters_check")),
        sa.CheckConstraint(
            "number >= 0 AND parent >= 0 AND parent < number AND root <= number",
            name=op.f("prompts_order_check"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "parent"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("prompts_run_id_parent_fkey"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("prompts_run_id_fkey"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("prompts_pkey")),
    )
    op.create_index(op.f("prompts_run_id_born_idx"), "prompts", ["run_id", "born"], unique=False)
    op.create_index(op.f("prompts_run_id_parent_idx"), "prompts", ["run_id", "parent"], unique=False)
    op.create_index(op.f("prompts_run_id_root_idx"), "prompts", ["run_id", "root"], unique=False)
    op.create_index(op.f("prompts_run_id_text_key_idx"), "prompts", ["run_id", "text_key"], unique=False)


def _create_responses() -> None:
    op.create_table(
        "responses",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("sample", sa.SmallInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_hash", sa.BigInteger, nullable=False),
        sa.Column("finish", sa.Text, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.CheckConstraint("checkpoint >= 0 AND sample >= 0 AND tokens >= 0", name=op.f("responses_counters_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("responses_run_id_prompt_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt", "checkpoint", "sample", name=op.f("responses_pkey")),
    )


def _create_rewards() -> None:
    op.create_table(
        "rewards",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("sample", sa.SmallInteger, nullable=False),
        sa.Column("rewarder", sa.Text, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint("(value IS NULL) <> (reason IS NULL)", name=op.f("rewards_value_or_reason_check")),
        sa.CheckConstraint("value - value = 0", name=op.f("rewards_finite_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt", "checkpoint", "sample"],
            ["responses.run_id", "responses.prompt", "responses.checkpoint", "responses.sample"],
            name=op.f("rewards_run_id_prompt_checkpoint_sample_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt", "checkpoint", "sample", "rewarder", name=op.f("rewards_pkey")),
    )


def _create_quarantines() -> None:
    op.create_table(
        "quarantines",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("quarantines_run_id_prompt_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt", "checkpoint", name=op.f("quarantines_pkey")),
    )


def _create_estimates() -> None:
    op.create_table(
        "estimates",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("prompt", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("info", sa.Double),
        sa.Column("reason", sa.Text),
        sa.Column("weight", sa.Double),
        sa.Column("key", sa.Double),
        sa.Column("sampled", sa.Boolean, nullable=False),
        sa.CheckConstraint("key - key = 0", name=op.f("estimates_finite_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("estimates_run_id_prompt_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "iteration", "prompt", name=op.f("estimates_pkey")),
    )
    op.create_index(op.f("estimates_run_id_prompt_idx"), "estimates", ["run_id", "prompt"], unique=False)


def _create_evolutions() -> None:
    op.create_table(
        "evolutions",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("iteration", sa.SmallInteger, nullable=False),
        sa.Column("source", sa.Integer, nullable=False),
        sa.Column("slot", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.SmallInteger, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("parent_slot", sa.SmallInteger),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("reply_tokens", sa.Integer, nullable=False),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("child", sa.Integer),
        sa.CheckConstraint("child IS NULL OR reason IS NULL", name=op.f("evolutions_child_accepted_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "child"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("evolutions_run_id_child_fkey"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "source"],
            ["prompts.run_id", "prompts.number"],
            name=op.f("evolutions_run_id_source_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("run_id", "iteration", "source", "slot", "attempt", name=op.f("evolutions_pkey")),
    )
    op.create_index(op.f("evolutions_run_id_child_idx"), "evolutions", ["run_id", "child"], unique=False)
