"""Adds whether a prompt was judged for the first time, and indexes that pages of prompts are read by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# a pool is judged before its iteration's batch
_FIRST = """
    UPDATE {table} AS row SET first = true
    FROM (
        SELECT DISTINCT ON (run_id, prompt) run_id, prompt, iteration, name
        FROM (SELECT run_id, prompt, iteration, 'estimates' AS name, 0 AS place FROM estimates
              UNION ALL SELECT run_id, prompt, iteration, 'batches', 1 FROM batches) AS judged
        ORDER BY run_id, prompt, iteration, place
    ) AS judged
    WHERE judged.name = '{table}' AND row.run_id = judged.run_id AND row.prompt = judged.prompt
        AND row.iteration = judged.iteration
"""


def upgrade() -> None:
    for table in ("estimates", "batches"):
        op.add_column(table, sa.Column("first", sa.Boolean, nullable=False, server_default=sa.false()))
        op.alter_column(table, "first", server_default=None)
    for table in ("estimates", "batches"):
        op.execute(_FIRST.format(table=table))
        op.create_index(
            op.f(f"{table}_run_id_iteration_info_prompt_idx"), table, ["run_id", "iteration", "info", "prompt"]
        )
        op.create_index(f"{table}_first_idx", table, ["run_id", "info", "prompt"], postgresql_where=sa.text("first"))
    op.create_index(op.f("prompts_run_id_depth_number_idx"), "prompts", ["run_id", "depth", "number"])


def downgrade() -> None:
    op.drop_index(op.f("prompts_run_id_depth_number_idx"), "prompts")
    for table in ("estimates", "batches"):
        op.drop_index(f"{table}_first_idx", table)
        op.drop_index(op.f(f"{table}_run_id_iteration_info_prompt_idx"), table)
        op.drop_column(table, "first")
