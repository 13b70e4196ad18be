"""Adds the parts of held-out responses' rewards, and comparisons by a second rewarder."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_KEY = ("run_id", "checkpoint", "split", "item")


def upgrade() -> None:
    op.create_table(
        "heldout_parts",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("checkpoint", sa.SmallInteger, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("item", sa.Integer, nullable=False),
        sa.Column("sample", sa.SmallInteger, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint("role IN ('examiner', 'auditor')", name=op.f("heldout_parts_role_check")),
        sa.CheckConstraint("(value IS NULL) <> (reason IS NULL)", name=op.f("heldout_parts_value_or_reason_check")),
        sa.CheckConstraint("value - value = 0", name=op.f("heldout_parts_finite_check")),
        sa.ForeignKeyConstraint(
            ["run_id", "split", "item"],
            ["heldout_prompts.run_id", "heldout_prompts.split", "heldout_prompts.item"],
            name=op.f("heldout_parts_run_id_split_item_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint(
            "run_id",
            "checkpoint",
            "split",
            "mode",
            "item",
            "sample",
            "role",
            "name",
            name=op.f("heldout_parts_pkey"),
        ),
    )
    op.add_column("heldout_comparisons", sa.Column("role", sa.Text, nullable=False, server_default="examiner"))
    op.alter_column("heldout_comparisons", "role", server_default=None)
    op.create_check_constraint(
        op.f("heldout_comparisons_role_check"), "heldout_comparisons", "role IN ('examiner', 'auditor')"
    )
    _key_of_comparisons(*_KEY, "role")


def downgrade() -> None:
    op.execute("DELETE FROM heldout_comparisons WHERE role = 'auditor'")
    _key_of_comparisons(*_KEY)
    op.drop_constraint(op.f("heldout_comparisons_role_check"), "heldout_comparisons")
    op.drop_column("heldout_comparisons", "role")
    op.drop_table("heldout_parts")


def _key_of_comparisons(*columns: str) -> None:
    op.drop_constraint(op.f("heldout_comparisons_pkey"), "heldout_comparisons")
    op.create_primary_key(op.f("heldout_comparisons_pkey"), "heldout_comparisons", [*columns])
